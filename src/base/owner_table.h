// The owners of all shards at once, kept up to date member by member, so that a core learns which
// shards changed hands without asking for all of them. A value inside one core.
#pragma once

#include <array>
#include <set>
#include <vector>

#include "base/owners.h"

namespace fastreg {

/// One shard whose owners are others than before.
struct OwnerChange {
    ShardId shard = 0;
    std::vector<NodeId> before;  // highest weight first, as in OwnerTable::of()
};

class OwnerTable {
  public:
    /// The shards that changed hands, ascending. A new member costs one hash a shard.
    std::vector<OwnerChange> on_member(Instant now, const Member& member);
    std::vector<OwnerChange> on_deadline(Instant now);
    [[nodiscard]] Instant next_deadline() const { return owners_.next_deadline(); }

    /// Up to kOwnersPerShard owners, highest weight first; unreachable ones in grace included.
    [[nodiscard]] const std::vector<NodeId>& of(ShardId shard) const { return top_[shard]; }
    [[nodiscard]] bool owns(ShardId shard, const NodeId& node) const;
    /// The first of all candidates, highest weight first.
    [[nodiscard]] std::vector<NodeId> ranked(ShardId shard, std::size_t limit) const {
        return owners_.ranked(shard, limit);
    }
    [[nodiscard]] const std::set<NodeId>& candidates() const { return candidates_; }
    [[nodiscard]] bool reachable(const NodeId& node) const { return owners_.reachable(node); }
    [[nodiscard]] const Member* find(const NodeId& node) const { return owners_.find(node); }
    /// "1a2b3c4d (worker-7, dead)", for the sentence that says who is missing.
    [[nodiscard]] std::string describe(const NodeId& node) const;

  private:
    std::vector<OwnerChange> added(const NodeId& node);
    void rank(ShardId shard);
    std::vector<OwnerChange> removed(const std::vector<NodeId>& nodes);

    Owners owners_;
    std::set<NodeId> candidates_;
    std::array<std::vector<NodeId>, kShardCount> top_;
    std::array<std::array<std::uint64_t, kOwnersPerShard>, kShardCount> weights_{};  // of top_
};

}  // namespace fastreg
