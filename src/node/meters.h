// The metrics of the mesh side of a node, registered once at start (docs/OPERATIONS.md, "Metrics").
// Updated from the loop thread; the simulator runs without them.
#pragma once

#include <array>
#include <cstdint>

#include "base/instant.h"
#include "base/metrics.h"
#include "transfer/transfer.h"

namespace fastreg::node {

struct Meters {
    explicit Meters(Metrics& metrics);

    void blob_fetched(std::uint64_t size, Duration took, bool ok);
    void chunk_ended(const transfer::ChunkEnd& end, Duration took);

    enum class Lookup { found, nobody, failed };
    void looked_up(Lookup result, Duration took);

    /// A cached copy made room.
    void evicted(std::uint64_t bytes) {
        evictions.add();
        evicted_bytes.add(bytes);
    }

    Counter& evictions;
    Counter& evicted_bytes;
    Counter& suspicions_raised;
    Counter& suspicions_confirmed;  // the member was dead
    Counter& suspicions_refuted;
    Counter& identity_conflicts;
    Counter& gossip_in;
    Counter& gossip_out;
    Counter& peers_blamed;
    Counter& disk_full;
    Counter& chunks_hedged;
    Counter& duplicate_bytes;
    SecondsCounter& stalls;
    Histogram& ttfb;
    Histogram& probe_rtt;

  private:
    std::array<Histogram*, 6> blob_;    // size class x outcome
    std::array<Histogram*, 2> chunk_;   // by road
    std::array<Counter*, 6> retries_;   // by reason
    std::array<Histogram*, 3> lookup_;  // by result
};

}  // namespace fastreg::node
