// Who answers: direct probes, probes through helpers, and the judgement at their end.
#include <algorithm>

#include "gossip/core.h"

namespace fastreg::gossip {

void Gossip::Core::probe_turn(Instant now, Outbox& out) {
    probe_at_ = now + health_.scale(options_.probe_interval);
    if (const auto target = prober_.ring.next(rng_)) probe(now, *target, NodeId{}, out);
}

void Gossip::Core::probe(Instant now, NodeId target, NodeId replaced_by, Outbox& out) {
    const Member* member = table_.find(target);
    if (member == nullptr || departed()) return;
    for (auto& [sequence, probe] : prober_.probes) {
        if (probe.target != target) continue;
        if (replaced_by.known()) probe.replaced_by = replaced_by;
        return;
    }
    Probe probe;
    probe.target = target;
    probe.sent = now;
    probe.warm = warm_.contains(target);
    probe.deadline = now + (probe.warm ? options_.warm_timeout : options_.cold_timeout);
    probe.replaced_by = replaced_by;
    const RequestId sequence = prober_.next_sequence();
    prober_.probes.emplace(sequence, std::move(probe));
    send_message(target, member->gossip, {wire::Ping{sequence, target, self_claim()}, {}}, out);
}

void Gossip::Core::ask_helpers(Instant now, RequestId sequence, Outbox& out) {
    Probe& probe = prober_.probes.at(sequence);
    const Member* target = table_.find(probe.target);
    const auto fits = [&](const NodeId& id) {
        return id != probe.target && table_.find(id)->state == MemberState::alive;
    };
    // Helpers with an open link answer without a dial; a few more than wanted are looked at to find them.
    probe.helpers = table_.reachable().pick(rng_, 4 * options_.helpers, fits);
    std::stable_partition(probe.helpers.begin(), probe.helpers.end(),
                          [&](const NodeId& id) { return warm_.contains(id); });
    if (probe.helpers.size() > options_.helpers) probe.helpers.resize(options_.helpers);
    if (probe.helpers.empty()) {
        probe_failed(now, sequence, out);
        return;
    }
    probe.indirect = true;
    const bool all_warm = std::all_of(probe.helpers.begin(), probe.helpers.end(),
                                      [&](const NodeId& id) { return warm_.contains(id); });
    probe.deadline = now + health_.scale(all_warm ? options_.indirect_timeout
                                                  : options_.cold_indirect_timeout);
    const wire::PingRequest request{sequence, probe.target, target->gossip};
    for (const NodeId& helper : std::vector<NodeId>(probe.helpers)) {
        send_message(helper, table_.find(helper)->gossip, {request, {}}, out);
    }
}

void Gossip::Core::probes_overdue(Instant now, Outbox& out) {
    std::vector<RequestId> due;
    for (const auto& [sequence, probe] : prober_.probes) {
        if (probe.deadline <= now) due.push_back(sequence);
    }
    for (const RequestId sequence : due) {
        const Probe& probe = prober_.probes.at(sequence);
        const Member* target = table_.find(probe.target);
        if (target == nullptr || !target->reachable()) {
            prober_.probes.erase(sequence);  // judged by others meanwhile
        } else if (probe.indirect) {
            probe_failed(now, sequence, out);
        } else {
            ask_helpers(now, sequence, out);
        }
    }
    for (auto it = prober_.forwards.begin(); it != prober_.forwards.end();) {
        Forward& forward = it->second;
        if (forward.nack_at <= now) {
            forward.nack_at = Instant::never();
            if (const Member* origin = table_.find(forward.origin)) {
                send_message(origin->id, origin->gossip, {wire::Nack{forward.origin_sequence}, {}}, out);
            }
        }
        it = forward.end <= now ? prober_.forwards.erase(it) : std::next(it);
    }
}

void Gossip::Core::probe_failed(Instant now, RequestId sequence, Outbox& out) {
    const Probe probe = prober_.probes.at(sequence);
    prober_.probes.erase(sequence);
    // A helper that is well says at least "no answer yet": those that do not make this node the suspect.
    const std::size_t missing =
        probe.helpers.empty() ? 1 : probe.helpers.size() - probe.nacks.size();
    health_.add(static_cast<int>(missing));
    if (probe.replaced_by.known()) {
        replaced(now, probe.target, probe.replaced_by, out);
        return;
    }
    accuse(now, probe.target, MemberState::suspect, out);
    const Member* target = table_.find(probe.target);
    if (target->state == MemberState::suspect) {
        send_message(target->id, target->gossip, {wire::Updates{}, {}}, out);
    }
}

void Gossip::Core::on_ping(NodeId from, const wire::Ping& ping, Outbox& out) {
    if (ping.target != table_.self().id) {
        // Somebody looks for a process that listened here before: say who does now.
        wire::GossipMessage message{wire::Updates{}, {}};
        message.updates.push_back(self_claim());
        out.emplace_back(Send{from, ping.self.subject.gossip, std::move(message)});
        return;
    }
    const Member* sender = table_.find(from);
    const Endpoint address = sender == nullptr ? ping.self.subject.gossip : sender->gossip;
    send_message(from, address, {wire::Ack{ping.sequence}, {}}, out);
}

void Gossip::Core::on_ack(Instant now, NodeId from, RequestId sequence, Outbox& out) {
    if (const auto found = prober_.forwards.find(sequence); found != prober_.forwards.end()) {
        const Forward forward = found->second;
        if (forward.target != from) return;
        prober_.forwards.erase(found);
        if (const Member* origin = table_.find(forward.origin)) {
            send_message(origin->id, origin->gossip, {wire::Ack{forward.origin_sequence}, {}}, out);
        }
        return;
    }
    const auto found = prober_.probes.find(sequence);
    if (found == prober_.probes.end()) return;
    const Probe& probe = found->second;
    const bool direct = from == probe.target;
    const auto& helpers = probe.helpers;
    if (!direct && std::find(helpers.begin(), helpers.end(), from) == helpers.end()) return;
    if (direct && probe.warm && now >= probe.sent) {
        std::optional<Duration>& rtt = table_.entry(from)->rtt;
        const Duration sample = now - probe.sent;
        rtt = rtt ? *rtt + (sample - *rtt) / 8 : sample;
        out.emplace_back(ProbeAnswered{from, sample});
    }
    if (probe.replaced_by.known()) {
        warn(now, "members " + probe.target.brief() + " and " + probe.replaced_by.brief() +
                      " both advertise " + table_.find(probe.target)->gossip.str() +
                      "; give each node its own address", out);
    }
    health_.add(-1);
    prober_.probes.erase(found);
}

void Gossip::Core::on_ping_request(Instant now, NodeId from, const wire::PingRequest& request,
                                   Outbox& out) {
    // Only members are dialled, at the address this node knows.
    const Member* target = table_.find(request.target);
    const Member* origin = table_.find(from);
    if (origin == nullptr || departed()) return;
    if (request.target == table_.self().id) {
        send_message(from, origin->gossip, {wire::Ack{request.sequence}, {}}, out);
        return;
    }
    if (target == nullptr || prober_.forwards.size() >= options_.forwards_max) {
        send_message(from, origin->gossip, {wire::Nack{request.sequence}, {}}, out);
        return;
    }
    Forward forward;
    forward.origin = from;
    forward.origin_sequence = request.sequence;
    forward.target = request.target;
    forward.nack_at = now + options_.nack_after;
    forward.end = now + options_.cold_timeout + options_.cold_indirect_timeout;
    const RequestId sequence = prober_.next_sequence();
    prober_.forwards.emplace(sequence, forward);
    send_message(target->id, target->gossip, {wire::Ping{sequence, target->id, self_claim()}, {}}, out);
}

void Gossip::Core::on_nack(NodeId from, RequestId sequence) {
    const auto found = prober_.probes.find(sequence);
    if (found == prober_.probes.end()) return;
    Probe& probe = found->second;
    const bool asked =
        std::find(probe.helpers.begin(), probe.helpers.end(), from) != probe.helpers.end();
    if (asked) probe.nacks.insert(from);
}

void Gossip::Core::on_send_failed(Instant now, NodeId to, Outbox& out) {
    warm_.erase(to);
    std::vector<RequestId> direct;
    for (const auto& [sequence, probe] : prober_.probes) {
        if (probe.target == to && !probe.indirect) direct.push_back(sequence);
    }
    for (const RequestId sequence : direct) {
        const Member* target = table_.find(to);
        if (target == nullptr || !target->reachable()) {
            prober_.probes.erase(sequence);
        } else {
            ask_helpers(now, sequence, out);  // waiting longer would not bring an answer
        }
    }
    for (auto& [sequence, forward] : prober_.forwards) {
        if (forward.target != to || forward.nack_at == Instant::never()) continue;
        forward.nack_at = Instant::never();
        if (const Member* origin = table_.find(forward.origin)) {
            send_message(origin->id, origin->gossip, {wire::Nack{forward.origin_sequence}, {}}, out);
        }
    }
}

void Gossip::Core::on_wrong_peer(Instant now, NodeId expected, const Endpoint& address, NodeId found,
                                 Outbox& out) {
    // A name may lead to somebody else the next time; a number does not.
    const bool numeric = address.host.find_first_not_of("0123456789.") == std::string::npos ||
                         address.host.find(':') != std::string::npos;
    if (found == table_.self().id && numeric) joiner_.skip(address);
    if (!expected.known() || found == expected || expected == table_.self().id) return;
    const Member* old = table_.find(expected);
    if (old != nullptr && old->gossip == address) replaced(now, expected, found, out);
    on_send_failed(now, expected, out);
}

}  // namespace fastreg::gossip
