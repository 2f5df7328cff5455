#include "node/meters.h"

#include <string>

namespace fastreg::node {

namespace {

constexpr std::array<std::string_view, 3> kSizeClasses{"small", "medium", "large"};
constexpr std::array<std::string_view, 6> kReasons{"bad_checksum", "bad_link", "disk_full",
                                                   "disk_error",   "link_lost", "refused"};
constexpr std::array<std::string_view, 3> kLookups{"found", "nobody", "failed"};

std::size_t size_class(std::uint64_t size) {
    if (size < (1ULL << 20U)) return 0;
    return size < (64ULL << 20U) ? 1 : 2;
}

std::string label(std::string_view key, std::string_view value) {
    return std::string(key) + "=\"" + std::string(value) + "\"";
}

Counter& suspicion(Metrics& m, std::string_view outcome) {
    return m.counter("fastreg_suspicions_total", "Members suspected of being dead, by how it ended",
                     label("outcome", outcome));
}
Counter& gossip(Metrics& m, std::string_view direction) {
    return m.counter("fastreg_gossip_bytes_total", "Bytes of membership frames", label("direction", direction));
}

}  // namespace

Meters::Meters(Metrics& m)
    : evictions(m.counter("fastreg_evictions_total", "Cached copies that made room for others")),
      evicted_bytes(m.counter("fastreg_evicted_bytes_total", "Bytes of cached copies that made room for others")),
      suspicions_raised(suspicion(m, "raised")),
      suspicions_confirmed(suspicion(m, "confirmed")),
      suspicions_refuted(suspicion(m, "refuted")),
      identity_conflicts(m.counter("fastreg_identity_conflicts_total",
                                   "Times another process was seen to run under this node's id")),
      gossip_in(gossip(m, "in")),
      gossip_out(gossip(m, "out")),
      peers_blamed(m.counter("fastreg_peers_blamed_total", "Times a peer's bytes or links did not hold")),
      disk_full(m.counter("fastreg_disk_full_total", "Uploads, blobs from peers and chunks refused for lack of space")),
      chunks_hedged(m.counter("fastreg_chunk_hedged_total",
                              "Second copies of chunks asked for because the first was slow")),
      duplicate_bytes(m.counter("fastreg_chunk_duplicate_bytes_total",
                                "Bytes of chunks that came when nobody waited for them any more")),
      stalls(m.seconds("fastreg_stall_seconds_total",
                       "Time that clients following an arriving blob waited for its next byte, after the first")),
      ttfb(m.histogram("fastreg_http_ttfb_seconds",
                       "From the request for a blob that is not here to its first byte",
                       duration_bounds())),
      probe_rtt(m.histogram("fastreg_probe_rtt_seconds", "From a probe on an open link to the member's answer",
                            round_trip_bounds())) {
    for (const Road road : {Road::tcp, Road::rdma}) {
        chunk_[static_cast<std::size_t>(road)] =
            &m.histogram("fastreg_chunk_fetch_duration_seconds", "From asking for a chunk to its proof on disk",
                         duration_bounds(), label("transport", name_of(road)));
    }
    for (std::size_t i = 0; i < blob_.size(); ++i) {
        blob_[i] = &m.histogram("fastreg_blob_fetch_duration_seconds",
                                "Blobs pulled from peers; small is below 1 MiB, large from 64 MiB",
                                duration_bounds(),
                                label("size_class", kSizeClasses[i / 2]) + "," +
                                    label("outcome", i % 2 == 0 ? "done" : "failed"));
    }
    for (std::size_t i = 0; i < retries_.size(); ++i) {
        retries_[i] = &m.counter("fastreg_chunk_retries_total", "Chunks that had to be asked for again",
                                 label("reason", kReasons[i]));
    }
    for (std::size_t i = 0; i < lookup_.size(); ++i) {
        lookup_[i] = &m.histogram("fastreg_lookup_duration_seconds", "Questions to the directory",
                                  duration_bounds(), label("result", kLookups[i]));
    }
}

void Meters::blob_fetched(std::uint64_t size, Duration took, bool ok) {
    blob_[size_class(size) * 2 + (ok ? 0 : 1)]->observe(seconds_of(took));
}

void Meters::chunk_ended(const transfer::ChunkEnd& end, Duration took) {
    using transfer::ChunkOutcome;
    const auto retry = [this](std::size_t reason) { retries_[reason]->add(); };
    switch (end.outcome) {
        case ChunkOutcome::stored: chunk_[static_cast<std::size_t>(end.road)]->observe(seconds_of(took)); return;
        case ChunkOutcome::bad_checksum: return retry(0);
        case ChunkOutcome::bad_link: return retry(1);
        case ChunkOutcome::disk_full:
            disk_full.add();
            return retry(2);
        case ChunkOutcome::disk_error: return retry(3);
        case ChunkOutcome::link_lost: return retry(4);
        case ChunkOutcome::refused: return retry(5);
        case ChunkOutcome::cancelled: return;
    }
}

void Meters::looked_up(Lookup result, Duration took) {
    lookup_[static_cast<std::size_t>(result)]->observe(seconds_of(took));
}

}  // namespace fastreg::node
