#include "node/bench.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <vector>

#include "base/log.h"
#include "base/worker.h"
#include "node/bench_blob.h"
#include "uv/timer.h"

namespace fastreg::node {

using transport::FetchEnd;
using transport::FetchOrder;

namespace {

/// Requests of a bench have ids that the transfer core never reaches.
constexpr RequestId kBenchRequests = RequestId{1} << 60U;
constexpr Duration kLinkPatience = 5s;
constexpr Duration kLinkLook = 50ms;
/// Beyond the span that is measured: for links, the warming-up, and the last answers.
constexpr Duration kPatience = 20s;
/// Of latencies, 8 bytes each; a measurement ends there at the latest.
constexpr std::size_t kSamplesMax = 1'000'000;

/// What the sinks of a measurement found; written on the thread that compares.
struct Compared {
    std::atomic<std::uint64_t> same{0};  // bytes
    std::atomic<std::uint64_t> by_tcp{0};
};

/// Has what landed compared on another thread: the transport's own has the next chunk to see to.
class ComparedSink final : public transport::ChunkSink {
  public:
    ComparedSink(std::shared_ptr<Worker> worker, std::shared_ptr<Compared> compared)
        : worker_(std::move(worker)), compared_(std::move(compared)) {}
    void on_block(std::uint64_t offset, Block block, std::optional<Xxh128>) override {
        if (!block.may_change()) compared_->by_tcp += block.size();
        worker_->post([compared = compared_, offset, held = std::make_shared<Block>(std::move(block))] {
            const ByteView expected(bench_pattern());
            const auto got = held->filled();
            if (got.empty() || offset > expected.size() || got.size() > expected.size() - offset) return;
            if (std::memcmp(got.data(), expected.data() + offset, got.size()) == 0) compared->same += got.size();
        });
    }

  private:
    std::shared_ptr<Worker> worker_;
    std::shared_ptr<Compared> compared_;
};

class ReportSink final : public transport::ChunkSink {
  public:
    void on_block(std::uint64_t, Block block, std::optional<Xxh128>) override {
        const std::lock_guard lock(mutex_);
        if (bytes_.size() <= kBenchReportSize)
            bytes_.insert(bytes_.end(), block.filled().begin(), block.filled().end());
    }
    [[nodiscard]] Bytes bytes() const {
        const std::lock_guard lock(mutex_);
        return bytes_;
    }

  private:
    mutable std::mutex mutex_;
    Bytes bytes_;
};

Error why_not(FetchEnd end) {
    switch (end) {
        case FetchEnd::busy:
            return {Errc::busy, 0, "the peer is measured by another member; try again"};
        case FetchEnd::not_here:
            return {Errc::unsupported, 0, "the peer's fastreg knows no bench; run the same release on both"};
        default:
            return {Errc::network, 0, "a chunk ended with " + std::string(name_of(end)) + "; see the log"};
    }
}

}  // namespace

/// link -> warm -> report before -> measure -> compare -> report after
class Bench::Run {
  public:
    Run(Bench& bench, const BenchOrder& order)
        : bench_(bench), order_(order), look_(bench.loop_, [this] { link(); }), deadline_(bench.loop_, [this] {
              give_up({Errc::timeout, 0, "the peer stopped answering"});
          }) {
        deadline_.set(order.span + kPatience);
        link_by_ = now() + kLinkPatience;
        look_.set(Duration(0));
    }

    void on_done(RequestId request, FetchEnd end) {
        const auto found = open_.find(request);
        if (found == open_.end()) return;
        const Instant asked = found->second;
        open_.erase(found);
        if (end != FetchEnd::all_sent_to_sink) return give_up(why_not(end));
        switch (stage_) {
            case Stage::link:
                return look_.set(kLinkLook);
            case Stage::warm:
                return warm();
            case Stage::before:
            case Stage::after:
                return on_report();
            case Stage::measure:
                latencies_.push_back((now() - asked).count());
                return measure();
            case Stage::compare:
                return;
        }
    }

    /// What is on its way is not waited for.
    void cancel() {
        for (const auto& [request, asked] : std::exchange(open_, {})) {
            bench_.router_->cancel_fetch(order_.peer, request);
        }
    }

  private:
    enum class Stage : std::uint8_t { link, warm, before, measure, compare, after };

    [[nodiscard]] Instant now() const { return bench_.loop_.now(); }

    void give_up(Error error) {
        cancel();
        bench_.finish(tl::unexpected<Error>(std::move(error)));  // the end of *this
    }

    void fetch(std::uint64_t blob_size, bool by_rdma, std::shared_ptr<transport::ChunkSink> sink) {
        FetchOrder order;
        order.from = order_.peer;
        order.address = order_.transfer;
        order.by_tcp = !by_rdma;
        order.request = kBenchRequests + ++bench_.requests_;
        order.digest = bench_digest();
        order.blob_size = blob_size;
        order.sink = std::move(sink);
        open_[order.request] = now();
        bench_.router_->fetch(std::move(order));
    }

    void fetch_chunk() {
        fetch(bench_blob_size(order_.chunk_bytes),
              order_.road == Road::rdma,
              std::make_shared<ComparedSink>(worker_, compared_));
        ++asked_;
    }

    /// The first chunks go by TCP while the RDMA connection is made.
    void link() {
        if (asked_ > 0 && (order_.road == Road::tcp || bench_.router_->road_to(order_.peer) == Road::rdma)) {
            stage_ = Stage::warm;
            asked_ = 0;
            return warm();
        }
        if (now() >= link_by_) {
            return give_up({Errc::unavailable,
                            0,
                            "no RDMA connection to the peer within 5 s; `fastreg doctor` on both, and rdma.link_failed "
                            "in the log, say why"});
        }
        fetch_chunk();
    }

    void warm() {
        while (asked_ < 2 * order_.depth && open_.size() < order_.depth) fetch_chunk();
        if (!open_.empty()) return;
        stage_ = Stage::before;
        ask_report();
    }

    void ask_report() {
        report_ = std::make_shared<ReportSink>();
        fetch(kBenchReportSize, false, report_);
    }

    void on_report() {
        const auto cpu = read_bench_report(report_->bytes());
        if (!cpu) return give_up(cpu.error());
        if (stage_ == Stage::after) {
            result_.cpu_there = *cpu - result_.cpu_there;
            return bench_.finish(result_);  // the end of *this
        }
        result_.cpu_there = *cpu;
        result_.cpu_here = process_cpu_time();
        compared_ = std::make_shared<Compared>();
        asked_ = 0;
        stage_ = Stage::measure;
        begin_ = now();
        measure();
    }

    void measure() {
        const bool more = now() - begin_ < order_.span && latencies_.size() < kSamplesMax;
        while (more && open_.size() < order_.depth) fetch_chunk();
        if (!open_.empty()) return;
        stage_ = Stage::compare;
        // Behind the last block: what this tells was compared whole.
        worker_->post([&loop = bench_.loop_, alive = std::weak_ptr<Run*>(self_)] {
            loop.post([alive] {
                if (const auto self = alive.lock()) (*self)->on_compared();
            });
        });
    }

    void on_compared() {
        result_.took = now() - begin_;
        result_.cpu_here = process_cpu_time() - result_.cpu_here;
        result_.chunks = asked_;
        const std::uint64_t bytes = asked_ * order_.chunk_bytes;
        if (compared_->same != bytes) {
            return give_up({Errc::corrupt,
                            0,
                            std::to_string(bytes - compared_->same) + " of " + std::to_string(bytes) +
                                " bytes arrived other than they were sent"});
        }
        if (order_.road == Road::rdma && compared_->by_tcp > 0) {
            return give_up({Errc::unavailable, 0, "the RDMA connection broke, and chunks came by TCP; see the log"});
        }
        result_.p50 = latency_at(50);
        result_.p99 = latency_at(99);
        stage_ = Stage::after;
        ask_report();
    }

    [[nodiscard]] Duration latency_at(std::size_t percent) {
        const auto place = latencies_.begin() + static_cast<std::ptrdiff_t>((latencies_.size() - 1) * percent / 100);
        std::nth_element(latencies_.begin(), place, latencies_.end());
        return Duration(*place);
    }

    Bench& bench_;
    const BenchOrder order_;
    Stage stage_ = Stage::link;
    Instant link_by_;
    Instant begin_;
    std::uint64_t asked_ = 0;  // in this stage
    std::map<RequestId, Instant> open_;
    std::vector<std::int64_t> latencies_;  // ns
    BenchResult result_;
    std::shared_ptr<Compared> compared_ = std::make_shared<Compared>();
    std::shared_ptr<ReportSink> report_;
    std::shared_ptr<Run*> self_ = std::make_shared<Run*>(this);
    std::shared_ptr<Worker> worker_ = std::make_shared<Worker>("fr-bench");
    uv::Timer look_;
    uv::Timer deadline_;
};

Bench::Bench(uv::Loop& loop, transport::DataHandler& next) : loop_(loop), next_(next) {}
Bench::~Bench() = default;

void Bench::close() {
    run_.reset();
    on_end_ = {};
}

Status Bench::run(const BenchOrder& order, OnEnd on_end) {
    if (run_) return fail(Errc::busy, "a bench is running on this node; one at a time");
    if (!is_bench_chunk(order.chunk_bytes) || order.depth < 1 || order.depth > BenchOrder::kDepthMax ||
        order.span <= Duration(0) || order.span > BenchOrder::kSpanMax) {
        return fail(Errc::out_of_range,
                    "a chunk has 64 KiB to 4 MiB, a power of two; a depth is 1 to 32; a measurement takes up to 10 s");
    }
    on_end_ = std::move(on_end);
    run_ = std::make_unique<Run>(*this, order);
    return {};
}

void Bench::finish(Result<BenchResult> result) {
    const std::unique_ptr<Run> ended = std::move(run_);  // may ask for the next one
    const OnEnd told = std::exchange(on_end_, {});
    told(std::move(result));
}

void Bench::on_message(NodeId from, wire::TransferMessage message) {
    if (router_ != nullptr && server_.on_message(loop_.now(), from, message, *router_)) return;
    // Busy and NotHere of an own request are followed by its end, which says the same.
    const auto* busy = std::get_if<wire::Busy>(&message);
    const auto* absent = std::get_if<wire::NotHere>(&message);
    const RequestId answered = busy != nullptr ? busy->request : absent != nullptr ? absent->request : 0;
    if (answered < kBenchRequests) next_.on_message(from, std::move(message));
}

void Bench::on_fetch_done(NodeId from, RequestId request, FetchEnd end) {
    if (request < kBenchRequests) return next_.on_fetch_done(from, request, end);
    if (run_) run_->on_done(request, end);
}

void Bench::on_progress(NodeId from, RequestId request, std::uint64_t bytes) {
    if (request < kBenchRequests) next_.on_progress(from, request, bytes);
}

void Bench::on_served(NodeId to, RequestId request, bool ok, std::uint64_t bytes) {
    if (!server_.on_served(to, request)) next_.on_served(to, request, ok, bytes);
}

}  // namespace fastreg::node
