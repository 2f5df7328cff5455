// A small swarm in virtual time: real transfer cores, a fluid-like network, a directory and a store
// that are always right, and nodes that lie or die on demand. Seeded; one run is one replay.
//
// Network as in the study the rules come from: every node has an uplink and a downlink, a chunk moves
// in 16 quanta, an uplink serves its transfers round robin, each with a window of 4 quanta.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <set>
#include <vector>

#include "transfer/transfer.h"

namespace fastreg::transfer {

struct SimOptions {
    std::size_t nodes = 16;  // downloaders; one source more
    ChunkIndex chunks = 256;
    Duration blob_time = 2147ms;  // of the blob at line rate
    Duration rtt = 500us;
    std::uint64_t seed = 1;
    Duration start_spread = 1ms;
    Options options{};
    bool serve_blocked_reports = true;
    bool names_downloaders = true;  // the directory does, besides complete holders
};

/// How a node misbehaves.
struct Fault {
    bool bad_chunks = false;     // what it serves does not hold
    bool forged_chain = false;   // and its chain is made up; it claims to be complete
    bool silent = false;         // takes requests, sends no byte
    bool trickles = false;       // one byte per 300 ms, true map
    double uplink = 1;           // times the line rate
    double bad_share = 1;        // of its chunks, with bad_chunks
    std::optional<Instant> dies; // link down seen by all one RTT later
};

class SwarmSim {
  public:
    explicit SwarmSim(SimOptions options);
    ~SwarmSim();

    /// Node 0 is the source; 1..nodes download. Set before run().
    Fault& fault(std::size_t node);
    /// Additional complete holders from the start.
    void make_complete(std::size_t node);
    /// A reader that consumes what is verified, from 0 on.
    void add_reader(std::size_t node, std::uint64_t offset = 0, std::uint64_t end = UINT64_MAX);
    /// When the first whole copy of all chunks is out of the source.
    std::function<bool()> stop_when;
    void kill(std::size_t node);
    /// Until everybody that can has ended, or `limit`.
    void run(Duration limit);

    struct Outcome {
        bool completed = false;
        bool failed = false;
        Duration took{};
        Duration first_byte{};
        std::uint64_t bytes = 0;           // of chunks, that crossed the downlink
        std::uint64_t prefix = 0;          // streamable
        std::uint64_t prefix_before_end = 0;  // the largest one reported before completion
        std::vector<NodeId> blamed;
        std::vector<NodeId> dropped;
    };
    [[nodiscard]] const Outcome& outcome(std::size_t node) const;
    [[nodiscard]] NodeId id(std::size_t node) const;
    [[nodiscard]] Duration bound() const { return options_.blob_time; }
    [[nodiscard]] std::uint64_t blob_size() const;
    [[nodiscard]] ChunkIndex chunks() const { return options_.chunks; }
    /// Distinct chunks held by honest downloaders that are alive.
    [[nodiscard]] ChunkIndex spread() const;
    [[nodiscard]] std::uint64_t messages() const { return messages_; }
    [[nodiscard]] std::uint64_t busy() const { return busy_; }
    [[nodiscard]] Instant now() const { return now_; }
    [[nodiscard]] const Transfer& core(std::size_t node) const;

    struct Ratios {
        double p50 = 0;
        double p99 = 0;
        double max = 0;
        std::size_t unfinished = 0;
        double duplicates = 0;  // bytes over what was needed, of all honest downloaders
    };
    [[nodiscard]] Ratios ratios() const;

  private:
    struct Node;
    struct Flow;
    struct Event {
        Instant at;
        std::uint64_t order = 0;
        std::function<void()> run;
        bool operator<(const Event& other) const {  // the earliest on top of the queue
            return at != other.at ? at > other.at : order > other.order;
        }
    };
    void at(Instant when, std::function<void()> what);
    void drain(std::size_t n);
    void handle(std::size_t n, Action& action);
    void start_flow(std::size_t from, const ServeChunk& serve);
    void trickle(std::size_t to, std::size_t from, RequestId request);
    void pump_uplink(std::size_t n);
    void on_quantum(std::size_t to, const std::shared_ptr<Flow>& flow);
    [[nodiscard]] Bytes link(std::size_t version, ChunkIndex i) const;
    [[nodiscard]] Chain chain(std::size_t version) const;
    [[nodiscard]] std::size_t index_of(const NodeId& id) const;
    [[nodiscard]] std::vector<Holder> holders_for(std::size_t n);

    SimOptions options_;
    Digest digest_;
    ChunkGrid grid_;
    Rng rng_;
    Instant now_{1'000'000'000};
    std::uint64_t order_ = 0;
    std::uint64_t messages_ = 0;
    std::uint64_t busy_ = 0;
    std::priority_queue<Event> events_;
    std::vector<std::unique_ptr<Node>> nodes_;
    std::vector<std::size_t> holders_;
};

}  // namespace fastreg::transfer
