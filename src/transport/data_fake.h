// Bulk transport between nodes of one process, for tests: no sockets, no threads, the same promises as
// the real ones (tests/transport/conformance.h). One thread; events run when the network's queue is run.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "transport/data.h"

namespace fastreg::transport {

class FakeDataTransport;

/// Who can reach whom. Outlives its transports.
class FakeDataNetwork {
  public:
    /// `post` runs a job later, in order: a loop's post(), or the queue of a simulator.
    explicit FakeDataNetwork(std::function<void(std::function<void()>)> post)
        : post_(std::move(post)) {}

    /// Breaks the link of two nodes, as a cable would; the next call connects again.
    void break_link(NodeId a, NodeId b, const std::string& why);
    /// While cut, the two cannot connect.
    void set_cut(NodeId a, NodeId b, bool cut);

  private:
    friend class FakeDataTransport;
    using Pair = std::pair<NodeId, NodeId>;
    [[nodiscard]] static Pair pair_of(NodeId a, NodeId b) { return {std::min(a, b), std::max(a, b)}; }

    std::function<void(std::function<void()>)> post_;
    std::map<NodeId, FakeDataTransport*> nodes_;
    std::set<Pair> links_;
    std::set<Pair> cut_;
};

class FakeDataTransport final : public DataTransport {
  public:
    FakeDataTransport(FakeDataNetwork& network, NodeId id, DataHandler& handler);
    ~FakeDataTransport() override;
    FakeDataTransport(const FakeDataTransport&) = delete;
    FakeDataTransport& operator=(const FakeDataTransport&) = delete;

    void send(NodeId to, const Endpoint& address, wire::TransferMessage message) override;
    void fetch(FetchOrder order) override;
    void cancel_fetch(NodeId from, RequestId request) override;
    void serve(ServeOrder order) override;
    void cancel_serve(NodeId to, RequestId request) override;
    void drop(NodeId peer, const std::string& why) override;

  private:
    friend class FakeDataNetwork;
    using Key = std::pair<NodeId, RequestId>;
    struct Fetch {
        FetchOrder order;
        std::uint64_t received = 0;
    };
    struct Serving {
        ServeOrder order;
        std::uint64_t sent = 0;
        bool cancelled = false;
    };

    void later(std::function<void(FakeDataTransport&)> job);
    [[nodiscard]] bool linked(NodeId peer) const;
    [[nodiscard]] FakeDataTransport* connect(NodeId peer);
    void receive(NodeId from, wire::TransferMessage message);
    void send_piece(const Key& key);
    void receive_piece(const Key& key, std::uint64_t offset, std::uint64_t total, Bytes bytes);
    void end_fetch(const Key& key, FetchEnd end);
    void end_serve(const Key& key, bool ok);
    void lost(NodeId peer, const std::string& why);

    FakeDataNetwork& network_;
    const NodeId id_;
    DataHandler& handler_;
    std::shared_ptr<FakeDataTransport*> self_;
    std::map<Key, Fetch> fetches_;
    std::map<Key, Digest> asked_;
    std::map<Key, Serving> servings_;
};

}  // namespace fastreg::transport
