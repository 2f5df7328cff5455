#include "gossip/gossip.h"

#include "gossip/core.h"

namespace fastreg::gossip {

Gossip::Gossip(Self self, Options options, Rng rng)
    : core_(std::make_unique<Core>(std::move(self), options, rng)) {}
Gossip::~Gossip() = default;
Gossip::Gossip(Gossip&&) noexcept = default;
Gossip& Gossip::operator=(Gossip&&) noexcept = default;

void Gossip::start(Instant now, const std::vector<Endpoint>& seeds,
                   const std::vector<Member>& last_known, Outbox& out) {
    core_->start(now, seeds, last_known, out);
}
void Gossip::add_seed(Instant now, const Endpoint& seed, Outbox& out) {
    core_->add_seed(now, seed, out);
}
void Gossip::remove_seed(const Endpoint& seed) { core_->remove_seed(seed); }

void Gossip::set_seeds(const std::vector<Endpoint>& seeds) { core_->set_seeds(seeds); }
void Gossip::update_self(Instant now, Self self, Outbox& out) {
    core_->update_self(now, std::move(self), out);
}
void Gossip::renew(Instant now, BootEpoch epoch, Outbox& out) { core_->renew(now, epoch, out); }

void Gossip::on_message(Instant now, NodeId from, const wire::GossipMessage& message, Outbox& out) {
    core_->on_message(now, from, message, out);
}
void Gossip::on_link_up(Instant now, NodeId peer, Outbox&) { core_->on_link_up(now, peer); }
void Gossip::on_link_down(Instant, NodeId peer, Outbox&) { core_->on_link_down(peer); }
void Gossip::on_send_failed(Instant now, NodeId to, const Endpoint&, bool, Outbox& out) {
    core_->on_send_failed(now, to, out);
}
void Gossip::on_wrong_peer(Instant now, NodeId expected, const Endpoint& address, NodeId found,
                           Outbox& out) {
    core_->on_wrong_peer(now, expected, address, found, out);
}

void Gossip::stop(Instant now, Outbox& out) { core_->depart(now, MemberState::stopping, out); }
void Gossip::leave(Instant now, Outbox& out) { core_->depart(now, MemberState::left, out); }

void Gossip::on_deadline(Instant now, Outbox& out) { core_->on_deadline(now, out); }
Instant Gossip::next_deadline() const { return core_->next_deadline(); }

std::vector<Member> Gossip::members() const {
    std::vector<Member> members;
    members.reserve(core_->table().size());
    for (const auto& [id, entry] : core_->table().entries()) {
        if (id != self().id) members.push_back(entry.member);
    }
    return members;
}
const Member* Gossip::find(NodeId id) const { return core_->table().find(id); }
const Member& Gossip::self() const { return core_->table().self(); }
Counts Gossip::counts() const { return core_->table().counts(); }
std::optional<Duration> Gossip::rtt(NodeId id) const { return core_->rtt(id); }
unsigned Gossip::local_health() const { return core_->local_health(); }
bool Gossip::quiet() const { return core_->quiet(); }
std::optional<std::string> Gossip::broken_invariant() const { return core_->broken_invariant(); }

}  // namespace fastreg::gossip
