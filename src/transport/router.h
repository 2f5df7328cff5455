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
#include "transport/data.h"
#include "transport/rdma/engine.h"

namespace fastreg::transport {

class RdmaTransport;

/// What carries chunks, for status, peers and metrics.
enum class Road : std::uint8_t { tcp, rdma };
[[nodiscard]] constexpr std::string_view name_of(Road road) { return road == Road::tcp ? "tcp" : "rdma"; }

class Router final : public DataTransport {
  public:
    /// RDMA to a peer that failed is tried again after this, doubling up to the longest.
    static constexpr Duration kRetryFirst = 5s;
    static constexpr Duration kRetryLongest = 300s;
    /// A link that lived so long halves what is waited next time; one that flaps never gets quick again.
    static constexpr Duration kProvenAfter = 60s;

    struct Options {
        std::function<Instant()> now;  // the loop's clock
        std::function<void(Road, std::uint64_t bytes)> on_bytes_out = [](Road, std::uint64_t) {};
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
    void set_rdma(RdmaTransport* rdma) { rdma_ = rdma; }

    /// What the next chunk asked of `peer` takes.
    [[nodiscard]] Road road_to(NodeId peer) const;
    /// Chunks that RDMA failed and TCP was asked for.
    [[nodiscard]] std::uint64_t fallbacks() const { return fallbacks_; }

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
        Instant rdma_since;
        Instant retry_at;  // no RDMA before
        Duration retry_after{};
    };

    void try_rdma(NodeId id, Peer& peer, const Endpoint& address);
    void lose_fetches(NodeId from);

    DataHandler& handler_;
    const Options options_;
    DataTransport* tcp_ = nullptr;
    RdmaTransport* rdma_ = nullptr;
    std::unique_ptr<FromTcp> from_tcp_;
    std::unique_ptr<FromRdma> from_rdma_;
    std::map<NodeId, Peer> peers_;
    std::map<RequestId, FetchOrder> by_rdma_;             // asked, not ended
    std::map<RequestId, NodeId> retried_;                 // asked again by TCP, of whom
    std::set<std::pair<NodeId, RequestId>> asked_by_rdma_;  // of this node, not ended
    std::uint64_t fallbacks_ = 0;
};

}  // namespace fastreg::transport
