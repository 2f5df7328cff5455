#include "gossip/table.h"

#include <algorithm>

#include "base/hash.h"

namespace fastreg::gossip {

namespace {

/// Part of the protocol: XXH3-64 of id, epoch, incarnation (little-endian) and 2 when stopping, else 1.
std::uint64_t hash_of(const Member& m) {
    if (m.state == MemberState::dead || m.state == MemberState::left) return 0;
    std::array<std::byte, 33> packed{};
    std::copy(m.id.bytes.begin(), m.id.bytes.end(), packed.begin());
    for (unsigned i = 0; i < 8; ++i) {
        packed[16 + i] = std::byte(m.boot_epoch >> (8 * i));
        packed[24 + i] = std::byte(m.incarnation >> (8 * i));
    }
    packed[32] = m.state == MemberState::stopping ? std::byte{2} : std::byte{1};
    return xxh3_64(packed);
}

std::size_t bucket_of(NodeId id) { return std::to_integer<std::size_t>(id.bytes[0]); }

}  // namespace

Rank rank_of(const Member& member) {
    return {member.boot_epoch, member.incarnation, member.state};
}

void PickList::add(NodeId id) {
    if (at_.emplace(id, ids_.size()).second) ids_.push_back(id);
}

void PickList::remove(NodeId id) {
    const auto found = at_.find(id);
    if (found == at_.end()) return;
    const std::size_t hole = found->second;
    at_.erase(found);
    if (hole + 1 != ids_.size()) {
        ids_[hole] = ids_.back();
        at_[ids_[hole]] = hole;
    }
    ids_.pop_back();
}

std::vector<NodeId> PickList::pick(Rng& rng, std::size_t count,
                                   const std::function<bool(const NodeId&)>& fits) const {
    std::vector<NodeId> picked;
    if (ids_.empty() || count == 0) return picked;
    if (ids_.size() <= 4 * count + 32) {
        picked = ids_;
        std::erase_if(picked, [&](const NodeId& id) { return !fits(id); });
        rng.shuffle(picked);
        if (picked.size() > count) picked.resize(count);
        return picked;
    }
    for (std::size_t tries = 6 * count + 32; tries > 0 && picked.size() < count; --tries) {
        const NodeId id = ids_[static_cast<std::size_t>(rng.below(ids_.size()))];
        if (std::find(picked.begin(), picked.end(), id) == picked.end() && fits(id)) {
            picked.push_back(id);
        }
    }
    return picked;
}

Table::Table(Member self) : self_(self.id) { put(std::move(self)); }

const Member* Table::find(NodeId id) const {
    const auto found = index_.find(id);
    return found == index_.end() ? nullptr : &found->second->member;
}

Table::Entry* Table::entry(NodeId id) {
    const auto found = index_.find(id);
    return found == index_.end() ? nullptr : found->second;
}

std::size_t& Table::count(MemberState state) {
    switch (state) {
        case MemberState::alive: return counts_.alive;
        case MemberState::suspect: return counts_.suspect;
        case MemberState::stopping: return counts_.stopping;
        case MemberState::dead: return counts_.dead;
        case MemberState::left: break;
    }
    return counts_.left;
}

void Table::list(const Entry& entry) {
    const Member& m = entry.member;
    hashes_[bucket_of(m.id)] ^= entry.hash;
    if (m.id == self_) return;
    addresses_.emplace(m.gossip, m.id);
    ++count(m.state);
    if (m.reachable()) reachable_.add(m.id);
    if (m.state == MemberState::dead) dead_.add(m.id);
}

void Table::unlist(const Entry& entry) {
    const Member& m = entry.member;
    hashes_[bucket_of(m.id)] ^= entry.hash;
    if (m.id == self_) return;
    addresses_.erase({m.gossip, m.id});
    --count(m.state);
}

void Table::put(Member member) {
    Entry*& slot = index_[member.id];
    const bool known = slot != nullptr;
    if (!known) slot = &entries_[member.id];
    Entry& entry = *slot;
    if (known) {
        unlist(entry);
        if (!member.reachable()) reachable_.remove(member.id);
        if (member.state != MemberState::dead) dead_.remove(member.id);
    }
    entry.member = std::move(member);
    entry.hash = hash_of(entry.member);
    list(entry);
}

void Table::erase(NodeId id) {
    const auto found = entries_.find(id);
    if (found == entries_.end() || id == self_) return;
    unlist(found->second);
    reachable_.remove(id);
    dead_.remove(id);
    index_.erase(id);
    entries_.erase(found);
}

std::vector<NodeId> Table::at(const Endpoint& gossip, NodeId except) const {
    std::vector<NodeId> ids;
    for (auto it = addresses_.lower_bound({gossip, NodeId{}});
         it != addresses_.end() && it->first == gossip; ++it) {
        if (it->second != except) ids.push_back(it->second);
    }
    return ids;
}

std::uint64_t Table::hash() const {
    std::uint64_t all = 0;
    for (std::uint64_t hash : hashes_) all ^= hash;
    return all;
}

std::vector<const Member*> Table::bucket(std::uint8_t index) const {
    NodeId first;
    first.bytes[0] = std::byte{index};
    std::vector<const Member*> members;
    for (auto it = entries_.lower_bound(first);
         it != entries_.end() && bucket_of(it->first) == index; ++it) {
        members.push_back(&it->second.member);
    }
    return members;
}

bool Table::consistent() const {
    Counts recount;
    BucketHashes rehash{};
    std::size_t live_count = 0;
    std::size_t dead_count = 0;
    for (const auto& [id, entry] : entries_) {
        rehash[bucket_of(id)] ^= hash_of(entry.member);
        if (entry.member.id != id) return false;
        if (id == self_) continue;
        switch (entry.member.state) {
            case MemberState::alive: ++recount.alive; break;
            case MemberState::suspect: ++recount.suspect; break;
            case MemberState::stopping: ++recount.stopping; break;
            case MemberState::dead: ++recount.dead; break;
            case MemberState::left: ++recount.left; break;
        }
        live_count += entry.member.reachable() ? 1 : 0;
        dead_count += entry.member.state == MemberState::dead ? 1 : 0;
    }
    return index_.size() == entries_.size() && rehash == hashes_ &&
           live_count == reachable_.size() && dead_count == dead_.size() &&
           recount.alive == counts_.alive && recount.suspect == counts_.suspect &&
           recount.stopping == counts_.stopping && recount.dead == counts_.dead &&
           recount.left == counts_.left && addresses_.size() + 1 == entries_.size();
}

}  // namespace fastreg::gossip
