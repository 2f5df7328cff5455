// The network between simulated nodes: links that deliver in order, late, or not at all, as TCP shows it,
// and bytes of chunks over uplinks and downlinks of finite rate. Port is what one process sees of it.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "node/net.h"
#include "tests/sim/world.h"

namespace fastreg::node {
class Core;
}

namespace fastreg::sim {

class Network;

/// How a node lies to its peers; every other rule it keeps.
enum class Lie : std::uint8_t { none, wrong_bytes, forged_chain, claims_all, silent };

/// Of the whole mesh.
struct NetOptions {
    Duration latency = 300us;
    Duration jitter = 200us;
    std::uint64_t bytes_per_second = 100'000'000;
    double loss = 0;  // of one frame, seen as the time of a retransmission
};

/// One life of one node on the network: what its Core calls. Dies with the process.
class Port final : public node::Net {
  public:
    Port(Network& network, std::size_t index) : network_(network), index_(index) {}

    [[nodiscard]] Instant now() const override;
    [[nodiscard]] std::uint64_t wall_ms() const override;
    void set_deadline(Instant at) override;
    void send_control(NodeId to, const Endpoint& address, wire::Purpose purpose,
                      wire::Frame frame) override;
    void keep_links(std::vector<NodeId>) override {}
    void send_data(NodeId to, const Endpoint& address, wire::TransferMessage message) override;
    void fetch(node::Fetch order) override;
    void cancel_fetch(NodeId from, RequestId request) override;
    void serve(node::Serve order) override;
    void cancel_serve(NodeId to, RequestId request) override;
    void drop_data(NodeId peer, const std::string& why) override;

    std::int64_t clock_skew_ms = 0;

  private:
    friend class Network;
    void begin_second();
    struct Fetching {
        NodeId from;
        std::uint64_t total = 0;
        std::uint64_t received = 0;
        std::shared_ptr<store::ChunkLanding> landing;
        bool all_given = false;  // the store says how it ended
    };
    struct Serving {
        node::Serve order;
        std::uint64_t sent = 0;
        bool cancelled = false;
    };
    using Key = std::pair<NodeId, RequestId>;

    Network& network_;
    std::size_t index_;
    std::map<RequestId, Fetching> fetches_;
    std::map<Key, Digest> asked_;
    std::map<Key, Serving> servings_;
    Instant armed_ = Instant::never();
    Instant deadline_ = Instant::never();
    std::uint64_t timer_ = 0;
    Instant second_;  // of which deadlines and frames are counted
    std::uint64_t deadlines_ = 0;
    std::uint64_t frames_sent_ = 0;
};

class Network {
  public:
    static constexpr std::size_t kNobody = ~std::size_t{0};
    /// Looks at what a node says or is told, to check it.
    struct Watch {
        std::function<void(std::size_t node, const wire::TransferMessage&)> sends;
        std::function<void(std::size_t node, const wire::Frame&, const std::function<void()>&)> hears;
    };

    Network(World& in, NetOptions how, std::size_t nodes) : world(in), options(how), hosts_(nodes) {}

    World& world;
    NetOptions options;
    Watch watch;

    /// The process of `index` is up, listens at these addresses and calls itself `id`.
    void attach(std::size_t index, NodeId id, const Endpoint& gossip, const Endpoint& transfer, Port& port,
                node::Core& core);
    /// It is gone; `abruptly`: and its machine, so that peers are told nothing.
    void detach(std::size_t index, bool abruptly);

    // Faults.
    void block(std::size_t from, std::size_t to, bool blocked);
    void heal();
    void break_links(std::size_t a, std::size_t b);
    void set_lie(std::size_t index, Lie lie) { hosts_[index].lie = lie; }
    [[nodiscard]] Lie lie_of(std::size_t index) const { return hosts_[index].lie; }
    void set_rate(std::size_t index, std::uint64_t rate) { hosts_[index].rate = rate; }

    [[nodiscard]] bool blocked(std::size_t from, std::size_t to) const {
        return blocked_.contains({from, to});
    }

    [[nodiscard]] bool any_blocked() const { return !blocked_.empty(); }

  private:
    friend class Port;
    struct Host {
        node::Core* core = nullptr;  // nullptr: nobody runs here
        Port* port = nullptr;
        NodeId id;
        std::uint64_t life = 0;
        bool machine_up = false;
        Lie lie = Lie::none;
        std::uint64_t rate = 0;  // 0: the mesh's
        Instant uplink_free, downlink_free;
    };
    struct Link {
        bool up = false;
        std::uint64_t epoch = 0;
        Instant ready;
        std::array<Instant, 2> last{};  // arrival of the last frame, each way
    };
    using LinkKey = std::pair<std::pair<std::size_t, std::size_t>, wire::Purpose>;

    static LinkKey key(std::size_t a, std::size_t b, wire::Purpose purpose) {
        return {{std::min(a, b), std::max(a, b)}, purpose};
    }
    [[nodiscard]] std::size_t at(const Endpoint& address) const;
    [[nodiscard]] std::size_t of(const NodeId& id) const;
    [[nodiscard]] Duration delay();
    /// Runs `job` with the core of that life of `index`, if it still lives.
    void tell(std::size_t index, std::uint64_t life, Duration after, std::function<void(Host&)> job);
    /// Carries `deliver` from one node to another in the order of the link; dials first if need be.
    void carry(std::size_t from, NodeId to_id, const Endpoint& address, wire::Purpose purpose,
               std::function<void(Host&)> deliver);
    void failed(std::size_t from, NodeId to, const Endpoint& address, wire::Purpose purpose, Duration after);
    void break_link(const LinkKey& key, Duration after);
    void lost_data(std::size_t index, NodeId peer);
    void on_data(std::size_t at, NodeId from, wire::TransferMessage message);
    void send_piece(std::size_t from, Port::Key key);
    void on_piece(std::size_t at, NodeId from, RequestId request, std::uint64_t offset, std::uint64_t total,
                  const Bytes& bytes);
    void end_fetch(Host& host, RequestId request, std::uint8_t outcome);

    std::vector<Host> hosts_;
    std::map<std::string, std::size_t> addresses_;
    std::map<LinkKey, Link> links_;
    std::set<std::pair<std::size_t, std::size_t>> blocked_;
};

}  // namespace fastreg::sim
