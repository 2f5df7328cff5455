#include "repo/sync.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace fastreg::repo {

namespace {

constexpr int kAttempts = 2;
constexpr Duration kRetryUnready = 1s;

bool contains(const std::vector<NodeId>& nodes, const NodeId& node) {
    return std::ranges::find(nodes, node) != nodes.end();
}

void say(Voice voice, wire::RepoSummary& message, std::size_t index) {
    if (voice == Voice::vouched) wire::RepoSummary::set_bit(message.vouched, index);
    if (voice != Voice::none) wire::RepoSummary::set_bit(message.served, index);
}

Voice voice_in(const wire::RepoSummary& message, std::size_t index) {
    if (wire::RepoSummary::bit(message.vouched, index)) return Voice::vouched;
    return wire::RepoSummary::bit(message.served, index) ? Voice::served : Voice::none;
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
        if (added) ++copying_;
        std::erase_if(owned.whole, [&](const NodeId& node) { return !contains(owners, node); });
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
    if (owned.right.ready() && !was_ready && !owned.right.firm()) {
        for (const auto& owner : mesh_.table.of(shard)) want(shard, owner);  // so that they know
    }
    if (owned.right.firm()) return;
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
    it->second.whole.insert(node);
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

// Questions and answers.

void Sync::step(Instant now, Outbox& out) {
    for (auto it = peers_.begin(); it != peers_.end();) {
        Peer& peer = it->second;
        if (!peer.active.empty()) {
            ++it;
            continue;
        }
        auto& todo = peer.pull.empty() ? peer.compare : peer.pull;
        if (todo.empty()) {
            it = peers_.erase(it);
            continue;
        }
        peer.pulling = !peer.pull.empty();
        if (!peer.pulling && !mesh_.met_half()) {  // a question tells as much as an answer
            ++it;
            continue;
        }
        while (!todo.empty() && peer.active.size() < wire::kRepoSummaryItemsMax) {
            peer.active.push_back(*todo.begin());
            todo.erase(todo.begin());
        }
        peer.after.reset();
        peer.attempts = 0;
        ask(now, it->first, peer, out);
        ++it;
    }
}

void Sync::ask(Instant now, const NodeId& node, Peer& peer, Outbox& out) {
    peer.request = mesh_.new_request();
    peer.retry_at = now + mesh_.options.peer_timeout;
    if (peer.pulling) {
        wire::RepoPull pull{peer.request, peer.active, false, 0, {}, {}};
        if (peer.after) {
            pull.has_after = true;
            pull.after_shard = peer.after->shard;
            pull.after_repository = peer.after->repository;
            pull.after_key = peer.after->key;
        }
        out.emplace_back(Send{node, std::move(pull)});
        return;
    }
    wire::RepoSummary summary{peer.request, false, {}, {}, {}, {}};
    for (const auto shard : peer.active) {
        const auto sum = replica_.sum(shard);
        say(voice(shard), summary, summary.items.size());
        summary.items.push_back({shard, sum.count, sum.hash});
    }
    out.emplace_back(Send{node, std::move(summary)});
}

void Sync::on_summary(Instant now, const NodeId& from, const wire::RepoSummary& message,
                      Outbox& out) {
    using wire::RepoSummary;
    if (!message.reply) {
        answer_summary(now, from, message, out);
        step(now, out);
        return;
    }
    const auto found = peers_.find(from);
    if (found == peers_.end()) return;
    Peer& peer = found->second;
    if (peer.pulling || peer.active.empty() || peer.request != message.request) return;
    const auto asked = std::move(peer.active);
    peer.active.clear();
    peer.retry_at = Instant::never();
    std::set<ShardId> differ;
    for (const auto& item : message.items) {
        if (item.count > 0) differ.insert(item.shard);
    }
    for (std::size_t i = 0; i < asked.size(); ++i) {
        const auto shard = asked[i];
        const auto owned = owned_.find(shard);
        const auto said = voice_in(message, i);
        if (said == Voice::vouched) note_vouch(shard, from);
        if (owned != owned_.end() && RepoSummary::bit(message.known, i)) owned->second.right.remembered();
        if (differ.contains(shard)) {
            if (owned == owned_.end()) continue;
            peer.pull.insert(shard);
            peer.voices[shard] = said;
            continue;
        }
        complete(now, shard, from, said);
        const auto former = former_.find(shard);
        const bool equal = std::ranges::none_of(
            message.items, [&](const auto& item) { return item.shard == shard; });
        if (former != former_.end() && equal) former->second.handed.insert(from);
    }
    step(now, out);
}

void Sync::answer_summary(Instant now, const NodeId& from, const wire::RepoSummary& message, Outbox& out) {
    using wire::RepoSummary;
    RepoSummary reply{message.request, true, {}, {}, {}, {}};
    for (std::size_t i = 0; i < message.items.size(); ++i) {
        const auto& item = message.items[i];
        const auto shard = item.shard;
        const auto said = voice_in(message, i);
        if (said == Voice::vouched) note_vouch(shard, from);
        const auto owned = owned_.find(shard);
        if (owned != owned_.end() && owned->second.whole.contains(from)) RepoSummary::set_bit(reply.known, i);
        const auto sum = replica_.sum(shard);
        const auto former = former_.find(shard);
        const bool equal = sum == Replica::Sum{item.count, item.hash};
        if (equal && former != former_.end()) former->second.handed.insert(from);
        if (equal || item.count == 0) {
            complete(now, shard, from, said);
        } else if (owned != owned_.end()) {
            peers_[from].pull.insert(shard);
            peers_[from].voices[shard] = said;
        }
        say(voice(shard), reply, i);
        if (!equal) reply.items.push_back({shard, sum.count, sum.hash});
    }
    if (mesh_.met_half()) out.emplace_back(Send{from, std::move(reply)});  // else it asks again
}

void Sync::on_pull(const NodeId& from, const wire::RepoPull& message, Outbox& out) {
    std::optional<Replica::Cursor> after;
    if (message.has_after) {
        after = Replica::Cursor{message.after_shard, message.after_repository, message.after_key};
    }
    auto page = replica_.page(message.shards, after);
    if (!page.more) {
        for (const auto shard : message.shards) {
            const auto former = former_.find(shard);
            if (former != former_.end()) former->second.handed.insert(from);
        }
    }
    out.emplace_back(Send{from, wire::RepoPage{message.request, std::move(page.rows), page.more}});
}

bool Sync::acceptable(const Row& row) {
    const auto keep = mesh_.options.tombstone_keep_ms;
    if (row.tombstone && hlc_millis(row.hlc) + keep < mesh_.wall_ms) return false;
    const auto status = mesh_.hlc.observe(mesh_.wall_ms, row.hlc);
    if (status) return true;
    if (refused_++ == 0) log::warn("repo.row_refused", {{"why", status.error().what}});
    return false;
}

void Sync::on_page(Instant now, const NodeId& from, const wire::RepoPage& message, Outbox& out) {
    const auto found = peers_.find(from);
    if (found == peers_.end()) return;
    Peer& peer = found->second;
    if (!peer.pulling || peer.active.empty() || peer.request != message.request) return;
    if (peer.retry_at == Instant::never()) return;  // this page is on its way to the disk
    peer.more = message.more;
    if (message.more) {
        Replica::Cursor last;
        if (!message.rows.empty()) {
            const auto& row = message.rows.back();
            last = {shard_of_name(row.repository), row.repository, row.key};
        }
        if (message.rows.empty() || (peer.after && last <= *peer.after)) {
            fail(now, from);  // it would go on for ever
            step(now, out);
            return;
        }
        peer.after = std::move(last);
    }
    std::vector<Row> rows;
    for (const auto& row : message.rows) {
        const auto shard = shard_of_name(row.repository);
        const bool asked = std::ranges::binary_search(peer.active, shard);
        if (asked && owned_.contains(shard) && acceptable(row)) rows.push_back(row);
    }
    peer.retry_at = Instant::never();
    const auto request = peer.request;
    const auto accepted =
        replica_.accept(std::move(rows), {Waiter::Kind::copy, from, request}, out);
    if (accepted.durable) on_copied(now, from, request, {}, out);
}

void Sync::on_copied(Instant now, const NodeId& from, RequestId request, const Status& status,
                     Outbox& out) {
    const auto found = peers_.find(from);
    if (found == peers_.end() || found->second.request != request) return;
    Peer& peer = found->second;
    if (!status) {
        log::error("repo.copy_failed", {{"from", from.brief()}, {"why", describe(status.error())}});
        fail(now, from);
    } else if (peer.more) {
        peer.attempts = 0;
        ask(now, from, peer, out);
        return;
    } else {
        const auto done = std::move(peer.active);
        peer.active.clear();
        for (const auto shard : done) {
            const auto said = peer.voices.extract(shard);
            complete(now, shard, from, said ? said.mapped() : Voice::none);
        }
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
