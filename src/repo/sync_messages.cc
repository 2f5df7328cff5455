// What owners ask each other and answer: sums of shards, then the rows that differ, page by page.
#include <algorithm>
#include <utility>

#include "base/log.h"
#include "repo/sync.h"

namespace fastreg::repo {

namespace {

void say(Voice voice, wire::RepoSummary& message, std::size_t index) {
    if (voice == Voice::vouched) wire::RepoSummary::set_bit(message.vouched, index);
    if (voice != Voice::none) wire::RepoSummary::set_bit(message.served, index);
}

Voice voice_in(const wire::RepoSummary& message, std::size_t index) {
    if (wire::RepoSummary::bit(message.vouched, index)) return Voice::vouched;
    return wire::RepoSummary::bit(message.served, index) ? Voice::served : Voice::none;
}

}  // namespace

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
    wire::RepoSummary summary{peer.request, false, {}, {}, {}, {}, {}};
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
        if (owned != owned_.end() && RepoSummary::bit(message.stood, i) && owned->second.stood.contains(from)) {
            owned->second.right.stood_with(from);
        }
        if (differ.contains(shard)) {
            note_different(shard, from);
            if (owned == owned_.end()) continue;
            peer.pull.insert(shard);
            peer.voices[shard] = said;
            continue;
        }
        complete(now, shard, from, said);
        const bool equal = std::ranges::none_of(
            message.items, [&](const auto& item) { return item.shard == shard; });
        if (equal) note_equal(shard, from);
    }
    step(now, out);
}

void Sync::answer_summary(Instant now, const NodeId& from, const wire::RepoSummary& message, Outbox& out) {
    using wire::RepoSummary;
    RepoSummary reply{message.request, true, {}, {}, {}, {}, {}};
    for (std::size_t i = 0; i < message.items.size(); ++i) {
        const auto& item = message.items[i];
        const auto shard = item.shard;
        const auto said = voice_in(message, i);
        if (said == Voice::vouched) note_vouch(shard, from);
        const auto owned = owned_.find(shard);
        if (owned != owned_.end() && owned->second.whole.contains(from)) RepoSummary::set_bit(reply.known, i);
        if (owned != owned_.end() && owned->second.stood.contains(from)) RepoSummary::set_bit(reply.stood, i);
        const auto sum = replica_.sum(shard);
        const bool equal = sum == Replica::Sum{item.count, item.hash};
        if (equal) {
            note_equal(shard, from);
        } else {
            note_different(shard, from);
        }
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
            if (handing_over_.contains(shard)) copied_.emplace(shard, from);
        }
    }
    out.emplace_back(Send{from, wire::RepoPage{message.request, std::move(page.rows), page.more}});
}

bool Sync::acceptable(const Row& row) {
    const auto keep = mesh_.options.tombstone_keep_ms;
    mesh_.hear(row.hlc);
    if (row.tombstone && hlc_millis(row.hlc) + keep < mesh_.sober_ms()) return false;
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

}  // namespace fastreg::repo
