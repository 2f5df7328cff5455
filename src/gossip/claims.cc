// What is believed of whom. The larger (epoch, incarnation, state) wins; only the subject makes its own
// incarnation larger.
#include <algorithm>

#include "gossip/core.h"
#include "base/mutant.h"
#include "gossip/sync.h"

namespace fastreg::gossip {

namespace {

bool gone(MemberState state) { return state == MemberState::dead || state == MemberState::left; }

bool same_content(const Member& a, const Member& b) {
    return a.boot_epoch == b.boot_epoch && a.state == b.state && a.name == b.name && a.zone == b.zone &&
           a.gossip == b.gossip && a.transfer == b.transfer && a.rdma == b.rdma && a.http == b.http;
}

}  // namespace

void Gossip::Core::apply_all(Instant now, NodeId peer, const std::vector<wire::Claim>& claims,
                             Source source, Outbox& out) {
    for (const wire::Claim& claim : claims) {
        const bool own = claim.subject.id == peer && claim.first_hand();
        apply(now, peer, claim, own ? Source::first_hand : source, out);
    }
}

void Gossip::Core::apply(Instant now, NodeId peer, const wire::Claim& claim, Source source,
                         Outbox& out) {
    if (!wire::check_claim(claim)) return;
    if (claim.subject.id == table_.self().id) {
        on_claim_about_self(now, peer, claim, out);
        return;
    }
    if (claim.first_hand() &&
        (claim.subject.state == MemberState::suspect || claim.subject.state == MemberState::dead)) {
        return;  // nobody says that of itself
    }
    if (source == Source::sync && claim.subject.state == MemberState::dead &&
        !mutant(Mutant::dead_imported_as_dead)) {
        // Old news of a death must not spread by itself: the subject gets its say.
        wire::Claim doubt = claim;
        doubt.subject.state = MemberState::suspect;
        doubt.from = peer;
        apply(now, peer, doubt, source, out);
        return;
    }
    const Member* known = table_.find(claim.subject.id);
    if (known == nullptr) {
        learn(now, claim, source, out);
        return;
    }
    if (!plausible(claim, *known, source)) {
        warn(now, "a claim about member " + known->id.brief() +
                      " jumps too far ahead in epoch or incarnation; it was ignored", out);
        return;
    }
    const Rank said = rank_of(claim.subject);
    const Rank held = rank_of(*known);
    if (said > held || mutant(Mutant::no_incarnation_check)) {
        believe(now, claim, source, out);
    } else if (said == held) {
        same_again(now, peer, claim, source, out);
    }
}

bool Gossip::Core::plausible(const wire::Claim& claim, const Member& known, Source source) const {
    if (source == Source::first_hand) return true;
    const Member& said = claim.subject;
    if (said.boot_epoch > known.boot_epoch &&
        said.boot_epoch - known.boot_epoch > options_.epoch_jump_max) {
        return false;
    }
    if (said.incarnation == wire::kFinalIncarnation) return true;  // only `left` may say so
    const std::uint64_t base = said.boot_epoch == known.boot_epoch ? known.incarnation : 0;
    return said.incarnation <= base || said.incarnation - base <= options_.incarnation_jump_max;
}

void Gossip::Core::learn(Instant now, const wire::Claim& claim, Source source, Outbox& out) {
    if (!claim.full() || gone(claim.subject.state) || !make_room(now, out)) return;
    Member member = claim.subject;
    const NodeId id = member.id;
    member.state_since = now;
    store(member);
    if (member.state == MemberState::suspect) {
        suspicions_.start(now, id, claim.from, table_.live());
    }
    // A joiner copies what the others have told each other already.
    if (source != Source::sync || now >= joining_until_) spread(claim, now);
    out.emplace_back(MemberChanged{std::move(member), std::nullopt});
    if (source == Source::first_hand) check_address(now, id, true, out);
    check_own_address(now, id, source, out);
}

void Gossip::Core::believe(Instant now, const wire::Claim& claim, Source source, Outbox& out) {
    const Member before = *table_.find(claim.subject.id);
    Member member = before;
    if (claim.full()) {
        member = claim.subject;
    } else {
        // Where a new epoch listens, only a whole record says.
        if (claim.subject.boot_epoch > before.boot_epoch && !gone(claim.subject.state)) return;
        member.boot_epoch = claim.subject.boot_epoch;
        member.incarnation = claim.subject.incarnation;
        member.state = claim.subject.state;
    }
    const bool same_life = member.state == before.state && member.boot_epoch == before.boot_epoch;
    member.state_since = same_life ? before.state_since : now;
    store(member);
    if (member.state == MemberState::suspect) {
        suspicions_.start(now, member.id, claim.from, table_.live());
    } else {
        suspicions_.cancel(member.id);
    }
    wire::Claim news = claim;
    if (member.state != MemberState::alive && member.state != MemberState::stopping &&
        member.boot_epoch == before.boot_epoch) {
        news = short_claim(member, claim.from);
    }
    spread(std::move(news), now);
    if (!same_content(before, member)) out.emplace_back(MemberChanged{member, before.state});
    if (source == Source::first_hand) check_address(now, member.id, true, out);
    if (claim.full()) check_own_address(now, member.id, source, out);
}

void Gossip::Core::same_again(Instant now, NodeId peer, const wire::Claim& claim, Source source,
                              Outbox& out) {
    const Member& known = *table_.find(claim.subject.id);
    if (known.state == MemberState::suspect) {
        const bool self = claim.from == table_.self().id;
        const Member* accuser = table_.find(claim.from);
        const bool counts = self || (accuser != nullptr && accuser->reachable());
        if (!counts || claim.first_hand()) return;
        if (suspicions_.confirm(now, known.id, claim.from)) {
            spread(short_claim(known, claim.from), now);
        }
        return;
    }
    if (source != Source::first_hand || !claim.full()) return;
    if (known.gossip != claim.subject.gossip) {
        // Two processes under one id and epoch: each is told of the other.
        wire::GossipMessage message{wire::Updates{}, {}};
        message.updates.push_back(claim_of(known, table_.self().id));
        out.emplace_back(Send{peer, claim.subject.gossip, std::move(message)});
        return;
    }
    check_address(now, known.id, false, out);
}

void Gossip::Core::accuse(Instant now, NodeId id, MemberState state, Outbox& out) {
    const Member* known = table_.find(id);
    if (known == nullptr) return;
    wire::Claim claim = short_claim(*known, table_.self().id);
    claim.subject.state = state;
    const Rank said = rank_of(claim.subject);
    const Rank held = rank_of(*known);
    if (said > held) {
        believe(now, claim, Source::relayed, out);
    } else if (said == held) {
        same_again(now, table_.self().id, claim, Source::relayed, out);
    }
}

void Gossip::Core::on_claim_about_self(Instant now, NodeId peer, const wire::Claim& claim,
                                       Outbox& out) {
    const Member& me = table_.self();
    const Member& said = claim.subject;
    if (said.boot_epoch < me.boot_epoch || me.state == MemberState::left) return;
    if (said.boot_epoch > me.boot_epoch) {
        conflict(now, claim, "this node id is known in boot epoch " + std::to_string(said.boot_epoch) +
                                 ", and this process runs in " + std::to_string(me.boot_epoch) +
                                 ": the data directory was cloned or restored", out);
        return;
    }
    if (said.incarnation == wire::kFinalIncarnation) {
        conflict(now, claim, "this node id has left for good in boot epoch " +
                                 std::to_string(said.boot_epoch) + ": it needs a higher one", out);
        return;
    }
    if (said.incarnation < me.incarnation) return;
    if (said.incarnation - me.incarnation > options_.incarnation_jump_max) {
        warn(now, "member " + peer.brief() + " tells of this node in an impossible incarnation; ignored",
             out);
        return;
    }
    const bool elsewhere = claim.full() && said.gossip != me.gossip;
    if (elsewhere) {
        const bool fresh = conflict(now, claim, "another process speaks under this node id at " +
                                                    said.gossip.str() +
                                                    ": the data directory was cloned", out);
        if (!fresh || said.incarnation == me.incarnation) return;
    } else if (rank_of(said) <= rank_of(me)) {
        return;
    }
    refute(now, peer, claim, out);
}

void Gossip::Core::refute(Instant now, NodeId peer, const wire::Claim& claim, Outbox& out) {
    Member me = table_.self();
    me.incarnation = std::max(me.incarnation, claim.subject.incarnation) +
                     (mutant(Mutant::refutation_without_incarnation) ? 0 : 1);
    const std::uint64_t incarnation = me.incarnation;
    table_.put(std::move(me));
    if (claim.subject.state != MemberState::alive) health_.add(1);
    spread_self(now);
    out.emplace_back(Refuted{claim.subject.state, claim.from, incarnation});
    const Member* member = table_.find(peer);
    if (member == nullptr || told_sender_) return;
    told_sender_ = true;
    send_message(peer, member->gossip, {wire::Updates{}, {}}, out);
}

bool Gossip::Core::conflict(Instant now, const wire::Claim& claim, std::string why, Outbox& out) {
    if (conflict_at_.ns >= 0 && now < conflict_at_ + options_.warn_every) return false;
    conflict_at_ = now;
    out.emplace_back(IdentityConflict{claim.subject.gossip, claim.subject.boot_epoch, std::move(why)});
    return true;
}

void Gossip::Core::check_address(Instant now, NodeId newcomer, bool news, Outbox& out) {
    const Member* member = table_.find(newcomer);
    if (member == nullptr || member->state != MemberState::alive) return;
    // One process can listen at an address, and the newcomer spoke for itself.
    for (const NodeId& old : table_.at(member->gossip, newcomer)) {
        switch (table_.find(old)->state) {
            case MemberState::alive:
                // It may be the newcomer that is set up wrongly: ask first.
                if (news) probe(now, old, newcomer, out);
                break;
            case MemberState::suspect:
            case MemberState::stopping:
            case MemberState::dead: replaced(now, old, newcomer, out); break;
            case MemberState::left: break;
        }
    }
}

void Gossip::Core::check_own_address(Instant now, NodeId other, Source source, Outbox& out) {
    const Member* member = table_.find(other);
    if (member == nullptr || member->state == MemberState::left) return;
    if (member->gossip != table_.self().gossip) return;
    if (source == Source::first_hand) {
        warn(now, "member " + other.brief() + " (" + member->name + ") advertises this node's own address " +
                      member->gossip.str() + "; give each node its own", out);
        return;
    }
    replaced(now, other, table_.self().id, out);
}

void Gossip::Core::replaced(Instant now, NodeId old, NodeId by, Outbox& out) {
    Table::Entry* entry = table_.entry(old);
    if (entry == nullptr || entry->member.state == MemberState::left) return;
    if (entry->replaced_in == entry->member.boot_epoch) {
        warn(now, "members " + old.brief() + " and " + by.brief() + " both advertise " +
                      entry->member.gossip.str() + "; give each node its own address", out);
        return;
    }
    entry->replaced_in = entry->member.boot_epoch;
    accuse(now, old, MemberState::left, out);
}

bool Gossip::Core::make_room(Instant now, Outbox& out) {
    if (table_.size() < options_.members_max) return true;
    const auto dead = table_.dead().pick(rng_, 1, [](const NodeId&) { return true; });
    if (!dead.empty()) {
        forget(dead.front(), out);
        return true;
    }
    if (table_.counts().left > 0) {
        for (const auto& [id, entry] : table_.entries()) {
            if (entry.member.state != MemberState::left || id == table_.self().id) continue;
            forget(NodeId(id), out);
            return true;
        }
    }
    warn(now, "the member table is full (" + std::to_string(options_.members_max) +
                  " members); new members are not taken in", out);
    return false;
}

void Gossip::Core::forget(NodeId id, Outbox& out) {
    const Member* member = table_.find(id);
    if (member == nullptr) return;
    expiry_.erase({expiry_of(*member), id});
    suspicions_.cancel(id);
    broadcasts_.forget(id);
    prober_.ring.remove(id);
    table_.erase(id);
    out.emplace_back(MemberForgotten{id});
}

}  // namespace fastreg::gossip
