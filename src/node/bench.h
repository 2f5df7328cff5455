// Measures chunks between this node and another over its real transports, and stands for that between the
// router and the node: what belongs to a bench, asked for here or by a member, goes no further. Bytes come
// from the other's memory, are compared here, and are dropped. Loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/instant.h"
#include "node/bench_blob.h"
#include "node/bench_server.h"
#include "transport/data.h"
#include "transport/router.h"
#include "uv/loop.h"

namespace fastreg::node {

/// One cell of the table.
struct BenchOrder {
    static constexpr std::size_t kDepthMax = kBenchDepthMax;
    static constexpr Duration kSpanMax = 10s;

    NodeId peer;
    Endpoint transfer;
    Endpoint rdma;
    Road road = Road::tcp;
    std::uint64_t chunk_bytes = 0;  // is_bench_chunk()
    std::size_t depth = 1;          // requests open at once
    Duration span = 1s;
};

struct BenchResult {
    std::uint64_t chunks = 0;
    Duration took{};
    Duration p50{};  // from asking for a chunk to its last byte in memory
    Duration p99{};
    Duration cpu_here{};  // of the process, all threads, while it was measured
    Duration cpu_there{};
};

class Bench final : public transport::DataHandler {
  public:
    using OnEnd = std::function<void(Result<BenchResult>)>;

    Bench(uv::Loop& loop, transport::DataHandler& next);
    ~Bench() override;
    Bench(const Bench&) = delete;
    Bench& operator=(const Bench&) = delete;

    /// Whose handler this is; before anything is asked.
    void attach(transport::Router& router) { router_ = &router; }
    /// Ends what runs without a word: the transports are about to go.
    void close();

    /// Errc::busy while another runs. `on_end` is called from a later turn, unless close() comes first.
    [[nodiscard]] Status run(const BenchOrder& order, OnEnd on_end);
    /// Whether bytes served there are of a bench, and no blob's.
    [[nodiscard]] bool serves(NodeId to, RequestId request) const { return server_.serves(to, request); }

    void on_message(NodeId from, wire::TransferMessage message) override;
    void on_fetch_done(NodeId from, RequestId request, transport::FetchEnd end) override;
    void on_progress(NodeId from, RequestId request, std::uint64_t bytes) override;
    void on_served(NodeId to, RequestId request, bool ok, std::uint64_t bytes) override;
    void on_link_up(NodeId peer) override { next_.on_link_up(peer); }
    void on_link_down(NodeId peer, const std::string& why) override { next_.on_link_down(peer, why); }

  private:
    class Run;
    void finish(Result<BenchResult> result);

    uv::Loop& loop_;
    transport::DataHandler& next_;
    transport::Router* router_ = nullptr;
    BenchServer server_;
    RequestId requests_ = 0;
    std::unique_ptr<Run> run_;
    OnEnd on_end_;
};

}  // namespace fastreg::node
