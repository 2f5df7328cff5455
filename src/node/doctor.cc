#include "node/doctor.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/hlc.h"
#include "node/doctor_clients.h"
#include "node/doctor_rdma.h"
#include "node/file_budget.h"
#include "node/key_file.h"
#include "node/system.h"
#include "uv/listener.h"
#include "uv/loop.h"

namespace fastreg::node {
namespace {

/// 2024: no clock that was ever set says less.
constexpr std::uint64_t kLongAgoMs = 1'704'067'200'000;
/// The time in an answer is in whole seconds, and the answer takes a moment.
constexpr std::int64_t kClockWarnMs = 3'000;

constexpr std::string_view kNtp = "run an NTP client (chrony, systemd-timesyncd)";

Finding file_limit() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) limit.rlim_max = 0;
    return judge_files(limit.rlim_max);
}

std::vector<Finding> ports(const config::Config& config, const Running& running) {
    std::vector<Finding> found;
    uv::Loop loop;
    for (const auto& [flag, at] : {std::pair{"--http-listen", config.http.listen},
                                   std::pair{"--gossip-listen", config.gossip.listen},
                                   std::pair{"--transfer-listen", config.transfer.listen},
                                   std::pair{"--admin-listen", config.admin.listen}}) {
        if (at.empty()) continue;
        const auto listener = uv::Listener::tcp(loop, at, {1, flag}, [](const uv::Fd&, const Endpoint&) {});
        found.push_back(judge_port(flag, at, listener ? Status() : Status(tl::unexpect, listener.error()), running));
    }
    return found;
}

std::vector<Finding> advertised(const config::Config& config) {
    const auto own = own_addresses();
    const std::string host = advertised_host(config.advertise_addr, config.gossip.listen.host);
    std::vector<Finding> found{judge_advertised("--advertise-addr", host, interface_of(host, own))};
    const std::string& data = config.transfer.advertise_addr;
    if (!data.empty()) found.push_back(judge_advertised("--transfer-advertise-addr", data, interface_of(data, own)));
    return found;
}

void append(std::vector<Finding>& all, std::vector<Finding> more) {
    std::move(more.begin(), more.end(), std::back_inserter(all));
}

}  // namespace

std::string_view name_of(Verdict verdict) {
    switch (verdict) {
        case Verdict::ok:
            return "ok";
        case Verdict::warn:
            return "warn";
        case Verdict::fail:
            return "fail";
    }
    return "fail";
}

std::vector<OwnAddress> own_addresses() {
    std::vector<OwnAddress> own;
    ifaddrs* all = nullptr;
    if (::getifaddrs(&all) != 0) return own;
    for (const ifaddrs* at = all; at != nullptr; at = at->ifa_next) {
        if (at->ifa_addr == nullptr) continue;
        const std::string host = uv::to_endpoint(at->ifa_addr).host;
        if (!host.empty()) own.push_back({host, at->ifa_name});
    }
    ::freeifaddrs(all);
    return own;
}

bool is_container_bridge(std::string_view interface) {
    constexpr std::string_view kBegins[] = {"docker", "br-", "podman", "cni", "virbr", "lxcbr", "lxdbr"};
    return std::ranges::any_of(kBegins, [&](std::string_view begin) { return interface.starts_with(begin); });
}

std::string interface_of(std::string_view host, std::span<const OwnAddress> own) {
    const auto found = std::ranges::find(own, host, &OwnAddress::host);
    return found == own.end() ? "" : found->interface;
}

DiskFacts look_at_disk(const std::string& path) {
    DiskFacts disk;
    std::error_code ignored;
    std::filesystem::path at(path);
    disk.exists = std::filesystem::exists(at, ignored);
    while (!std::filesystem::exists(at, ignored) && at != at.parent_path()) at = at.parent_path();
    if (!std::filesystem::is_directory(at, ignored)) {
        disk.access_errno = ENOTDIR;
    } else if (::access(at.c_str(), W_OK | X_OK) != 0) {
        disk.access_errno = errno;
    }
    struct statvfs info {};
    if (::statvfs(at.c_str(), &info) == 0) {
        disk.size = std::uint64_t{info.f_blocks} * info.f_frsize;
        disk.free = std::uint64_t{info.f_bavail} * info.f_frsize;
    }
    return disk;
}

std::vector<Finding> judge_disk(const DiskFacts& disk, const config::Config& config) {
    Finding folder{
        Verdict::ok, "data directory", config.data_dir + (disk.exists ? " is writable" : " can be made"), ""};
    if (disk.access_errno != 0) {
        const bool read_only = disk.access_errno == EROFS;
        folder = {
            Verdict::fail,
            "data directory",
            config.data_dir + (disk.access_errno == ENOTDIR ? " cannot be made: a part of its path is no directory"
                               : read_only                  ? " is on a file system that is mounted read-only"
                                                            : " is not writable for this user"),
            std::string(read_only ? "mount it for writing" : "chown it to the user that runs fastreg") +
                ", or name another directory with --data-dir"};
    }
    const std::uint64_t keep = config.store.min_free_of(disk.size);
    Finding room{Verdict::ok,
                 "free space",
                 human_bytes(disk.free) + " of " + human_bytes(disk.size) + ", " + human_bytes(keep) +
                     " of it is kept free (store.min-free)",
                 ""};
    if (disk.free <= keep) {
        room.verdict = Verdict::fail;
        room.advice =
            "free space there, lower --store-min-free, or name another directory with --data-dir; pushes and "
            "pulls of new blobs are refused (507)";
    } else if (disk.free / 2 <= keep) {
        room.verdict = Verdict::warn;
        room.advice = "free space there soon: nothing is evicted in this version";
    }
    return {folder, room};
}

Finding judge_files(std::uint64_t limit) {
    const std::string seen =
        limit == RLIM_INFINITY ? "no limit" : std::to_string(limit) + " (hard limit of this shell)";
    Finding found{Verdict::ok, "open files", seen, ""};
    const std::string raise =
        "raise the hard limit (ulimit -Hn, LimitNOFILE= of a systemd unit) to " + std::to_string(kFilesForDefaults);
    if (limit < kFilesMin) {
        found.verdict = Verdict::fail;
        found.advice = raise + "; below " + std::to_string(kFilesMin) + " a node does not start";
    } else if (limit < kFilesFew) {
        found.verdict = Verdict::warn;
        found.advice = raise + ": a busy node meets its limits earlier than configured";
    }
    return found;
}

Finding judge_key(const Result<std::string>& loaded, const config::Config& config) {
    const std::string what = "cluster key";
    if (config.insecure_mesh) {
        return {Verdict::warn, what, "none is asked for (--insecure-mesh)", "leave --insecure-mesh to labs"};
    }
    if (loaded) return {Verdict::ok, what, config.cluster_key_file + " holds one", ""};
    if (loaded.error().code != Errc::not_found) {
        return {Verdict::fail,
                what,
                describe(loaded.error()),
                "copy it whole from a member (`fastreg key show` there), mode 0600, for the user that runs fastreg"};
    }
    if (config.join.empty() && config.cluster_key_file == config.default_key_file()) {
        return {Verdict::ok, what, "none yet: the first start makes " + config.cluster_key_file, ""};
    }
    return {Verdict::fail,
            what,
            "there is none at " + config.cluster_key_file,
            "copy it from a member (`fastreg key show` there)"};
}

Finding judge_port(std::string_view flag, const Endpoint& at, const Status& listened, const Running& running) {
    const std::string what = "port " + std::to_string(at.port) + " (" + std::string(flag) + ")";
    if (at.port == 0) return {Verdict::ok, what, "any free one", ""};
    if (listened) return {Verdict::ok, what, at.str() + " is free", ""};
    const Error& error = listened.error();
    const bool ours = running && std::ranges::any_of(*running, [&](const Endpoint& e) { return e.port == at.port; });
    if (ours && error.code == Errc::already_exists) {
        return {Verdict::ok, what, at.str() + " is held by the node that runs here", ""};
    }
    // The listener's own sentence has what to do behind a semicolon.
    const auto cut = error.what.find("; ");
    const std::string advice =
        cut == std::string::npos ? "choose another with " + std::string(flag) : error.what.substr(cut + 2);
    return {Verdict::fail, what, error.what.substr(0, cut), advice};
}

Finding judge_advertised(std::string_view flag, const std::string& host, std::string_view interface) {
    const std::string name(flag);
    const std::string choose = "name an address that the other nodes reach with " + name;
    Finding found{Verdict::ok,
                  "address for peers (" + name + ")",
                  host + (interface.empty() ? "" : " on " + std::string(interface)),
                  ""};
    if (host.empty() || host == "0.0.0.0" || host == "::") {
        found = {Verdict::fail, found.what, (host.empty() ? "none" : host + " is no address to dial"), choose};
    } else if (uv::is_loopback({host, 0}) || host == "localhost") {
        found.verdict = Verdict::warn;
        found.advice = choose + "; this one does for nodes on one machine only";
    } else if (is_container_bridge(interface)) {
        found.verdict = Verdict::fail;
        found.advice = choose + "; every machine has this one, for its own containers";
    } else if (interface.empty() && uv::is_numeric({host, 0})) {
        found.seen += ", no address of this machine: ports have to be passed on from there";
    }
    return found;
}

ClockFacts look_at_clock() {
    timex state{};
    const int answer = ::adjtimex(&state);
    return {wall_clock_ms(), answer >= 0 && (state.status & STA_UNSYNC) == 0};
}

Finding judge_clock(const ClockFacts& clock) {
    if (clock.wall_ms < kLongAgoMs) {
        return {Verdict::fail, "clock", "it is before 2024", "set the clock, and " + std::string(kNtp)};
    }
    if (!clock.synchronized) {
        return {Verdict::warn, "clock", "the kernel knows of nothing that keeps it right", std::string(kNtp)};
    }
    return {Verdict::ok, "clock", "kept right by NTP", ""};
}

Finding judge_peer_clocks(std::span<const PeerClock> peers) {
    const auto away = [](const PeerClock& peer) { return std::abs(peer.ahead_ms); };
    const auto worst = std::ranges::max_element(peers, {}, away);
    if (worst == peers.end()) return {Verdict::ok, "clocks of peers", "no other member answers", ""};
    const std::int64_t off = away(*worst);
    Finding found{Verdict::ok, "clocks of peers", "", ""};
    if (off < kClockWarnMs) {
        found.seen = "of " + std::to_string(peers.size()) + " asked none is more than " +
                     std::to_string(kClockWarnMs / 1000) + " s off";
        return found;
    }
    found.verdict = off < static_cast<std::int64_t>(kHlcMaxAheadMs) ? Verdict::warn : Verdict::fail;
    found.seen = worst->name + " is " + std::to_string(off / 1000) + " s " + (worst->ahead_ms > 0 ? "ahead" : "behind");
    found.advice = std::string(kNtp) + " on both; rows from a clock " + std::to_string(kHlcMaxAheadMs / 1000) +
                   " s ahead are refused";
    return found;
}

std::vector<Finding> examine(const config::Config& config, const Running& running) {
    std::vector<Finding> all = judge_disk(look_at_disk(config.data_dir), config);
    all.push_back(judge_key(load_key(config), config));
    append(all, ports(config, running));
    append(all, advertised(config));
    all.push_back(file_limit());
    all.push_back(judge_clock(look_at_clock()));
    append(all, judge_rdma(look_at_rdma(config.rdma), config.rdma, running));
    append(all, judge_clients(look_at_clients(), config.http.listen));
    return all;
}

}  // namespace fastreg::node
