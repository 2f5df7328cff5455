#include "directory/asker.h"

#include <algorithm>

namespace fastreg::directory {

void Asker::look_up(Instant now, LookupId id, const Digest& digest, Intent intent, Outbox& out) {
    if (open_.size() >= mesh_.options.lookups_max) {
        out.emplace_back(LookupFailed{
            id, digest,
            Error{Errc::busy, 0, "looking for holders of " + digest.brief() +
                                     ": too many look-ups are open; try again"}});
        return;
    }
    const auto shard = shard_of(digest);
    Question q;
    q.id = id;
    q.digest = digest;
    q.intent = intent;
    for (const auto& owner : mesh_.table.of(shard)) {
        if (owner == mesh_.self) continue;
        (mesh_.table.reachable(owner) ? q.to_ask : q.silent).push_back(owner);
    }
    mesh_.rng.shuffle(q.to_ask);
    const auto zone = mesh_.zone_of(mesh_.self);
    std::stable_partition(q.to_ask.begin(), q.to_ask.end(),
                          [&](const NodeId& n) { return mesh_.zone_of(n) == zone; });
    const auto it = open_.emplace(mesh_.new_request(), std::move(q)).first;
    if (mesh_.owns(shard)) {
        const bool download = intent == Intent::download;
        if (take(it->second, keeper_.answer(now, mesh_.self, digest, download))) {
            finish(it, out);
            return;
        }
    }
    if (!ask_next(now, it->first, it->second, out)) finish(it, out);
}

void Asker::cancel(LookupId id) {
    std::erase_if(open_, [&](const auto& entry) { return entry.second.id == id; });
}

bool Asker::take(Question& q, const wire::LookupReply& reply) const {
    ++q.answers;
    if (!q.size) q.size = reply.size;
    if (!reply.not_yet) q.authoritative = true;
    for (const auto& h : reply.holders) {
        auto& kind = q.holders[h.node];
        kind = std::max(kind, h.kind);
    }
    return !reply.not_yet && !reply.holders.empty();
}

bool Asker::ask_next(Instant now, RequestId request, Question& q, Outbox& out) {
    q.next_at = now + mesh_.options.owner_timeout;
    if (q.to_ask.empty()) return !q.waiting.empty();
    const auto owner = q.to_ask.front();
    q.to_ask.erase(q.to_ask.begin());
    q.waiting.push_back(owner);
    out.emplace_back(
        Send{owner, wire::Lookup{request, q.digest, q.intent == Intent::download}});
    return true;
}

void Asker::on_reply(Instant now, const NodeId& from, const wire::LookupReply& message,
                     Outbox& out) {
    const auto it = open_.find(message.request);
    if (it == open_.end() || it->second.digest != message.digest) return;
    Question& q = it->second;
    if (std::erase(q.waiting, from) == 0) return;
    if (take(q, message) || !ask_next(now, it->first, q, out)) finish(it, out);
}

void Asker::on_unreachable(Instant now, const NodeId& node, Outbox& out) {
    for (auto it = open_.begin(); it != open_.end();) {
        const auto here = it++;
        Question& q = here->second;
        if (std::erase(q.to_ask, node) != 0) q.silent.push_back(node);
        if (std::erase(q.waiting, node) == 0) continue;
        q.silent.push_back(node);
        if (!ask_next(now, here->first, q, out)) finish(here, out);
    }
}

void Asker::on_deadline(Instant now, Outbox& out) {
    for (auto it = open_.begin(); it != open_.end();) {
        const auto here = it++;
        Question& q = here->second;
        if (q.next_at > now) continue;
        if (q.to_ask.empty()) {  // the last one had its time as well
            q.silent.insert(q.silent.end(), q.waiting.begin(), q.waiting.end());
            finish(here, out);
        } else {
            ask_next(now, here->first, q, out);
        }
    }
}

Instant Asker::next_deadline() const {
    Instant next = Instant::never();
    for (const auto& [request, q] : open_) next = std::min(next, q.next_at);
    return next;
}

void Asker::finish(Open::iterator it, Outbox& out) {
    Question q = std::move(it->second);
    open_.erase(it);
    if (q.answers == 0) {
        std::string what = "looking for holders of " + q.digest.brief() + ": ";
        if (q.silent.empty()) {
            what += "this node knows of no member that owns its shard yet; try again";
        } else {
            what += "no owner of its shard answered:";
            for (const auto& node : q.silent) what += " " + mesh_.table.describe(node);
            what += "; see whether they run and are reachable";
        }
        out.emplace_back(LookupFailed{q.id, q.digest, Error{Errc::unavailable, 0, std::move(what)}});
        return;
    }
    std::vector<Holder> holders;
    for (const auto& [node, kind] : q.holders) holders.push_back({node, kind});
    out.emplace_back(Found{
        q.id, q.digest, q.size,
        mesh_.choose(std::move(holders), mesh_.self, q.intent, wire::kHoldersPerReplyMax), q.authoritative});
}

}  // namespace fastreg::directory
