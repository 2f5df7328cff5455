// What the parts of the repo room share: who this node is, its clock, its options, who owns what.
#pragma once

#include <algorithm>
#include <set>
#include <string_view>

#include "base/hlc.h"
#include "base/instant.h"
#include "base/owner_table.h"
#include "base/random.h"
#include "repo/types.h"

namespace fastreg::repo {

struct Mesh {
    NodeId self;
    Options options;
    Rng rng;
    OwnerTable table;
    Hlc hlc;
    std::uint64_t wall_ms = 0;  // as last told
    RequestId last_request = 0;
    bool returns = false;  // the disk is from an earlier run
    std::set<NodeId> met;  // in this run
    Instant told_at;       // when wall_ms was told
    std::uint64_t heard_ms = 0;  // the newest stamp of another node, or of the disk at the start
    Instant heard_at;
    /// A member left: until then one of two owners is not enough for a read. What the one that left and one other
    /// acknowledged, as two of three, the other one may not have yet.
    Instant both_until{};

    /// Owners that must answer a read.
    [[nodiscard]] std::size_t voices_of_read(std::size_t owners) const {
        return owners == 2 && told_at < both_until ? 2 : read_quorum(owners);
    }
    void see_time(Instant at, std::uint64_t wall) {
        told_at = at;
        wall_ms = wall;
        if (heard_at == Instant{}) heard_at = at;
    }
    /// A stamp that this node did not make in this run.
    void hear(HlcTime stamp) {
        const std::uint64_t ms = hlc_millis(stamp);
        if (ms > wall_ms + kHlcMaxAheadMs || ms <= heard_ms + elapsed_ms()) return;
        heard_ms = ms;
        heard_at = told_at;
    }
    /// By which tombstones grow old. A clock that jumps ahead for a week would drop all of them, and what they deleted
    /// would be back with the next node that missed it; what others stamped, and the time since, does not jump.
    [[nodiscard]] std::uint64_t sober_ms() const {
        constexpr std::uint64_t kSlackMs = 60'000;
        return heard_ms == 0 ? wall_ms : std::min(wall_ms, heard_ms + elapsed_ms() + kSlackMs);
    }
    [[nodiscard]] std::uint64_t elapsed_ms() const {
        return heard_at == Instant{} ? 0 : static_cast<std::uint64_t>(millis_of(told_at - heard_at));
    }
    [[nodiscard]] RequestId new_request() { return ++last_request; }
    /// At least half of the members that it knows of. Who asks one that has met fewer may not know of the others,
    /// and would take the word of the two for that of the mesh.
    [[nodiscard]] bool met_half() const {
        const auto known = table.candidates();
        const auto seen = std::ranges::count_if(
            known, [&](const NodeId& node) { return node == self || met.contains(node); });
        return static_cast<std::size_t>(seen) * 2 >= known.size();
    }
    /// Dead, stopping or left by the word of membership, so that waiting for it is in vain. One that this run
    /// has not met is only remembered: it may answer in a moment. One that is suspected may, too.
    [[nodiscard]] bool gone(const NodeId& node) const {
        return node != self && met.contains(node) && !table.reachable(node);
    }
    /// The same for a write. Who stops may be back in a moment, as at an upgrade, and a client that is refused its
    /// manifest has pushed all its layers in vain.
    [[nodiscard]] bool gone_for_writes(Instant now, const NodeId& node) const {
        if (!gone(node)) return false;
        const Member* member = table.find(node);
        const bool stopping = member != nullptr && member->state == MemberState::stopping;
        return !stopping || now >= member->state_since + options.restart_takes;
    }
    [[nodiscard]] bool owns(ShardId shard) const { return table.owns(shard, self); }
};

/// The registry part of the name is empty: a repository's full name says it all.
[[nodiscard]] inline ShardId shard_of_name(std::string_view repository) {
    return shard_of_repository({}, repository);
}

}  // namespace fastreg::repo
