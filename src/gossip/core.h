// The inside of Gossip: one table and the timers round it. Each .cc holds one concern: core.cc life and
// time, claims.cc what is believed, probing.cc who answers, joining.cc seeds and anti-entropy.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gossip/broadcasts.h"
#include "gossip/gossip.h"
#include "gossip/joiner.h"
#include "gossip/local_health.h"
#include "gossip/prober.h"
#include "gossip/suspicion.h"
#include "gossip/table.h"

namespace fastreg::gossip {

/// So many a second, then no more until the next.
class RateLimit {
  public:
    explicit RateLimit(std::size_t per_second) : per_second_(per_second) {}
    [[nodiscard]] bool allow(Instant now);

  private:
    std::size_t per_second_;
    std::size_t used_ = 0;
    Instant window_{0};
};

class Gossip::Core {
  public:
    Core(Self self, Options options, Rng rng);

    void start(Instant now, const std::vector<Endpoint>& seeds, const std::vector<Member>& last_known,
               Outbox& out);
    void add_seed(Instant now, const Endpoint& seed, Outbox& out);
    void remove_seed(const Endpoint& seed) { joiner_.remove_seed(seed); }
    void set_seeds(const std::vector<Endpoint>& seeds) { joiner_.set_seeds(seeds); }
    void update_self(Instant now, Self self, Outbox& out);
    void renew(Instant now, BootEpoch epoch, Outbox& out);
    void on_message(Instant now, NodeId from, const wire::GossipMessage& message, Outbox& out);
    void on_link_up(Instant now, NodeId peer);
    void on_link_down(NodeId peer) { warm_.erase(peer); }
    void on_send_failed(Instant now, NodeId to, Outbox& out);
    void on_wrong_peer(Instant now, NodeId expected, const Endpoint& address, NodeId found, Outbox& out);
    void depart(Instant now, MemberState how, Outbox& out);
    void on_deadline(Instant now, Outbox& out);
    [[nodiscard]] Instant next_deadline() const;

    [[nodiscard]] const Table& table() const { return table_; }
    [[nodiscard]] std::optional<Duration> rtt(NodeId id) const;
    [[nodiscard]] unsigned local_health() const { return health_.score(); }
    [[nodiscard]] bool quiet() const { return broadcasts_.empty(); }
    [[nodiscard]] std::optional<std::string> broken_invariant() const;

  private:
    /// How a claim came here decides how far it is trusted.
    enum class Source { first_hand, relayed, sync };

    // core.cc
    void send_message(NodeId to, const Endpoint& address, wire::GossipMessage message, Outbox& out);
    void warn(Instant now, std::string text, Outbox& out);
    void spread(wire::Claim claim, Instant now);
    void spread_self(Instant now);
    void tell_neighbours(Outbox& out);
    void gossip_turn(Instant now, Outbox& out);
    void links_turn(Instant now, Outbox& out);
    void expire(Instant now, Outbox& out);
    /// Puts the member into the table with its timers.
    void store(Member member);
    [[nodiscard]] Instant expiry_of(const Member& member) const;
    [[nodiscard]] wire::Claim self_claim() const;
    [[nodiscard]] bool departed() const;

    // claims.cc
    void apply(Instant now, NodeId peer, const wire::Claim& claim, Source source, Outbox& out);
    void apply_all(Instant now, NodeId peer, const std::vector<wire::Claim>& claims, Source source,
                   Outbox& out);
    void learn(Instant now, const wire::Claim& claim, Source source, Outbox& out);
    void believe(Instant now, const wire::Claim& claim, Source source, Outbox& out);
    void same_again(Instant now, NodeId peer, const wire::Claim& claim, Source source, Outbox& out);
    [[nodiscard]] bool plausible(const wire::Claim& claim, const Member& known, Source source) const;
    void on_claim_about_self(Instant now, NodeId peer, const wire::Claim& claim, Outbox& out);
    void refute(Instant now, NodeId peer, const wire::Claim& claim, Outbox& out);
    /// False when it was said lately.
    bool conflict(Instant now, const wire::Claim& claim, std::string why, Outbox& out);
    void accuse(Instant now, NodeId id, MemberState state, Outbox& out);
    void check_address(Instant now, NodeId newcomer, bool news, Outbox& out);
    void check_own_address(Instant now, NodeId other, Source source, Outbox& out);
    void replaced(Instant now, NodeId old, NodeId by, Outbox& out);
    [[nodiscard]] bool make_room(Instant now, Outbox& out);
    void forget(NodeId id, Outbox& out);

    // probing.cc
    void probe_turn(Instant now, Outbox& out);
    void probe(Instant now, NodeId target, NodeId replaced_by, Outbox& out);
    void ask_helpers(Instant now, RequestId sequence, Outbox& out);
    void probe_failed(Instant now, RequestId sequence, Outbox& out);
    void probes_overdue(Instant now, Outbox& out);
    void on_ping(NodeId from, const wire::Ping& ping, Outbox& out);
    void on_ack(Instant now, NodeId from, RequestId sequence, Outbox& out);
    void on_ping_request(Instant now, NodeId from, const wire::PingRequest& request, Outbox& out);
    void on_nack(NodeId from, RequestId sequence);

    // joining.cc
    void join_turn(Instant now, Outbox& out);
    void send_join(NodeId to, const Endpoint& address, bool all, Outbox& out);
    void dead_turn(Instant now, Outbox& out);
    void sync_turn(Instant now, Outbox& out);
    void on_join(Instant now, NodeId from, const wire::Join& join, Outbox& out);
    void on_join_reply(Instant now, NodeId from, const wire::JoinReply& reply, Outbox& out);
    void on_sync_digest(Instant now, NodeId from, const wire::SyncDigest& digest, Outbox& out);
    void on_sync_buckets(Instant now, NodeId from, const wire::SyncBuckets& theirs, Outbox& out);

    Options options_;
    Rng rng_;
    Table table_;
    Broadcasts broadcasts_;
    Suspicions suspicions_;
    Prober prober_;
    Joiner joiner_;
    LocalHealth health_;
    std::set<NodeId> warm_;         // links that are up
    std::vector<NodeId> links_;     // as last told by KeepLinks
    bool links_dirty_ = false;
    bool told_sender_ = false;      // the refutation went straight back during this message
    std::set<std::pair<Instant, NodeId>> expiry_;  // stopping -> dead, dead and left -> forgotten
    std::map<std::string, Instant> warned_;
    Instant conflict_at_{-1};
    bool started_ = false;

    Instant probe_at_ = Instant::never();
    Instant gossip_at_ = Instant::never();
    Instant links_at_ = Instant::never();
    Instant sync_at_ = Instant::never();
    Instant dead_at_ = Instant::never();
    Instant fast_sync_until_{-1};
    Instant joining_until_{-1};     // what is learned now was told to all by others
    RateLimit join_replies_;
    RateLimit digest_answers_{32};

    struct Receive;
};

}  // namespace fastreg::gossip
