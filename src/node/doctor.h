// What `fastreg doctor` finds out about the machine of a node, whether it runs or not. Judgements are
// functions of what was seen, so that tests show them machines that are not theirs; look_at_* and examine()
// look. Nothing is changed, but that each port is listened on for a moment. Blocking; main thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/endpoint.h"
#include "base/result.h"
#include "config/config.h"

namespace fastreg::node {

enum class Verdict : std::uint8_t { ok, warn, fail };
[[nodiscard]] std::string_view name_of(Verdict verdict);

/// One line of the doctor's: what was looked at, what was seen there, and what to do about it.
struct Finding {
    Verdict verdict = Verdict::ok;
    std::string what;
    std::string seen;
    std::string advice;  // empty: nothing to do
};

/// Where the node of this configuration listens while it runs; nothing was there to ask otherwise.
using Running = std::optional<std::vector<Endpoint>>;

/// An address of this machine and the interface that has it.
struct OwnAddress {
    std::string host;
    std::string interface;
};
[[nodiscard]] std::vector<OwnAddress> own_addresses();
/// Of containers: docker0 and its like have the same address on every machine.
[[nodiscard]] bool is_container_bridge(std::string_view interface);
/// "" when it is no address of this machine.
[[nodiscard]] std::string interface_of(std::string_view host, std::span<const OwnAddress> own);

/// The data directory, or the nearest part of its path that is there.
struct DiskFacts {
    bool exists = false;
    int access_errno = 0;  // of writing there; 0: allowed
    std::uint64_t size = 0;
    std::uint64_t free = 0;  // for this user
};
[[nodiscard]] DiskFacts look_at_disk(const std::string& path);
[[nodiscard]] std::vector<Finding> judge_disk(const DiskFacts& disk, const config::Config& config);

[[nodiscard]] Finding judge_files(std::uint64_t limit);
/// `loaded`: of load_key().
[[nodiscard]] Finding judge_key(const Result<std::string>& loaded, const config::Config& config);
/// `listened`: whether this program could listen there, under that flag.
[[nodiscard]] Finding judge_port(std::string_view flag,
                                 const Endpoint& at,
                                 const Status& listened,
                                 const Running& running);
[[nodiscard]] Finding judge_advertised(std::string_view flag, const std::string& host, std::string_view interface);

struct ClockFacts {
    std::uint64_t wall_ms = 0;
    bool synchronized = false;  // the kernel was told so by an NTP client
};
[[nodiscard]] ClockFacts look_at_clock();
[[nodiscard]] Finding judge_clock(const ClockFacts& clock);
/// How far another member's clock is ahead of this one's, to the second or so.
struct PeerClock {
    std::string name;
    std::int64_t ahead_ms = 0;
};
[[nodiscard]] Finding judge_peer_clocks(std::span<const PeerClock> peers);

/// All checks of this machine, in the order they are shown.
[[nodiscard]] std::vector<Finding> examine(const config::Config& config, const Running& running);

}  // namespace fastreg::node
