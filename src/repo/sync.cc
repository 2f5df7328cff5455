#include "repo/sync.h"

#include <algorithm>
#include <utility>

namespace fastreg::repo {

namespace {

constexpr int kAttempts = 2;
constexpr Duration kRetryUnready = 1s;

bool contains(const std::vector<NodeId>& nodes, const NodeId& node) {
    return std::ranges::find(nodes, node) != nodes.end();
}

}  // namespace

bool Sync::ready(ShardId shard) const {
    const auto found = owned_.find(shard);
    return found != owned_.end() && found->second.right.ready();
}

Voice Sync::voice(ShardId shard) const {
    const auto least = mesh_.returns ? Voice::served : Voice::none;
    if (const auto found = owned_.find(shard); found != owned_.end()) {
        const auto& right = found->second.right;
        if (right.firm()) return Voice::vouched;
        return right.served() || (right.ready() && replica_.holds(shard)) ? Voice::served : least;
    }
    const auto former = former_.find(shard);
    return former == former_.end() ? least : former->second.voice;
}

// What is written down.

void Sync::remember(const Memory& memory) {
    for (const auto& [node, shards] : memory) {
        for (std::uint32_t shard = 0; shard < kShardCount; ++shard) {
            if (wire::RepoSummary::bit(shards, shard)) remembered_[static_cast<ShardId>(shard)].insert(node);
        }
    }
}

Memory Sync::memory() const {
    Memory memory;
    for (const auto& [shard, owned] : owned_) {
        for (const auto& node : owned.right.firm() ? owned.whole : owned.stood) {
            wire::RepoSummary::set_bit(memory[node], shard);
        }
    }
    return memory;
}

// Ownership.

void Sync::on_owner_changes(Instant now, const std::vector<OwnerChange>& changes, Outbox& out) {
    if (next_compare_ == Instant::never()) next_compare_ = now + mesh_.options.compare_interval;
    for (const auto& change : changes) {
        const auto shard = change.shard;
        const auto& owners = mesh_.table.of(shard);
        const bool was_mine = contains(change.before, mesh_.self);
        if (!contains(owners, mesh_.self)) {
            const auto said = voice(shard);
            if (const auto it = owned_.find(shard); it != owned_.end()) {
                if (!it->second.right.ready()) --copying_;
                owned_.erase(it);
                ++memory_changes_;
            }
            if (!replica_.holds(shard)) continue;
            // They copy from here when they know of it; a comparison makes sure that they do.
            former_[shard] = Former{now + mesh_.options.former_owner_keeps, said, {}};
            for (const auto& owner : owners) want(shard, owner);
            continue;
        }
        const bool served = voice(shard) != Voice::none;
        former_.erase(shard);
        const auto [it, added] = owned_.try_emplace(shard);
        Owned& owned = it->second;
        if (served) owned.right.set_served();
        if (added) {
            ++copying_;
            if (auto known = remembered_.extract(shard)) owned.stood = std::move(known.mapped());
        }
        for (const auto& node : change.before) {
            if (!contains(owners, node)) memory_changes_ += owned.whole.erase(node) + owned.stood.erase(node);
        }
        if (added || !owned.right.firm()) {
            // Who was alone until now may have been alone only because it had met nobody yet.
            const bool alone = was_mine && change.before.size() == 1;
            if (alone && owned.right.ready() && replica_.rows() > 0) owned.right.keep();
            begin(now, shard, owned, change.before);
            continue;
        }
        for (const auto& owner : owners) {
            if (!contains(change.before, owner)) want(shard, owner);
        }
    }
    if (mesh_.table.candidates().contains(mesh_.self)) remembered_.clear();
    step(now, out);
}

void Sync::begin(Instant now, ShardId shard, Owned& owned, const std::vector<NodeId>& before) {
    if (owned.right.ready()) ++copying_;
    owned.right.begin(mesh_, shard, before);
    owned.waiting.clear();
    ask_voices(shard, owned);
    settle(now, shard, owned);
}

void Sync::ask_voices(ShardId shard, Owned& owned) {
    for (const auto& node : owned.right.to_ask(mesh_)) {
        owned.waiting.insert(node);
        want(shard, node);
    }
}

void Sync::want(ShardId shard, const NodeId& node) {
    if (node != mesh_.self && mesh_.table.reachable(node)) peers_[node].compare.insert(shard);
}

void Sync::settle(Instant now, ShardId shard, Owned& owned) {
    if (owned.right.firm() || !owned.waiting.empty()) return;
    const bool was_ready = owned.right.ready();
    owned.right.settle(mesh_, shard);
    if (owned.right.ready() && !was_ready) --copying_;
    if (!owned.right.ready() && was_ready) ++copying_;
    if (owned.right.firm() || (owned.right.ready() && !was_ready)) {
        for (const auto& owner : mesh_.table.of(shard)) want(shard, owner);  // so that they know
    }
    if (owned.right.firm()) {
        owned.stood.clear();
        ++memory_changes_;
        return;
    }
    if (!owned.right.ready() || !owned.right.to_ask(mesh_).empty()) {
        next_retry_ = std::min(next_retry_, now + kRetryUnready);
    }
}

void Sync::complete(Instant now, ShardId shard, const NodeId& node, Voice voice) {
    const auto it = owned_.find(shard);
    if (it == owned_.end()) return;
    it->second.waiting.erase(node);
    it->second.right.hear(node, voice);
    settle(now, shard, it->second);
}

void Sync::note_vouch(ShardId shard, const NodeId& node) {
    const auto it = owned_.find(shard);
    if (it == owned_.end() || !it->second.right.firm() || !mesh_.table.owns(shard, node)) return;
    if (it->second.whole.insert(node).second) ++memory_changes_;
}

void Sync::fail(Instant now, const NodeId& node) {
    if (peers_.erase(node) == 0) return;
    for (auto& [shard, owned] : owned_) {
        if (owned.waiting.erase(node) != 0) settle(now, shard, owned);
    }
}

void Sync::retry_unready(Instant now) {
    next_retry_ = Instant::never();
    for (auto& [shard, owned] : owned_) {
        if (owned.right.firm() || !owned.waiting.empty()) continue;
        ask_voices(shard, owned);
        settle(now, shard, owned);
    }
}

void Sync::on_member(Instant now, const Member& member, bool was_reachable, Outbox& out) {
    if (member.id == mesh_.self) return;
    if (!member.reachable()) {
        fail(now, member.id);
    } else if (!was_reachable) {
        for (auto& [shard, owned] : owned_) {
            if (mesh_.table.owns(shard, member.id)) want(shard, member.id);
            if (!owned.right.lacks(member.id)) continue;
            // A survivor's word was taken because this one was away.
            if (owned.right.ready()) {
                owned.right.withdraw();
                ++copying_;
            }
            owned.waiting.insert(member.id);
            want(shard, member.id);
        }
        for (const auto& [shard, former] : former_) {
            if (mesh_.table.owns(shard, member.id)) want(shard, member.id);
        }
        if (next_retry_ != Instant::never()) retry_unready(now);
    }
    step(now, out);
}

void Sync::on_unreachable(Instant now, const NodeId& node, Outbox& out) {
    fail(now, node);
    step(now, out);
}

void Sync::hand_over(Instant now, Outbox& out) {
    if (!std::exchange(handing_over_begun_, true)) {
        for (const auto& [shard, owned] : owned_) {
            if (replica_.sum(shard).count > 0) handing_over_[shard];
        }
        for (const auto& [shard, former] : former_) handing_over_[shard] = former.handed;
    }
    std::erase_if(handing_over_, [&](const auto& entry) {
        const auto& [shard, equal] = entry;
        if (replica_.sum(shard).count == 0) return true;  // nothing is left to give
        // One that is away has no say; what it missed it gets from the others when it is back. But one must be there.
        bool any = false;
        bool all = true;
        for (const auto& owner : mesh_.table.of(shard)) {
            if (owner == mesh_.self || !mesh_.table.reachable(owner)) continue;
            any = true;
            if (equal.contains(owner)) continue;
            all = false;
            want(shard, owner);
        }
        return any && all;
    });
    step(now, out);
}

void Sync::note_equal(ShardId shard, const NodeId& node) {
    if (const auto former = former_.find(shard); former != former_.end()) former->second.handed.insert(node);
    if (const auto handing = handing_over_.find(shard); handing != handing_over_.end()) handing->second.insert(node);
}

/// It was heard of again after it had copied all there is here: what differs is not for this node to give.
void Sync::note_different(ShardId shard, const NodeId& node) {
    if (copied_.erase({shard, node}) == 0) return;
    if (const auto handing = handing_over_.find(shard); handing != handing_over_.end()) handing->second.insert(node);
}

void Sync::on_landed(Instant now, const std::set<ShardId>& shards, Outbox& out) {
    for (const auto shard : shards) {
        if (owned_.contains(shard)) continue;
        former_[shard] = Former{now + mesh_.options.former_owner_keeps, voice(shard), {}};
        for (const auto& owner : mesh_.table.of(shard)) want(shard, owner);
    }
    step(now, out);
}

// Time.

void Sync::compare_all(Outbox&) {
    for (const auto& [shard, owned] : owned_) {
        for (const auto& owner : mesh_.table.of(shard)) {
            if (mesh_.self < owner) want(shard, owner);  // one side is enough
        }
    }
    for (const auto& [shard, former] : former_) {
        for (const auto& owner : mesh_.table.of(shard)) {
            if (!former.handed.contains(owner)) want(shard, owner);
        }
    }
}

void Sync::drop_former(Instant now, Outbox& out) {
    for (auto it = former_.begin(); it != former_.end();) {
        const auto shard = it->first;
        const auto& former = it->second;
        const bool copied = std::ranges::all_of(mesh_.table.of(shard), [&](const NodeId& owner) {
            return former.handed.contains(owner);
        });
        if (former.drop_at > now || !copied || mesh_.table.of(shard).empty()) {
            ++it;
            continue;
        }
        replica_.drop_shard(shard, out);
        it = former_.erase(it);
    }
}

void Sync::on_deadline(Instant now, Outbox& out) {
    std::vector<NodeId> silent;
    for (auto& [node, peer] : peers_) {
        if (peer.retry_at > now) continue;
        if (++peer.attempts >= kAttempts) {
            silent.push_back(node);
        } else {
            ask(now, node, peer, out);
        }
    }
    for (const auto& node : silent) fail(now, node);
    if (next_retry_ <= now) retry_unready(now);
    if (next_compare_ <= now) {
        const auto half = mesh_.options.compare_interval.count() / 2;
        const auto jitter = mesh_.rng.below(static_cast<std::uint64_t>(half) + 1);
        next_compare_ = now + Duration(half + static_cast<std::int64_t>(jitter));
        compare_all(out);
        drop_former(now, out);
    }
    step(now, out);
}

Instant Sync::next_deadline() const {
    Instant next = std::min(next_compare_, next_retry_);
    for (const auto& [node, peer] : peers_) next = std::min(next, peer.retry_at);
    return next;
}

}  // namespace fastreg::repo
