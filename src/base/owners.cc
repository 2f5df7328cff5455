#include "base/owners.h"

#include <algorithm>
#include <array>

#include "base/hash.h"

namespace fastreg {

namespace {

constexpr std::uint64_t kOwnerSeed = 0x46524547;  // "FREG"

/// How long an unreachable member keeps what it owns; zero when it gives up at once.
Duration grace_of(MemberState state) {
    switch (state) {
        case MemberState::stopping: return kStoppingOwnerGrace;
        case MemberState::dead: return kDeadOwnerGrace;
        default: return Duration::zero();
    }
}

}  // namespace

ShardId shard_of(const Digest& digest) {
    const auto high = std::to_integer<unsigned>(digest.value[0]);
    const auto low = std::to_integer<unsigned>(digest.value[1]);
    return static_cast<ShardId>(high << 4U | low >> 4U);
}

ShardId shard_of_repository(std::string_view registry, std::string_view repository) {
    std::string name;
    name.reserve(registry.size() + 1 + repository.size());
    name.append(registry).push_back('\0');
    name.append(repository);
    return static_cast<ShardId>(xxh3_64(as_bytes(name)) >> 52U);
}

std::uint64_t owner_weight(ShardId shard, const NodeId& node) {
    std::array<std::byte, 2 + sizeof node.bytes> key{};
    key[0] = static_cast<std::byte>(shard);
    key[1] = static_cast<std::byte>(shard >> 8U);
    std::ranges::copy(node.bytes, key.begin() + 2);
    return xxh3_64(key, kOwnerSeed);
}

bool Owners::on_member(Instant now, const Member& member) {
    const auto found = candidates_.find(member.id);
    if (member.state == MemberState::left) {
        if (found == candidates_.end()) return false;
        candidates_.erase(found);
        top_.clear();
        return true;
    }
    if (found == candidates_.end()) {
        const Instant until = member.reachable() ? Instant::never() : now + grace_of(member.state);
        candidates_.emplace(member.id, Candidate{member, until});
        next_deadline_ = std::min(next_deadline_, until);
        top_.clear();
        return true;
    }
    Candidate& candidate = found->second;
    if (member.reachable()) {
        candidate.until = Instant::never();
    } else if (candidate.until == Instant::never()) {
        candidate.until = now + grace_of(member.state);
    } else if (candidate.member.state != member.state) {
        // Who said that it stops and then falls silent keeps the longer of the two graces.
        candidate.until = std::max(candidate.until, now + grace_of(member.state));
    }
    candidate.member = member;
    next_deadline_ = std::min(next_deadline_, candidate.until);
    return false;
}

bool Owners::on_deadline(Instant now) {
    const auto dropped = std::erase_if(
        candidates_, [&](const auto& entry) { return entry.second.until <= now; });
    next_deadline_ = Instant::never();
    for (const auto& [id, candidate] : candidates_) {
        next_deadline_ = std::min(next_deadline_, candidate.until);
    }
    if (dropped == 0) return false;
    top_.clear();
    return true;
}

std::vector<NodeId> Owners::of(ShardId shard) const {
    const auto [entry, added] = top_.try_emplace(shard);
    if (added) entry->second = ranked(shard, kOwnersPerShard);
    return entry->second;
}

std::vector<NodeId> Owners::ranked(ShardId shard, std::size_t limit) const {
    std::vector<std::pair<std::uint64_t, NodeId>> weighed;
    weighed.reserve(candidates_.size());
    for (const auto& [id, candidate] : candidates_) {
        weighed.emplace_back(owner_weight(shard, id), id);
    }
    const auto count = std::min(limit, weighed.size());
    const auto middle = weighed.begin() + static_cast<std::ptrdiff_t>(count);
    std::partial_sort(weighed.begin(), middle, weighed.end(), std::greater<>());
    std::vector<NodeId> nodes;
    nodes.reserve(count);
    for (auto it = weighed.begin(); it != middle; ++it) nodes.push_back(it->second);
    return nodes;
}

bool Owners::owns(ShardId shard, const NodeId& node) const {
    return std::ranges::count(of(shard), node) != 0;
}

bool Owners::reachable(const NodeId& node) const {
    const Member* member = find(node);
    return member != nullptr && member->reachable();
}

const Member* Owners::find(const NodeId& node) const {
    const auto found = candidates_.find(node);
    return found == candidates_.end() ? nullptr : &found->second.member;
}

}  // namespace fastreg
