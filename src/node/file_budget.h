// How the descriptors a process may open are shared out, so that no use of them starves the others: a
// node whose uploads had taken the last one could not even accept the connection of its operator.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/result.h"
#include "config/config.h"

namespace fastreg::node {

struct FileBudget {
    std::uint64_t connections = 0;  // HTTP; each may hold a socket and the file of its answer
    std::uint64_t uploads = 0;      // open sessions, a partial file each
    std::uint64_t open_blobs = 0;   // files kept open for peers
    std::size_t downloads = 0;      // blobs under way, a partial file each
    std::size_t links = 0;          // inbound, for gossip and for chunks, of each as many
    bool less_than_configured = false;
};

/// Below this a node does not start.
inline constexpr std::uint64_t kFilesMin = 256;
/// With fewer a busy node will meet its limits: its log warns.
inline constexpr std::uint64_t kFilesFew = 16'384;
/// With this many every default limit is granted in full.
inline constexpr std::uint64_t kFilesForDefaults = 131'072;

/// The configured limits, or less where `files` (the limit of open files, ulimit -n) does not suffice.
/// Error: fewer than kFilesMin.
[[nodiscard]] Result<FileBudget> share_files(std::uint64_t files, const config::Limits& limits);

}  // namespace fastreg::node
