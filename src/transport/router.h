// Which way a chunk goes: by RDMA to a peer with which there is an RDMA link, by TCP otherwise, and by TCP
// at once when RDMA failed it. Nothing ever waits for an RDMA connection: while one is made, chunks go by TCP.
// All other words of the transfer protocol go by TCP, and its links are those that the handler hears of.
// The loop thread only; the promises are those of transport/data.h.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>

#include "base/instant.h"
#include "base/road.h"
#include "transport/data.h"
#include "transport/rdma/engine.h"

namespace fastreg::transport {

/// Chunks by RDMA, as the router needs them (transport/rdma/transport.h). Its events are rdma::RdmaEvents.
class RdmaRoad {
  public:
    virtual ~RdmaRoad() = default;
    /// Makes a link to ask `peer`: on_link_up or on_link_down follows, unless there is one.
    virtual void connect(NodeId peer, const Endpoint& address) = 0;
    /// How many devices of this node work: no connection is tried without one.
    [[nodiscard]] virtual std::size_t active_devices() const = 0;
    /// Over the link to order.from; link_lost when there is none.
    virtual void fetch(FetchOrder order) = 0;
    virtual void cancel_fetch(NodeId from, RequestId request) = 0;
    virtual void serve(ServeOrder order) = 0;
    virtual void refuse(NodeId to, const wire::Busy& busy) = 0;
    virtual void refuse(NodeId to, const wire::NotHere& absent) = 0;
    /// Closes the links with `peer`, both ways.
    virtual void drop(NodeId peer, const std::string& why) = 0;
};

class Router final : public DataTransport {
  public:
    /// RDMA to a peer that failed is tried again after this, doubling up to the longest.
    static constexpr Duration kRetryFirst = 5s;
    static constexpr Duration kRetryLongest = 300s;
    /// After a link that lived so long the first wait is short again; one that flaps never gets quick.
    static constexpr Duration kProvenAfter = 60s;
    /// While all chunks go by RDMA a word goes by TCP this often: an idle link would be closed, and the peers'
    /// knowledge of each other with it (TcpTransport::Options::idle).
    static constexpr Duration kKeepAlive = 30s;

    struct Options {
        std::function<Instant()> now;  // the loop's clock
        /// Where a peer takes RDMA connections; empty: nowhere.
        std::function<Endpoint(NodeId)> rdma_of = [](NodeId) { return Endpoint{}; };
        /// This node's own RDMA came or went.
        std::function<void()> on_devices = [] {};
        /// Of each serve, before the handler hears of its end.
        std::function<void(Road, NodeId to, RequestId, std::uint64_t bytes)> on_bytes_out =
            [](Road, NodeId, RequestId, std::uint64_t) {};
    };

    Router(DataHandler& handler, Options options);
    ~Router() override;
    Router(const Router&) = delete;
    Router& operator=(const Router&) = delete;

    /// What the two transports tell; they outlive neither of them.
    [[nodiscard]] DataHandler& tcp_events();
    [[nodiscard]] rdma::RdmaEvents& rdma_events();
    /// Once, before anything is sent. Without RDMA all goes by TCP.
    void set_tcp(DataTransport* tcp) { tcp_ = tcp; }
    void set_rdma(RdmaRoad* rdma) {
        rdma_ = rdma;
        devices_ = rdma->active_devices();
    }

    /// What the next chunk asked of `peer` takes.
    [[nodiscard]] Road road_to(NodeId peer) const;
    /// The same, or what the chunks take that `peer` asks for: what is in use between the two.
    [[nodiscard]] Road road_with(NodeId peer) const;
    /// Chunks that RDMA failed and TCP was asked for.
    [[nodiscard]] std::uint64_t fallbacks() const { return fallbacks_; }
    /// Chunks that a client waits for and TCP was asked for, since no landing slot was free.
    [[nodiscard]] std::uint64_t slotless() const { return slotless_; }
    /// Peers that were dropped for silence while their chunks were under way by RDMA.
    [[nodiscard]] std::uint64_t stalls() const { return stalls_; }

    void send(NodeId to, const Endpoint& address, wire::TransferMessage message) override;
    void fetch(FetchOrder order) override;
    void cancel_fetch(NodeId from, RequestId request) override;
    void serve(ServeOrder order) override;
    void cancel_serve(NodeId to, RequestId request) override;
    void drop(NodeId peer, const std::string& why) override;

  private:
    class FromTcp;
    class FromRdma;
    struct Peer {
        bool tcp_up = false;
        bool rdma_up = false;
        bool connecting = false;
        bool asks_by_rdma = false;
        Instant rdma_since;
        Instant spoken_at;  // by TCP
        Instant retry_at;  // no RDMA before
        Duration retry_after{};
    };

    void try_rdma(NodeId peer);
    void keep_alive(const FetchOrder& order);
    void lose_fetches(NodeId from);
    void blame_rdma(NodeId peer, Peer& state, const std::string& why, bool was_up);

    DataHandler& handler_;
    const Options options_;
    DataTransport* tcp_ = nullptr;
    RdmaRoad* rdma_ = nullptr;
    std::size_t devices_ = 0;  // that worked when they were last told of
    std::unique_ptr<FromTcp> from_tcp_;
    std::unique_ptr<FromRdma> from_rdma_;
    std::map<NodeId, Peer> peers_;
    struct ByRdma {
        FetchOrder order;
        bool cancelled = false;
    };
    std::map<RequestId, ByRdma> by_rdma_;                 // asked, not ended
    std::map<RequestId, NodeId> retried_;                 // asked again by TCP, of whom
    std::set<std::pair<NodeId, RequestId>> asked_by_rdma_;  // of this node, not ended
    std::uint64_t fallbacks_ = 0;
    std::uint64_t slotless_ = 0;
    std::uint64_t stalls_ = 0;
};

}  // namespace fastreg::transport
