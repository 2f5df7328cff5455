// The core of a node on real sockets: control links on the loop, chunks on the io threads, their bytes
// into the store. Loop thread only.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/metrics.h"
#include "node/bench.h"
#include "node/core.h"
#include "node/net.h"
#include "transport/control.h"
#include "transport/data.h"
#include "transport/rdma/transport.h"
#include "transport/router.h"
#include "transport/tcp/transport.h"
#include "uv/loop.h"
#include "uv/loop_thread.h"
#include "uv/timer.h"

namespace fastreg::node {

struct MeshOptions {
    transport::Identity identity;
    Endpoint gossip_listen;  // identity.gossip gets its port once it is bound
    Endpoint transfer_listen;
    std::vector<uv::LoopThread*> io_threads;
    std::size_t blocks = 192;  // of 256 KiB, for chunks that arrive
    std::size_t requests_in_max = 64;
    std::size_t links_max = 4096;  // inbound, of gossip and of chunks each
    /// Who the node is, is filled in from `identity`. None: chunks go by TCP alone.
    std::optional<transport::RdmaTransport::Options> rdma;
};

class Mesh final : public Net, private transport::ControlHandler, private transport::DataHandler {
  public:
    Mesh(uv::Loop& loop, MeshOptions options, Metrics& metrics);
    ~Mesh() override;

    /// Binds both listeners, without answering anybody yet. The errors name the flag to change.
    [[nodiscard]] Status listen();
    [[nodiscard]] Endpoint gossip_address() const { return gossip_; }
    [[nodiscard]] Endpoint transfer_address() const { return transfer_; }
    /// Events go to `core` from now on; nullptr before it is destroyed.
    void attach(Core* core) { core_ = core; }
    /// Closes every link.
    void close();

    [[nodiscard]] std::uint64_t bytes_in(Road road) const { return in_.bytes[index(road)]; }
    [[nodiscard]] std::uint64_t bytes_out(Road road) const { return out_.bytes[index(road)]; }
    /// What carries chunks between this node and `peer`.
    [[nodiscard]] Road road_with(NodeId peer) const;
    /// Null where there is no RDMA; then rdma_off() says why, unless nobody asked for it.
    [[nodiscard]] const transport::RdmaTransport* rdma() const { return rdma_.get(); }
    [[nodiscard]] const std::optional<Error>& rdma_off() const { return rdma_off_; }
    /// There is a device that works.
    [[nodiscard]] bool rdma_up() const;
    [[nodiscard]] std::uint64_t rdma_fallbacks() const { return router_ ? router_->fallbacks() : 0; }
    [[nodiscard]] std::uint64_t rdma_slotless() const { return router_ ? router_->slotless() : 0; }
    [[nodiscard]] std::uint64_t rdma_stalls() const { return router_ ? router_->stalls() : 0; }
    /// Empty when peers cannot connect by RDMA.
    [[nodiscard]] Endpoint rdma_address() const;
    /// How the last attempt to reach an address failed, for `join` by hand; nothing when none did.
    struct Failure {
        transport::SendFailure failure = transport::SendFailure::unreachable;
        std::string why;
    };
    [[nodiscard]] std::optional<Failure> last_failure(const Endpoint& address) const;
    void forget_failure(const Endpoint& address) { failures_.erase(address.str()); }
    /// Who answers at an address that was dialled for gossip.
    [[nodiscard]] std::optional<NodeId> answered_at(const Endpoint& address) const;

    /// Measures chunks of a member; see node/bench.h.
    [[nodiscard]] Status bench(const BenchOrder& order, Bench::OnEnd on_end);

    /// For work of the loop that belongs to no core.
    [[nodiscard]] std::unique_ptr<uv::Timer> make_timer(std::function<void()> on_fired) {
        return std::make_unique<uv::Timer>(loop_, std::move(on_fired));
    }
    void post(uv::Job job) { loop_.post(std::move(job)); }

    [[nodiscard]] Instant now() const override { return loop_.now(); }
    [[nodiscard]] std::uint64_t wall_ms() const override;
    void set_deadline(Instant at) override;
    void send_control(NodeId to, const Endpoint& address, wire::Purpose purpose, wire::Frame frame) override;
    void keep_links(std::vector<NodeId> members) override;
    void send_data(NodeId to, const Endpoint& address, wire::TransferMessage message) override;
    void fetch(Fetch order) override;
    void cancel_fetch(NodeId from, RequestId request) override;
    void serve(Serve order) override;
    void cancel_serve(NodeId to, RequestId request) override;
    void drop_data(NodeId peer, const std::string& why) override;

  private:
    class Sink;
    /// One fetch between its order and its end. It ends when the link is through with it and, for bytes
    /// that arrived, the store is.
    struct Landing {
        NodeId from;
        std::shared_ptr<store::ChunkLanding> chunk;
        std::uint64_t bytes = 0;
        Road road = Road::tcp;  // what the last of them came by
    };

    void on_frame(NodeId from, wire::Purpose purpose, wire::Frame frame) override;
    void on_link_up(NodeId peer, wire::Purpose purpose, const wire::Hello& theirs,
                    const Endpoint& remote) override;
    void on_link_down(NodeId peer, wire::Purpose purpose) override;
    void on_dialled(const Endpoint& address) override;
    void on_wrong_peer(NodeId expected, const Endpoint& address, NodeId found) override;
    void on_send_failed(NodeId to, const Endpoint& address, wire::Purpose purpose,
                        transport::SendFailure failure, const std::string& why, wire::Frame frame) override;

    void on_message(NodeId from, wire::TransferMessage message) override;
    void on_fetch_done(NodeId from, RequestId request, transport::FetchEnd end) override;
    void on_progress(NodeId from, RequestId request, std::uint64_t bytes) override;
    void on_served(NodeId to, RequestId request, bool ok, std::uint64_t bytes) override;
    void on_link_up(NodeId peer) override;
    void on_link_down(NodeId peer, const std::string& why) override;

    void on_block(RequestId request, std::uint64_t offset, Block block, std::optional<Xxh128> checksum);
    void open_rdma();
    static std::size_t index(Road road) { return static_cast<std::size_t>(road); }
    void end_fetch(RequestId request, transfer::ChunkOutcome outcome);

    uv::Loop& loop_;
    MeshOptions options_;
    Core* core_ = nullptr;
    uv::Timer timer_;
    Instant deadline_ = Instant::never();
    Endpoint gossip_;
    Endpoint transfer_;
    std::unordered_map<RequestId, Landing> landings_;
    std::unordered_map<std::string, Failure> failures_;
    /// Bytes moved one way, by what carried them and by the zone of the other node.
    struct Moved {
        Moved(Metrics& metrics, std::string_view direction, std::string_view source);
        struct ByZone {
            Counter &same, &other, &none;
        };
        ByZone tcp, rdma;
        std::array<std::uint64_t, 2> bytes{};  // by Road
    };
    void count(Moved& moved, Road road, const NodeId& peer, std::uint64_t bytes) const;

    Moved in_;
    Moved out_;
    Counter& metric_hash_failures_;
    std::shared_ptr<Mesh*> self_;  // cleared by the destructor; sinks on io threads hold it
    std::unique_ptr<transport::ControlMesh> control_;
    std::unique_ptr<Bench> bench_;  // what the router tells; passes on what is the node's
    std::unique_ptr<transport::Router> router_;
    std::unique_ptr<transport::TcpTransport> tcp_;
    std::unique_ptr<transport::RdmaTransport> rdma_;
    std::optional<Error> rdma_off_;
};

}  // namespace fastreg::node
