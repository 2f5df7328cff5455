// Who of a changing set of members owns a shard: highest random weight (Thaler and Ravishankar 1998),
// top 3 of XXH3-64(u16 shard little-endian || node_id, seed 0x46524547). Used by directory and repo.
// A value inside one core; told of members, asked for owners.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "base/digest.h"
#include "base/member.h"

namespace fastreg {

inline constexpr std::uint32_t kShardCount = 4096;
inline constexpr std::size_t kOwnersPerShard = 3;
inline constexpr Duration kDeadOwnerGrace = 120s;
inline constexpr Duration kStoppingOwnerGrace = 600s;

using ShardId = std::uint16_t;

/// The first 12 bits of the digest.
[[nodiscard]] ShardId shard_of(const Digest& digest);
/// The first 12 bits of XXH3-64(registry NUL repository).
[[nodiscard]] ShardId shard_of_repository(std::string_view registry, std::string_view repository);

[[nodiscard]] std::uint64_t owner_weight(ShardId shard, const NodeId& node);

class Owners {
  public:
    /// Returns true when the set of candidates changed.
    bool on_member(Instant now, const Member& member);
    /// Drops candidates whose grace ended; true when the set changed. See next_deadline().
    bool on_deadline(Instant now);
    /// It may be early: a grace that ended by a return is forgotten at the deadline only.
    [[nodiscard]] Instant next_deadline() const { return next_deadline_; }

    /// Up to kOwnersPerShard owners, highest weight first; unreachable ones in grace included.
    [[nodiscard]] std::vector<NodeId> of(ShardId shard) const;
    /// All candidates, highest weight first (for home placement and replacement).
    [[nodiscard]] std::vector<NodeId> ranked(ShardId shard, std::size_t limit) const;
    [[nodiscard]] bool owns(ShardId shard, const NodeId& node) const;
    /// Alive or suspect.
    [[nodiscard]] bool reachable(const NodeId& node) const;
    [[nodiscard]] const Member* find(const NodeId& node) const;
    [[nodiscard]] std::size_t size() const { return candidates_.size(); }

  private:
    struct Candidate {
        Member member;
        Instant until = Instant::never();
    };
    std::unordered_map<NodeId, Candidate> candidates_;
    Instant next_deadline_ = Instant::never();
    // What of() said since the candidates last changed: weighing 10,000 of them takes about 0.1 ms.
    mutable std::unordered_map<ShardId, std::vector<NodeId>> top_;
};

}  // namespace fastreg
