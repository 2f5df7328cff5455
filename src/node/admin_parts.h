// What the files of Admin share (admin*.cc): JSON answers, a verification under way, the gauges.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "node/admin.h"
#include "node/rdma_meters.h"
#include "store/store.h"

namespace fastreg::node {

using Json = nlohmann::json;

inline std::string printed(const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}
inline AdminAnswer json_answer(const Json& json, int status = 200) {
    return {status, "application/json", printed(json)};
}
inline AdminAnswer error_answer(int status, std::string_view code, std::string message) {
    return json_answer({{"error", {{"code", code}, {"message", std::move(message)}}}}, status);
}

/// What a node that leaves has done so far.
[[nodiscard]] Json handoff_state(const Core& core, const std::string& state);

struct Admin::Verify {
    std::vector<store::BlobEntry> todo;
    std::size_t next = 0;
    std::uint64_t bytes = 0;
    std::uint64_t bytes_total = 0;
    Json bad = Json::array();
    bool running = true;
};

struct Admin::Gauges {
    explicit Gauges(Metrics& m)
        : alive(m.gauge("fastreg_members", "Members by state, this node included", R"(state="alive")")),
          suspect(m.gauge("fastreg_members", "", R"(state="suspect")")),
          stopping(m.gauge("fastreg_members", "", R"(state="stopping")")),
          dead(m.gauge("fastreg_members", "", R"(state="dead")")),
          left(m.gauge("fastreg_members", "", R"(state="left")")),
          store_bytes(m.gauge("fastreg_store_bytes", "Bytes kept, partial blobs and uploads included")),
          store_blobs(m.gauge("fastreg_store_blobs", "Complete blobs kept")),
          store_capacity(m.gauge("fastreg_store_capacity_bytes",
                                 "Bytes the store may come to use, by max-bytes and min-free")),
          store_withdrawn(m.gauge("fastreg_store_withdrawn_blobs", "Blobs found damaged since the start")),
          downloads(m.gauge("fastreg_downloads_inflight", "Blobs arriving from peers")),
          short_copies(m.gauge("fastreg_under_replicated_blobs", "Blobs pushed here with fewer copies than replicas")),
          directory_entries(m.gauge("fastreg_directory_entries", "Holders this node knows of as an owner")),
          repo_rows(m.gauge("fastreg_repository_rows", "Rows of repositories kept by this node")),
          local_health(m.gauge("fastreg_local_health_score", "0 is well; grows while probes are answered late")),
          quarantined(m.gauge("fastreg_peer_quarantined",
                              "Peers that are asked for nothing for a while, after bytes or links that did not hold")),
          uploads(m.gauge("fastreg_upload_slots_inflight", "Chunks being sent to peers")),
          uploads_waiting(m.gauge("fastreg_upload_queue_depth", "Chunks that peers asked for and wait for")),
          build(m.gauge("fastreg_build_info", "Always 1", R"(version=")" FR_VERSION R"(")")),
          rdma(m) {
        build.set(1);
    }
    Gauge &alive, &suspect, &stopping, &dead, &left, &store_bytes, &store_blobs, &store_capacity,
        &store_withdrawn, &downloads, &short_copies, &directory_entries, &repo_rows, &local_health, &quarantined,
        &uploads, &uploads_waiting, &build;
    RdmaMeters rdma;
};

}  // namespace fastreg::node
