// What goes wrong in one run, drawn from its seed. Values.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/instant.h"
#include "base/random.h"

namespace fastreg::sim {

enum class Fault : std::uint8_t {
    loss,
    link_break,
    partition,
    one_way_cut,
    crash,
    power_cut,
    restart,
    move,
    wipe,
    slow_node,
    slow_disk,
    wrong_bytes,
    forged_chain,
    claims_all,
    silent,
    disk_full,
    disk_error,
    bit_flip,
    clock_skew,
    tight_store,
    leave,
};
inline constexpr std::array<std::string_view, 21> kFaultNames = {
    "loss",        "link_break",   "partition",  "one_way_cut", "crash",     "power_cut",  "restart",
    "move",        "wipe",         "slow_node",  "slow_disk",   "wrong_bytes", "forged_chain", "claims_all",
    "silent",      "disk_full",    "disk_error", "bit_flip",    "clock_skew", "tight_store", "leave"};
[[nodiscard]] constexpr std::string_view name_of(Fault fault) {
    return kFaultNames[static_cast<std::size_t>(fault)];
}
/// These take bytes away for good: at most one of them in a run, or what was promised may be lost.
[[nodiscard]] constexpr bool destroys(Fault fault) {
    return fault == Fault::wipe || fault == Fault::bit_flip || fault == Fault::disk_error ||
           fault == Fault::wrong_bytes || fault == Fault::silent || fault == Fault::forged_chain;
}

/// Sizes of which every kAllSizesIn seeds in a row have one at least: chance alone, at the price of a large run, would
/// leave them out. What is promised of large meshes (several links of gossip, owners that are few among many) needs
/// them.
inline constexpr std::array<std::string_view, 3> kLargeSizes = {"nodes.19-29", "nodes.30-40", "nodes.41-50"};
[[nodiscard]] constexpr std::string_view size_class(std::size_t nodes) {
    return nodes < 19 ? "nodes.3-18" : kLargeSizes[nodes < 30 ? 0 : nodes < 41 ? 1 : 2];
}

struct Plan {
    static constexpr std::uint64_t kLargeEvery = 40;
    static constexpr std::uint64_t kAllSizesIn = 5 * kLargeEvery;
    struct Event {
        Duration at;  // after the mesh has formed
        Fault fault;
    };
    std::size_t nodes = 3;
    std::size_t replicas = 2;
    std::uint64_t blob_max = 0;
    Duration latency{};
    std::uint64_t rate = 0;
    Duration active{};  // how long clients and faults go on
    Duration between_clients{};
    std::vector<Event> events;

    [[nodiscard]] static Plan draw(std::uint64_t seed, Rng& rng) {
        Plan plan;
        const auto size = rng.below(1000);
        plan.nodes = size < 850 ? 3 + rng.below(3) : size < 960 ? 6 + rng.below(5) : 11 + rng.below(8);
        // Each size of 19 to 50 once in 32 such seeds, far ones one after the other; the first of them has 50.
        if (seed % kLargeEvery == 0) plan.nodes = 19 + (seed / kLargeEvery * 13 + 18) % 32;
        plan.blob_max = rng.chance(0.03) ? 10U << 20U : rng.chance(0.15) ? 3U << 20U : 500U << 10U;
        plan.latency = Duration{100'000 + static_cast<std::int64_t>(rng.below(3'000'000))};
        plan.rate = 2'000'000 + rng.below(100'000'000);
        plan.active = Duration{8'000'000'000 + static_cast<std::int64_t>(rng.below(12'000'000'000))};
        plan.between_clients = Duration{100'000'000 + static_cast<std::int64_t>(rng.below(300'000'000))};
        bool destroyed = false;
        // Three to six kinds, each up to three times; one run in twenty is calm.
        if (rng.chance(0.05)) return plan;
        for (std::uint64_t kinds = 3 + rng.below(4); kinds > 0;) {
            const auto fault = static_cast<Fault>(rng.below(kFaultNames.size()));
            if (destroys(fault) && destroyed) continue;
            destroyed = destroyed || destroys(fault);
            const bool once = destroys(fault) || fault == Fault::loss;
            for (std::uint64_t times = once ? 1 : 1 + rng.below(3); times > 0; --times) {
                const auto span = static_cast<std::uint64_t>(plan.active.count());
                plan.events.push_back({Duration{static_cast<std::int64_t>(rng.below(span))}, fault});
            }
            --kinds;
        }
        // One copy of everything: nothing may be lost by a leave, or for want of room, where no disk is.
        if (!destroyed && rng.chance(0.3)) plan.replicas = 1;
        destroyed = destroyed || plan.replicas == 1;
        // A disk is lost while somebody else is away: the hardest thing for rows.
        if (!destroyed && rng.chance(0.5)) {
            const auto at = static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(plan.active.count())));
            const std::array<Fault, 4> away = {Fault::crash, Fault::power_cut, Fault::partition, Fault::one_way_cut};
            plan.events.push_back({Duration{at}, away[rng.below(away.size())]});
            plan.events.push_back({Duration{at + static_cast<std::int64_t>(rng.below(500'000'000))}, Fault::wipe});
        }
        return plan;
    }
};

}  // namespace fastreg::sim
