#include "directory/keeper.h"

#include <algorithm>

namespace fastreg::directory {

namespace {

constexpr Duration kFormerOwnerKeeps = 120s;
constexpr Duration kSweepEvery = 60s;
constexpr Duration kSweepPause = 50ms;
constexpr std::size_t kSweepBudget = 4096;  // digests a step: under a millisecond
constexpr int kPullAttempts = 2;

bool contains(const std::vector<NodeId>& nodes, const NodeId& node) {
    return std::ranges::find(nodes, node) != nodes.end();
}

}  // namespace

Keeper::Keeper(Mesh& mesh) : mesh_(mesh), ledger_(mesh.options, mesh.rng.fork()) {
    ledger_.open(mesh.self, mesh.epoch);
}

bool Keeper::accepts(const NodeId& node, BootEpoch epoch) const {
    if (node == mesh_.self) return false;
    const Member* member = mesh_.table.find(node);
    return member != nullptr && member->state != MemberState::dead && epoch >= member->boot_epoch;
}

void Keeper::on_owner_changes(Instant now, const std::vector<OwnerChange>& changes, Outbox& out) {
    for (const auto& change : changes) {
        const auto shard = change.shard;
        const auto& owners = mesh_.table.of(shard);
        const bool mine = contains(owners, mesh_.self);
        const bool was_mine = contains(change.before, mesh_.self);
        if (!mine) {
            owned_.erase(shard);
            copying_.erase(shard);
            for (auto& [node, pull] : pulls_) pull.waiting.erase(shard);
            if (was_mine) keep_for_now(now, shard);
            continue;
        }
        owned_.insert(shard);
        drop_at_.erase(shard);
        // Who was alone until now may have been alone only because it had met nobody yet.
        const bool alone = was_mine && change.before.size() == 1 && owners.size() > 1;
        if (!was_mine || alone) start_copy(shard, change.before);
    }
    step(now, out);
}

void Keeper::keep_for_now(Instant now, ShardId shard) {
    const auto until = now + kFormerOwnerKeeps;
    if (drop_at_.try_emplace(shard, until).second) next_drop_ = std::min(next_drop_, until);
}

void Keeper::on_member(const Member& member, const std::optional<Member>& before, Outbox& out) {
    if (member.id == mesh_.self) return;
    if (member.state == MemberState::dead || member.state == MemberState::left) {
        ledger_.retire(member.id);
        return;
    }
    ledger_.retire_older(member.id, member.boot_epoch);
    const bool back = before && before->state == MemberState::dead && member.reachable() &&
                      before->boot_epoch == member.boot_epoch;
    // It does not know that it was taken for dead and its entries dropped.
    if (back) out.emplace_back(Send{member.id, wire::AnnounceAck{0, true, 0}});
}

void Keeper::on_announce(Instant now, const NodeId& from, const wire::Announce& message,
                         Outbox& out) {
    if (!accepts(from, message.epoch) || !ledger_.open(from, message.epoch)) return;
    auto& last = ledger_.last_seq(from);
    wire::AnnounceAck ack{message.request, false, 0};
    if (message.seq == last + 1) {
        last = message.seq;
        for (const auto shard : message.resets) ledger_.reset(from, shard);
        for (const auto& entry : message.entries) {
            if (!ledger_.apply(now, from, entry)) ++ack.enough;
            const auto shard = shard_of(entry.digest);
            if (!owned_.contains(shard)) keep_for_now(now, shard);
        }
    } else if (message.seq != last || last == 0) {
        ack.unknown = true;
    }
    out.emplace_back(Send{from, ack});
}

void Keeper::on_summary(const NodeId& from, const wire::ShardSummary& message, Outbox& out) {
    if (!accepts(from, message.epoch) || !ledger_.open(from, message.epoch)) return;
    ledger_.last_seq(from) = message.seq;
    wire::ShardSummaryReply reply{message.request, {}, {}};
    for (const auto& item : message.items) {
        if (copying_.contains(item.shard)) {
            reply.later.push_back(item.shard);
        } else if (ledger_.sum(from, item.shard) != Ledger::Sum{item.count, item.hash}) {
            reply.want.push_back(item.shard);
        }
    }
    out.emplace_back(Send{from, std::move(reply)});
}

wire::LookupReply Keeper::answer(Instant now, const NodeId& asker, const Digest& digest,
                                 bool download) {
    const auto shard = shard_of(digest);
    auto known = ledger_.find(now, digest);
    wire::LookupReply reply;
    reply.digest = digest;
    reply.not_yet = !owned_.contains(shard) || copying_.contains(shard);
    reply.size = known.size;
    const Intent intent = download ? Intent::download : Intent::ask;
    for (const auto& h : mesh_.choose(std::move(known.holders), asker, intent, wire::kHoldersPerReplyMax)) {
        reply.holders.push_back({h.node, h.kind});
    }
    const Member* member = mesh_.table.find(asker);
    if (download && member != nullptr && member->reachable() && owned_.contains(shard) &&
        ledger_.open(asker, member->boot_epoch)) {
        ledger_.register_asker(now, asker, digest);
    }
    return reply;
}

void Keeper::on_lookup(Instant now, const NodeId& from, const wire::Lookup& message, Outbox& out) {
    auto reply = answer(now, from, message.digest, message.download);
    reply.request = message.request;
    out.emplace_back(Send{from, std::move(reply)});
}

void Keeper::on_wrong_hint(const Digest& digest, const NodeId& holder) {
    ledger_.forget(digest, holder);
}

void Keeper::apply_local(Instant now, const wire::Announce::Entry& entry) {
    ledger_.apply(now, mesh_.self, entry);
}

void Keeper::reset_local(ShardId shard) {
    ledger_.reset(mesh_.self, shard);
}

// Copying shards.

void Keeper::start_copy(ShardId shard, const std::vector<NodeId>& before) {
    Copy copy;
    copy.sources = before;  // who answered for the shard until now knows it best
    for (const auto& node : mesh_.table.of(shard)) {
        if (!contains(before, node)) copy.sources.push_back(node);
    }
    std::erase(copy.sources, mesh_.self);
    copying_[shard] = std::move(copy);
    for (auto& [node, pull] : pulls_) pull.waiting.erase(shard);
    next_source(shard);
}

void Keeper::next_source(ShardId shard) {
    const auto found = copying_.find(shard);
    if (found == copying_.end()) return;
    Copy& copy = found->second;
    while (copy.next < copy.sources.size()) {
        const auto& source = copy.sources[copy.next++];
        if (!mesh_.table.reachable(source)) continue;
        pulls_[source].waiting.insert(shard);
        return;
    }
    copying_.erase(found);  // nobody left to copy from: the holders will tell
}

void Keeper::on_pull(const NodeId& from, const wire::ShardPull& message, Outbox& out) {
    wire::ShardPage page;
    page.request = message.request;
    page.entries = ledger_.page(message.shards, message.after, page.more);
    for (const auto shard : message.shards) {
        const bool former = drop_at_.contains(shard);
        if ((!owned_.contains(shard) && !former) || copying_.contains(shard)) {
            page.not_yet.push_back(shard);
        }
    }
    out.emplace_back(Send{from, std::move(page)});
}

void Keeper::on_page(Instant now, const NodeId& from, const wire::ShardPage& message, Outbox& out) {
    const auto found = pulls_.find(from);
    if (found == pulls_.end() || found->second.request != message.request) return;
    Pull& pull = found->second;
    const auto accept = [&](const NodeId& node, BootEpoch epoch) { return accepts(node, epoch); };
    for (const auto& entry : message.entries) {
        if (std::ranges::binary_search(pull.active, shard_of(entry.digest))) {
            ledger_.merge(now, entry, accept);
        }
    }
    pull.not_yet.insert(message.not_yet.begin(), message.not_yet.end());
    pull.request = 0;
    pull.retry_at = Instant::never();
    pull.attempts = 0;
    if (message.more && !message.entries.empty()) {
        const auto& last = message.entries.back().digest;
        const auto place = [](const Digest& d) { return std::pair{shard_of(d), d}; };
        if (!pull.after || place(*pull.after) < place(last)) {
            pull.after = last;
            ask(now, from, pull, out);
            return;
        }
    }
    const auto done = std::move(pull.active);
    const auto not_yet = std::move(pull.not_yet);
    pull.active.clear();
    pull.not_yet.clear();
    for (const auto shard : done) {
        if (not_yet.contains(shard)) {
            next_source(shard);
        } else {
            copying_.erase(shard);
        }
    }
    step(now, out);
}

void Keeper::ask(Instant now, const NodeId& source, Pull& pull, Outbox& out) {
    pull.request = mesh_.new_request();
    pull.retry_at = now + mesh_.options.retry_delay;
    out.emplace_back(Send{source, wire::ShardPull{pull.request, pull.active, pull.after}});
}

void Keeper::step(Instant now, Outbox& out) {
    for (auto it = pulls_.begin(); it != pulls_.end();) {
        Pull& pull = it->second;
        if (pull.active.empty() && pull.waiting.empty()) {
            it = pulls_.erase(it);
            continue;
        }
        if (pull.active.empty()) {
            pull.active.assign(pull.waiting.begin(), pull.waiting.end());
            pull.waiting.clear();
            pull.after.reset();
            ask(now, it->first, pull, out);
        }
        ++it;
    }
}

void Keeper::give_up(const NodeId& source) {
    const auto found = pulls_.find(source);
    if (found == pulls_.end()) return;
    const Pull pull = std::move(found->second);
    pulls_.erase(found);
    for (const auto shard : pull.active) next_source(shard);
    for (const auto shard : pull.waiting) next_source(shard);
}

void Keeper::on_unreachable(Instant now, const NodeId& node, Outbox& out) {
    give_up(node);
    step(now, out);
}

void Keeper::on_deadline(Instant now, Outbox& out) {
    std::vector<NodeId> silent;
    for (auto& [node, pull] : pulls_) {
        if (pull.retry_at > now) continue;
        if (++pull.attempts >= kPullAttempts) {
            silent.push_back(node);
        } else {
            ask(now, node, pull, out);
        }
    }
    for (const auto& node : silent) give_up(node);
    step(now, out);
    if (next_drop_ <= now) {
        next_drop_ = Instant::never();
        for (auto it = drop_at_.begin(); it != drop_at_.end();) {
            if (it->second <= now) {
                if (!owned_.contains(it->first)) ledger_.drop_shard(it->first);
                it = drop_at_.erase(it);
            } else {
                next_drop_ = std::min(next_drop_, it->second);
                ++it;
            }
        }
    }
    if (next_sweep_ <= now) {
        ledger_.sweep(now, kSweepBudget);
        next_sweep_ = now + (ledger_.dirty() ? kSweepPause : kSweepEvery);
    }
}

Instant Keeper::next_deadline() const {
    Instant next = std::min(next_drop_, next_sweep_);
    for (const auto& [node, pull] : pulls_) next = std::min(next, pull.retry_at);
    return next;
}

}  // namespace fastreg::directory
