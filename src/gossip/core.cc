#include "gossip/core.h"

#include <algorithm>
#include <variant>

#include "gossip/links.h"
#include "gossip/sync.h"

namespace fastreg::gossip {

namespace {

constexpr std::size_t kWarningsKept = 256;

/// A label as the wire takes it: no blanks or control characters, at most `max` bytes.
std::string clean(std::string text, std::size_t max) {
    if (text.size() > max) text.resize(max);
    for (char& c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte <= 0x20 || byte == 0x7f) c = '-';
    }
    return text;
}

}  // namespace

std::string zone_as_seen(std::string zone) { return clean(std::move(zone), wire::kMemberZoneMax); }

namespace {

Member member_of(Self self) {
    Member m;
    m.id = self.id;
    m.boot_epoch = std::max<BootEpoch>(1, self.boot_epoch);
    m.name = clean(std::move(self.name), wire::kMemberNameMax);
    m.zone = zone_as_seen(std::move(self.zone));
    m.gossip = std::move(self.gossip);
    m.transfer = std::move(self.transfer);
    m.rdma = std::move(self.rdma);
    m.http = std::move(self.http);
    return m;
}

}  // namespace

bool RateLimit::allow(Instant now) {
    if (now >= window_ + 1s) {
        window_ = now;
        used_ = 0;
    }
    return used_++ < per_second_;
}

Gossip::Core::Core(Self self, Options options, Rng rng)
    : options_(options),
      rng_(rng),
      table_(member_of(std::move(self))),
      suspicions_(options_),
      joiner_(options_),
      health_(options_.local_health_max),
      join_replies_(options_.join_replies_per_second) {}

void Gossip::Core::start(Instant now, const std::vector<Endpoint>& seeds,
                         const std::vector<Member>& last_known, Outbox& out) {
    if (started_) return;
    started_ = true;
    if (auto ok = wire::check_claim(self_claim()); !ok) {
        warn(now, "other members will refuse this node's own record: " + ok.error().what +
                      "; check the node's name, zone and advertised addresses", out);
    }
    joiner_.skip(table_.self().gossip);
    joiner_.set_seeds(seeds);
    std::vector<Endpoint> hints;
    for (const Member& peer : last_known) {
        if (peer.id != table_.self().id && !peer.gossip.empty()) hints.push_back(peer.gossip);
    }
    rng_.shuffle(hints);
    joiner_.set_hints(std::move(hints));
    joiner_.begin(now, rng_);
    const auto within = [&](Duration span) {
        return now + Duration{static_cast<std::int64_t>(rng_.unit() * static_cast<double>(span.count()))};
    };
    probe_at_ = within(options_.probe_interval);
    dead_at_ = within(options_.dead_redial);
    sync_at_ = within(options_.fast_sync_interval);
    fast_sync_until_ = joining_until_ = now + options_.fast_sync_for;
}

void Gossip::Core::add_seed(Instant now, const Endpoint& seed, Outbox& out) {
    if (seed.empty() || departed()) return;
    joiner_.add_seed(seed);
    if (started_ && seed != table_.self().gossip) send_join(NodeId{}, seed, true, out);
    fast_sync_until_ = std::max(fast_sync_until_, now + options_.fast_sync_for);
}

void Gossip::Core::update_self(Instant now, Self self, Outbox& out) {
    Member next = member_of(std::move(self));
    const Member& me = table_.self();
    if (next.id != me.id || next.boot_epoch != me.boot_epoch || departed()) {
        warn(now, "a change of this node's record was not taken: id and epoch must stay", out);
        return;
    }
    next.incarnation = me.incarnation + 1;
    table_.put(std::move(next));
    joiner_.skip(table_.self().gossip);
    links_dirty_ = true;
    links_at_ = std::min(links_at_, now + options_.links_settle);
    spread_self(now);
}

void Gossip::Core::renew(Instant now, BootEpoch epoch, Outbox& out) {
    Member me = table_.self();
    if (epoch <= me.boot_epoch || departed()) {
        warn(now, "a new epoch was not taken: it must be over " + std::to_string(me.boot_epoch), out);
        return;
    }
    me.boot_epoch = epoch;
    me.incarnation = 0;
    table_.put(std::move(me));
    spread_self(now);
    tell_neighbours(out);
}

void Gossip::Core::on_link_up(Instant now, NodeId peer) {
    if (peer == table_.self().id || !peer.known()) return;
    if (warm_.size() < options_.members_max) warm_.insert(peer);
    if (!broadcasts_.empty()) gossip_at_ = std::min(gossip_at_, now + options_.gossip_interval);
}

void Gossip::Core::depart(Instant now, MemberState how, Outbox& out) {
    Member me = table_.self();
    if (me.state == MemberState::left || me.state == how) return;
    me.state = how;
    // Nothing of this epoch may come after a farewell; what stops may still have to refute.
    me.incarnation = how == MemberState::left ? wire::kFinalIncarnation : me.incarnation + 1;
    table_.put(std::move(me));
    probe_at_ = sync_at_ = dead_at_ = links_at_ = Instant::never();
    prober_.probes.clear();
    joiner_.stop();
    spread_self(now);
    tell_neighbours(out);
}

bool Gossip::Core::departed() const {
    const MemberState state = table_.self().state;
    return state == MemberState::left || state == MemberState::stopping;
}

Instant Gossip::Core::next_deadline() const {
    if (!started_) return Instant::never();
    const Instant expiry = expiry_.empty() ? Instant::never() : expiry_.begin()->first;
    return std::min({probe_at_, gossip_at_, links_at_, sync_at_, dead_at_, expiry,
                     prober_.next_deadline(), suspicions_.next_deadline(), joiner_.next_deadline()});
}

void Gossip::Core::on_deadline(Instant now, Outbox& out) {
    const Instant due = next_deadline();
    if (due > now) return;
    if (now - due > options_.slept_after) {
        // Stopped, starved or suspended: the answers may be waiting unread, so nobody is to blame.
        prober_.postpone(now - due);
        suspicions_.postpone(now - due);
        health_.add(1);
    }
    probes_overdue(now, out);
    for (const NodeId& id : suspicions_.expired(now)) accuse(now, id, MemberState::dead, out);
    if (probe_at_ <= now) probe_turn(now, out);
    if (gossip_at_ <= now) gossip_turn(now, out);
    if (sync_at_ <= now) sync_turn(now, out);
    if (joiner_.next_deadline() <= now) join_turn(now, out);
    if (dead_at_ <= now) dead_turn(now, out);
    if (links_at_ <= now) links_turn(now, out);
    expire(now, out);
}

/// What a kind of message does once its sender's own record and the claims on it were heard.
struct Gossip::Core::Receive {
    Core& core;
    Instant now;
    NodeId from;
    Outbox& out;

    void operator()(const wire::Ping& m) { core.on_ping(from, m, out); }
    void operator()(const wire::Ack& m) { core.on_ack(now, from, m.sequence, out); }
    void operator()(const wire::PingRequest& m) { core.on_ping_request(now, from, m, out); }
    void operator()(const wire::Nack& m) { core.on_nack(from, m.sequence); }
    void operator()(const wire::Updates&) {}
    void operator()(const wire::SyncDigest& m) { core.on_sync_digest(now, from, m, out); }
    void operator()(const wire::SyncBuckets& m) { core.on_sync_buckets(now, from, m, out); }
    void operator()(const wire::Join& m) { core.on_join(now, from, m, out); }
    void operator()(const wire::JoinReply& m) { core.on_join_reply(now, from, m, out); }
};

namespace {

struct SelfOf {
    const wire::Claim* operator()(const wire::Ping& m) { return &m.self; }
    const wire::Claim* operator()(const wire::Join& m) { return &m.self; }
    const wire::Claim* operator()(const wire::JoinReply& m) { return &m.self; }
    template <class Other>
    const wire::Claim* operator()(const Other&) { return nullptr; }
};

}  // namespace

void Gossip::Core::on_message(Instant now, NodeId from, const wire::GossipMessage& message,
                              Outbox& out) {
    if (!started_ || !from.known() || from == table_.self().id) return;
    told_sender_ = false;
    if (const wire::Claim* self = std::visit(SelfOf{}, message.body)) {
        if (self->subject.id != from || !self->first_hand() || !self->full()) {
            warn(now, "member " + from.brief() + " sent the record of " + self->subject.id.brief() +
                          " as its own; the message was dropped", out);
            return;
        }
        apply(now, from, *self, Source::first_hand, out);
    }
    apply_all(now, from, message.updates, Source::relayed, out);
    std::visit(Receive{*this, now, from, out}, message.body);
}

void Gossip::Core::send_message(NodeId to, const Endpoint& address, wire::GossipMessage message,
                                Outbox& out) {
    if (const Member* member = table_.find(to)) {
        std::size_t used = wire::body_size(message);
        NodeId not_about;
        // Whoever is taken for less than alive hears it first, and can refute at once.
        if (member->state != MemberState::alive && member->state != MemberState::stopping) {
            wire::Claim claim = short_claim(*member, table_.self().id);
            used += wire::claim_size(claim);
            message.updates.push_back(std::move(claim));
            not_about = to;
        }
        if (used < options_.frame_budget) {
            const unsigned limit = transmit_limit(options_.retransmit_mult, table_.live());
            for (wire::Claim& claim :
                 broadcasts_.take(options_.frame_budget - used, limit, not_about)) {
                message.updates.push_back(std::move(claim));
            }
        }
    }
    out.emplace_back(Send{to, address, std::move(message)});
}

void Gossip::Core::warn(Instant now, std::string text, Outbox& out) {
    const auto said = warned_.find(text);
    if (said != warned_.end() && now < said->second + options_.warn_every) return;
    if (warned_.size() >= kWarningsKept) warned_.clear();
    warned_[text] = now;
    out.emplace_back(Warn{std::move(text)});
}

wire::Claim Gossip::Core::self_claim() const { return {table_.self(), table_.self().id}; }

void Gossip::Core::spread(wire::Claim claim, Instant now) {
    broadcasts_.add(std::move(claim));
    if (gossip_at_ == Instant::never()) gossip_at_ = now + options_.gossip_interval;
}

void Gossip::Core::spread_self(Instant now) { spread(self_claim(), now); }

void Gossip::Core::tell_neighbours(Outbox& out) {
    for (const NodeId& id : links_) {
        const Member* member = table_.find(id);
        if (member == nullptr || !member->reachable()) continue;
        send_message(id, member->gossip, {wire::Updates{}, {}}, out);
    }
}

void Gossip::Core::gossip_turn(Instant now, Outbox& out) {
    gossip_at_ = Instant::never();
    if (table_.reachable().size() == 0) {
        broadcasts_.clear();  // nobody to tell; whoever comes asks
        return;
    }
    std::vector<NodeId> view = links_;
    for (const NodeId& id : warm_) view.push_back(id);
    std::erase_if(view, [&](const NodeId& id) {
        const Member* member = table_.find(id);
        return member == nullptr || !member->reachable();
    });
    if (view.empty()) view = table_.reachable().pick(rng_, options_.gossip_fanout, [](const NodeId&) {
        return true;
    });
    std::sort(view.begin(), view.end());
    view.erase(std::unique(view.begin(), view.end()), view.end());
    rng_.shuffle(view);
    for (std::size_t i = 0; i < view.size() && i < options_.gossip_fanout; ++i) {
        if (broadcasts_.empty()) break;
        send_message(view[i], table_.find(view[i])->gossip, {wire::Updates{}, {}}, out);
    }
    if (!broadcasts_.empty()) gossip_at_ = now + options_.gossip_interval;
}

void Gossip::Core::links_turn(Instant, Outbox& out) {
    links_at_ = Instant::never();
    links_dirty_ = false;
    std::vector<NodeId> wanted = wanted_links(table_, options_.rings);
    if (wanted == links_) return;
    links_ = std::move(wanted);
    out.emplace_back(KeepLinks{links_});
}

Instant Gossip::Core::expiry_of(const Member& member) const {
    switch (member.state) {
        case MemberState::stopping: return member.state_since + options_.stopping_for;
        case MemberState::dead:
        case MemberState::left: return member.state_since + options_.dead_for;
        default: return Instant::never();
    }
}

void Gossip::Core::store(Member member) {
    const NodeId id = member.id;
    const Member* old = table_.find(id);
    const bool was = old != nullptr && old->reachable();
    const bool zone_changed = old != nullptr && old->zone != member.zone;
    if (old != nullptr) expiry_.erase({expiry_of(*old), id});
    const Instant end = expiry_of(member);
    if (end != Instant::never()) expiry_.emplace(end, id);
    const bool is = member.reachable();
    if (is) {
        prober_.ring.add(id, rng_);
    } else {
        prober_.ring.remove(id);
    }
    const Instant since = member.state_since;
    table_.put(std::move(member));
    if (was == is && !zone_changed) return;
    links_dirty_ = true;
    if (!departed()) links_at_ = std::min(links_at_, since + options_.links_settle);
    if (was && table_.reachable().size() == 0 && !departed()) joiner_.begin(since, rng_);
}

void Gossip::Core::expire(Instant now, Outbox& out) {
    while (!expiry_.empty() && expiry_.begin()->first <= now) {
        const NodeId id = expiry_.begin()->second;
        if (table_.find(id)->state == MemberState::stopping) {
            accuse(now, id, MemberState::dead, out);
        } else {
            forget(id, out);
        }
    }
}

std::optional<Duration> Gossip::Core::rtt(NodeId id) const {
    const auto found = table_.entries().find(id);
    if (found == table_.entries().end()) return std::nullopt;
    return found->second.rtt;
}

std::optional<std::string> Gossip::Core::broken_invariant() const {
    if (!table_.consistent()) return "the table's sums differ from a recount";
    if (table_.size() > options_.members_max) return "more members than the limit";
    if (table_.self().state == MemberState::suspect || table_.self().state == MemberState::dead) {
        return "this node takes itself for dead";
    }
    if (prober_.ring.size() != table_.reachable().size()) return "the probe ring misses somebody";
    if (prober_.forwards.size() > options_.forwards_max) return "too many probes for others";
    std::size_t expiring = 0;
    for (const auto& [id, entry] : table_.entries()) {
        if (id == table_.self().id) continue;
        const Member& m = entry.member;
        if (suspicions_.has(id) != (m.state == MemberState::suspect)) {
            return "a suspect without a clock, or a clock without a suspect";
        }
        if (expiry_of(m) != Instant::never()) {
            ++expiring;
            if (!expiry_.contains({expiry_of(m), id})) return "a member that never expires";
        }
    }
    if (expiring != expiry_.size()) return "the expiry of a member that is gone";
    if (!broadcasts_.empty() && started_ && gossip_at_ == Instant::never()) {
        return "news that nobody will tell";
    }
    return std::nullopt;
}

}  // namespace fastreg::gossip
