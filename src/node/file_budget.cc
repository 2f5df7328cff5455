#include "node/file_budget.h"

#include <algorithm>
#include <string>

namespace fastreg::node {

namespace {
/// Databases, event loops, listeners, the admin socket and its 64 connections, the log.
constexpr std::uint64_t kFixed = 128;
constexpr std::uint64_t kDownloadsMax = 4096;
constexpr std::uint64_t kLinksMax = 4096;
}  // namespace

Result<FileBudget> share_files(std::uint64_t files, const config::Limits& limits) {
    if (files < kFilesMin) {
        return fail(Errc::unavailable,
                    "this process may open " + std::to_string(files) + " files, which is fewer than the " +
                        std::to_string(kFilesMin) +
                        " a node needs; raise the hard limit (ulimit -n, LimitNOFILE= of a systemd unit)");
    }
    const std::uint64_t rest = files - kFixed;
    FileBudget budget;
    const auto grant = [&](std::uint64_t wanted, std::uint64_t tenths, std::uint64_t files_each) {
        const std::uint64_t most = std::max<std::uint64_t>(4, rest * tenths / 10 / files_each);
        if (most < wanted) budget.less_than_configured = true;
        return std::min(wanted, most);
    };
    budget.connections = grant(limits.connections, 4, 2);
    budget.uploads = grant(limits.uploads, 1, 1);
    budget.open_blobs = grant(limits.open_blobs, 1, 1);
    budget.downloads = grant(kDownloadsMax, 1, 1);
    budget.links = grant(kLinksMax, 2, 2);  // the last tenth is for links this node opens
    return budget;
}

}  // namespace fastreg::node
