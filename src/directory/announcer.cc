#include "directory/announcer.h"

#include <algorithm>

#include "base/mutant.h"

namespace fastreg::directory {

Announcer::Announcer(Mesh& mesh, Keeper& keeper)
    : mesh_(mesh),
      keeper_(keeper),
      local_(std::make_unique<std::array<std::map<Digest, Local>, kShardCount>>()) {}

bool Announcer::has(const Digest& digest) const {
    return (*local_)[shard_of(digest)].contains(digest);
}

void Announcer::on_have(Instant now, const Digest& digest, std::uint64_t size, HolderKind kind,
                        Outbox& out) {
    FR_ASSERT(kind != HolderKind::none);
    touched_.set(shard_of(digest));
    auto [it, added] = (*local_)[shard_of(digest)].try_emplace(digest, Local{});
    const auto was = it->second.kind;
    it->second = {size, kind};
    if (added) ++count_;
    if (was != kind) changed(now, digest, size, was, kind, out);
}

void Announcer::on_gone(Instant now, const Digest& digest, Outbox& out) {
    auto& shard = (*local_)[shard_of(digest)];
    const auto found = shard.find(digest);
    if (found == shard.end()) return;
    const auto was = found->second;
    shard.erase(found);
    --count_;
    changed(now, digest, was.size, was.kind, HolderKind::none, out);
}

void Announcer::changed(Instant now, const Digest& digest, std::uint64_t size, HolderKind was,
                        HolderKind kind, Outbox& out) {
    const auto shard = shard_of(digest);
    for (const auto& owner : mesh_.table.of(shard)) {
        if (owner == mesh_.self) {
            keeper_.apply_local(now, {digest, size, was, kind});
            continue;
        }
        Link& link = link_to(owner);
        if (link.compare.contains(shard)) continue;
        link.pending.try_emplace({shard, digest}, was);
        const auto delay = kind == HolderKind::home ? Duration::zero() : mesh_.options.batch_delay;
        link.flush_at = std::min(link.flush_at, now + delay);
        step(now, owner, link, out);
    }
}

Announcer::Link& Announcer::link_to(const NodeId& owner) {
    const auto [it, added] = links_.try_emplace(owner);
    if (added) {
        const Member* member = mesh_.table.find(owner);
        it->second.owner_epoch = member == nullptr ? 0 : member->boot_epoch;
    }
    return it->second;
}

void Announcer::forget_shard(Link& link, ShardId shard) {
    link.compare.erase(shard);
    link.resets.erase(shard);
    const auto first = link.pending.lower_bound({shard, Digest{HashAlg{}, {}}});
    auto last = first;
    while (last != link.pending.end() && last->first.first == shard) ++last;
    link.pending.erase(first, last);
}

void Announcer::compare_all(Instant at, const NodeId& owner, Link& link) {
    if (mutant(Mutant::holder_not_announced_to_new_owner)) return;
    for (std::uint32_t i = 0; i < kShardCount; ++i) {
        const auto shard = static_cast<ShardId>(i);
        if (!touched_[i] || !mesh_.table.owns(shard, owner)) continue;
        forget_shard(link, shard);
        link.compare.insert(shard);
    }
    if (!link.compare.empty()) link.compare_at = std::min(link.compare_at, at);
}

void Announcer::compare_everything(Instant now) {
    for (std::uint32_t i = 0; i < kShardCount; ++i) {
        const auto shard = static_cast<ShardId>(i);
        if (!touched_[i]) continue;
        for (const auto& owner : mesh_.table.of(shard)) {
            if (owner == mesh_.self) continue;
            Link& link = link_to(owner);
            forget_shard(link, shard);
            link.compare.insert(shard);
            link.compare_at = now;
        }
    }
}

void Announcer::on_owner_changes(Instant now, const std::vector<OwnerChange>& changes, Outbox&) {
    const auto contains = [](const std::vector<NodeId>& nodes, const NodeId& node) {
        return std::ranges::find(nodes, node) != nodes.end();
    };
    // Members often change in crowds: one comparison for all of them.
    const auto at = now + mesh_.options.batch_delay;
    for (const auto& change : changes) {
        const auto shard = change.shard;
        const auto& owners = mesh_.table.of(shard);
        for (const auto& owner : change.before) {
            if (contains(owners, owner)) continue;
            if (const auto link = links_.find(owner); link != links_.end()) {
                forget_shard(link->second, shard);
            }
        }
        if (!touched_[shard]) continue;
        const auto& local = (*local_)[shard];
        for (const auto& owner : owners) {
            if (contains(change.before, owner)) continue;
            if (owner == mesh_.self) {
                keeper_.reset_local(shard);
                for (const auto& [digest, blob] : local) {
                    keeper_.apply_local(now, {digest, blob.size, HolderKind::none, blob.kind});
                }
                continue;
            }
            Link& link = link_to(owner);
            forget_shard(link, shard);
            link.compare.insert(shard);
            link.compare_at = std::min(link.compare_at, at);
        }
    }
    std::erase_if(links_, [&](const auto& entry) {
        return mesh_.table.find(entry.first) == nullptr;
    });
    if (next_compare_ == Instant::never()) next_compare_ = now + mesh_.options.summary_interval;
}

void Announcer::on_member(Instant now, const Member& member, Outbox& out) {
    const auto found = links_.find(member.id);
    if (found == links_.end()) return;
    if (mesh_.table.find(member.id) == nullptr) {
        links_.erase(found);
        return;
    }
    Link& link = found->second;
    if (member.boot_epoch > link.owner_epoch) {  // it started anew and knows nothing of us
        link = Link{};
        link.owner_epoch = member.boot_epoch;
        compare_all(now + mesh_.options.batch_delay, member.id, link);
    }
    step(now, member.id, link, out);
}

void Announcer::on_ack(Instant now, const NodeId& from, const wire::AnnounceAck& message,
                       Outbox& out) {
    if (message.request == 0) {  // the owner had dropped this node
        if (message.unknown && mesh_.table.find(from) != nullptr) {
            Link& link = link_to(from);
            compare_all(now, from, link);
            step(now, from, link, out);
        }
        return;
    }
    const auto found = links_.find(from);
    if (found == links_.end()) return;
    Link& link = found->second;
    if (!link.in_flight || link.in_flight->request != message.request) return;
    declined_ += message.enough;
    link.in_flight.reset();
    if (message.unknown) compare_all(now, from, link);
    step(now, from, link, out);
}

void Announcer::on_summary_reply(Instant now, const NodeId& from,
                                 const wire::ShardSummaryReply& message, Outbox& out) {
    const auto found = links_.find(from);
    if (found == links_.end()) return;
    Link& link = found->second;
    if (!link.in_flight || link.in_flight->request != message.request) return;
    const auto* summary = std::get_if<wire::ShardSummary>(&link.in_flight->message);
    if (summary == nullptr) return;
    std::set<ShardId> asked;
    for (const auto& item : summary->items) asked.insert(item.shard);
    link.in_flight.reset();
    for (const auto shard : message.want) {
        if (!asked.contains(shard) || link.compare.contains(shard)) continue;
        forget_shard(link, shard);
        if (!mesh_.table.owns(shard, from)) continue;
        link.resets.insert(shard);
        for (const auto& [digest, blob] : (*local_)[shard]) {
            link.pending.emplace(Place{shard, digest}, HolderKind::none);
        }
    }
    if (!message.want.empty()) link.flush_at = now;
    for (const auto shard : message.later) {
        if (!asked.contains(shard) || !mesh_.table.owns(shard, from)) continue;
        forget_shard(link, shard);
        link.compare.insert(shard);
        link.compare_at = std::min(link.compare_at, now + mesh_.options.retry_delay);
    }
    step(now, from, link, out);
}

void Announcer::on_unreachable(Instant now, const NodeId& node) {
    const auto found = links_.find(node);
    if (found == links_.end() || !found->second.in_flight) return;
    found->second.in_flight->retry_at = now + mesh_.options.retry_delay;
}

wire::ShardSummary::Item Announcer::item_of(ShardId shard) const {
    wire::ShardSummary::Item item{shard, 0, 0};
    for (const auto& [digest, blob] : (*local_)[shard]) {
        ++item.count;
        item.hash ^= entry_hash(digest, blob.kind);
    }
    return item;
}

void Announcer::step(Instant now, const NodeId& owner, Link& link, Outbox& out) {
    if (link.in_flight || !mesh_.table.reachable(owner)) return;
    if (!link.compare.empty() && link.compare_at <= now) {
        send_summary(now, owner, link, out);
    } else if (link.flush_at <= now || link.pending.size() >= wire::kAnnounceEntriesMax) {
        send_changes(now, owner, link, out);
    }
}

void Announcer::send_summary(Instant now, const NodeId& owner, Link& link, Outbox& out) {
    wire::ShardSummary message{mesh_.new_request(), mesh_.epoch, ++link.seq, {}};
    while (!link.compare.empty() && message.items.size() < wire::kSummaryItemsMax) {
        const auto shard = *link.compare.begin();
        forget_shard(link, shard);
        message.items.push_back(item_of(shard));
    }
    if (link.compare.empty()) link.compare_at = Instant::never();
    const auto request = message.request;
    send(now, owner, link, std::move(message), request, out);
}

void Announcer::send_changes(Instant now, const NodeId& owner, Link& link, Outbox& out) {
    wire::Announce message{0, mesh_.epoch, 0, {}, {}};
    message.resets.assign(link.resets.begin(), link.resets.end());
    link.resets.clear();
    while (!link.pending.empty() && message.entries.size() < wire::kAnnounceEntriesMax) {
        const auto [place, was] = *link.pending.begin();
        link.pending.erase(link.pending.begin());
        const auto& shard = (*local_)[place.first];
        const auto blob = shard.find(place.second);
        const Local local = blob == shard.end() ? Local{} : blob->second;
        // There and back again needs no word, except that what is gone may have come to the owner
        // through another owner.
        if (local.kind == was && was != HolderKind::none) continue;
        message.entries.push_back({place.second, local.size, was, local.kind});
    }
    if (link.pending.empty()) link.flush_at = Instant::never();
    if (message.entries.empty() && message.resets.empty()) return;
    sent_ += message.entries.size();
    message.request = mesh_.new_request();
    message.seq = ++link.seq;
    const auto request = message.request;
    send(now, owner, link, std::move(message), request, out);
}

void Announcer::send(Instant now, const NodeId& owner, Link& link, wire::DirectoryMessage message,
                     RequestId request, Outbox& out) {
    out.emplace_back(Send{owner, message});
    link.in_flight = InFlight{request, std::move(message), now + mesh_.options.retry_delay};
}

void Announcer::on_deadline(Instant now, Outbox& out) {
    if (next_compare_ <= now) {
        const auto half = mesh_.options.summary_interval.count() / 2;
        const auto jitter = mesh_.rng.below(static_cast<std::uint64_t>(half) + 1);
        next_compare_ = now + Duration(half + static_cast<std::int64_t>(jitter));
        compare_everything(now);
    }
    for (auto& [owner, link] : links_) {
        if (link.in_flight && link.in_flight->retry_at <= now && mesh_.table.reachable(owner)) {
            link.in_flight->retry_at = now + mesh_.options.retry_delay;
            out.emplace_back(Send{owner, link.in_flight->message});
        }
        step(now, owner, link, out);
    }
}

Instant Announcer::next_deadline() const {
    Instant next = next_compare_;
    for (const auto& [owner, link] : links_) {
        if (!mesh_.table.reachable(owner)) continue;
        if (link.in_flight) {
            next = std::min(next, link.in_flight->retry_at);
            continue;
        }
        if (!link.compare.empty()) next = std::min(next, link.compare_at);
        if (!link.pending.empty() || !link.resets.empty()) next = std::min(next, link.flush_at);
    }
    return next;
}

}  // namespace fastreg::directory
