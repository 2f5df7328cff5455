#include "base/owner_table.h"

#include <algorithm>

namespace fastreg {

std::vector<OwnerChange> OwnerTable::on_member(Instant now, const Member& member) {
    owners_.on_member(now, member);
    const bool is_candidate = owners_.find(member.id) != nullptr;
    if (is_candidate) return candidates_.insert(member.id).second ? added(member.id)
                                                                  : std::vector<OwnerChange>{};
    if (candidates_.erase(member.id) == 0) return {};
    return removed({member.id});
}

std::vector<OwnerChange> OwnerTable::on_deadline(Instant now) {
    if (!owners_.on_deadline(now)) return {};
    std::vector<NodeId> gone;
    for (const auto& node : candidates_) {
        if (owners_.find(node) == nullptr) gone.push_back(node);
    }
    for (const auto& node : gone) candidates_.erase(node);
    return removed(gone);
}

bool OwnerTable::owns(ShardId shard, const NodeId& node) const {
    return std::ranges::find(top_[shard], node) != top_[shard].end();
}

std::string OwnerTable::describe(const NodeId& node) const {
    const Member* member = owners_.find(node);
    if (member == nullptr) return node.brief() + " (unknown)";
    std::string text = node.brief() + " (";
    if (!member->name.empty()) text += member->name + ", ";
    return text + std::string(name_of(member->state)) + ")";
}

std::vector<OwnerChange> OwnerTable::added(const NodeId& node) {
    std::vector<OwnerChange> changes;
    for (std::uint32_t i = 0; i < kShardCount; ++i) {
        const auto shard = static_cast<ShardId>(i);
        auto& top = top_[shard];
        const std::pair mine{owner_weight(shard, node), node};
        std::size_t place = 0;
        while (place < top.size() && std::pair{weights_[shard][place], top[place]} > mine) ++place;
        if (place == kOwnersPerShard) continue;
        changes.push_back({shard, top});
        top.insert(top.begin() + static_cast<std::ptrdiff_t>(place), node);
        if (top.size() > kOwnersPerShard) top.pop_back();
        auto& weights = weights_[shard];
        std::move_backward(weights.begin() + place, weights.end() - 1, weights.end());
        weights[place] = mine.first;
    }
    return changes;
}

std::vector<OwnerChange> OwnerTable::removed(const std::vector<NodeId>& nodes) {
    std::vector<OwnerChange> changes;
    for (std::uint32_t i = 0; i < kShardCount; ++i) {
        const auto shard = static_cast<ShardId>(i);
        const bool hit = std::ranges::any_of(top_[shard], [&](const NodeId& owner) {
            return std::ranges::find(nodes, owner) != nodes.end();
        });
        if (!hit) continue;
        changes.push_back({shard, std::move(top_[shard])});
        rank(shard);
    }
    return changes;
}

void OwnerTable::rank(ShardId shard) {
    top_[shard] = owners_.ranked(shard, kOwnersPerShard);
    for (std::size_t i = 0; i < top_[shard].size(); ++i) {
        weights_[shard][i] = owner_weight(shard, top_[shard][i]);
    }
}

}  // namespace fastreg
