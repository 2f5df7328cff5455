// Getting in, staying one mesh, and keeping the tables the same.
#include <algorithm>

#include "gossip/core.h"
#include "gossip/sync.h"

namespace fastreg::gossip {

namespace {

/// `span` give or take a quarter, so that members do not march in step.
Duration jittered(Duration span, Rng& rng) {
    return Duration{static_cast<std::int64_t>(static_cast<double>(span.count()) *
                                              (0.75 + 0.5 * rng.unit()))};
}

/// Members named to a joiner while more ask than can be served whole.
constexpr std::size_t kRedirects = 8;

}  // namespace

void Gossip::Core::join_turn(Instant now, Outbox& out) {
    const bool alone = table_.reachable().size() == 0;
    for (const Endpoint& place : joiner_.turn(now, alone, rng_)) {
        send_join(NodeId{}, place, alone || now < joining_until_, out);
    }
}

void Gossip::Core::send_join(NodeId to, const Endpoint& address, bool all, Outbox& out) {
    const std::size_t wanted = all ? options_.join_reply_members : 0;
    send_message(to, address, {wire::Join{self_claim(), static_cast<std::uint32_t>(wanted)}, {}}, out);
}

void Gossip::Core::dead_turn(Instant now, Outbox& out) {
    dead_at_ = now + jittered(options_.dead_redial, rng_);
    const auto dead = static_cast<double>(table_.dead().size());
    if (!rng_.chance(dead / static_cast<double>(table_.live()))) return;
    for (const NodeId& id : table_.dead().pick(rng_, 1, [](const NodeId&) { return true; })) {
        send_join(id, table_.find(id)->gossip, false, out);
    }
}

void Gossip::Core::sync_turn(Instant now, Outbox& out) {
    const bool fast = now < fast_sync_until_;
    sync_at_ = now + jittered(fast ? options_.fast_sync_interval
                                   : sync_interval(options_.sync_interval, table_.live()),
                              rng_);
    const auto partner = table_.reachable().pick(rng_, 1, [&](const NodeId& id) {
        return table_.find(id)->state == MemberState::alive;
    });
    for (const NodeId& id : partner) {
        send_message(id, table_.find(id)->gossip, {wire::SyncDigest{table_.hashes()}, {}}, out);
    }
}

void Gossip::Core::on_join(Instant now, NodeId from, const wire::Join& join, Outbox& out) {
    if (departed()) return;
    wire::JoinReply reply;
    reply.self = self_claim();
    reply.table_hash = table_.hash();
    std::size_t wanted = std::min<std::size_t>(join.wanted, wire::kJoinReplyMembersMax);
    if (wanted > 0 && !join_replies_.allow(now)) wanted = std::min(wanted, kRedirects);
    const auto named = table_.reachable().pick(rng_, wanted, [&](const NodeId& id) {
        return id != from && table_.find(id)->state == MemberState::alive;
    });
    for (const NodeId& id : named) reply.members.push_back({*table_.find(id), id});
    const Member* sender = table_.find(from);
    const Endpoint address = sender == nullptr ? join.self.subject.gossip : sender->gossip;
    send_message(from, address, {std::move(reply), {}}, out);
}

void Gossip::Core::on_join_reply(Instant now, NodeId from, const wire::JoinReply& reply, Outbox& out) {
    if (departed()) return;
    apply_all(now, from, reply.members, Source::sync, out);
    if (reply.table_hash == table_.hash()) return;
    if (now < joining_until_) {
        // With anyone who was named, not with the seed everybody asks.
        const double span = static_cast<double>(options_.gossip_interval.count()) * rng_.unit();
        sync_at_ = std::min(sync_at_, now + Duration{static_cast<std::int64_t>(span)});
        return;
    }
    fast_sync_until_ = std::max(fast_sync_until_, now + options_.fast_sync_for);
    sync_at_ = std::min(sync_at_, now + jittered(options_.fast_sync_interval, rng_));
    if (const Member* member = table_.find(from)) {
        send_message(from, member->gossip, {wire::SyncDigest{table_.hashes()}, {}}, out);
    }
}

void Gossip::Core::on_sync_digest(Instant now, NodeId from, const wire::SyncDigest& digest,
                                  Outbox& out) {
    const Member* sender = table_.find(from);
    if (sender == nullptr || departed()) return;
    const auto buckets = differing_buckets(table_.hashes(), digest.hashes, rng_);
    if (buckets.empty() || !digest_answers_.allow(now)) return;
    for (wire::SyncBuckets& part :
         answer_digest(table_, buckets, options_.sync_frames, options_.frame_budget)) {
        send_message(from, sender->gossip, {std::move(part), {}}, out);
    }
}

void Gossip::Core::on_sync_buckets(Instant now, NodeId from, const wire::SyncBuckets& theirs,
                                   Outbox& out) {
    if (table_.find(from) == nullptr || departed()) return;
    apply_all(now, from, theirs.claims, Source::sync, out);
    if (!theirs.answer) return;
    wire::SyncBuckets better = answer_buckets(table_, theirs, options_.frame_budget);
    if (better.claims.empty()) return;
    if (const Member* sender = table_.find(from)) {
        send_message(from, sender->gossip, {std::move(better), {}}, out);
    }
}

}  // namespace fastreg::gossip
