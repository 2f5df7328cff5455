// Who is in the mesh: SWIM with Lifeguard over frames (docs/PROTOCOL.md, "Membership"). Told the time and
// messages, it answers with messages and news. A value of the loop thread; never re-entered.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/endpoint.h"
#include "base/ids.h"
#include "base/instant.h"
#include "base/member.h"
#include "base/random.h"
#include "gossip/options.h"
#include "wire/gossip.h"

namespace fastreg::gossip {

/// This node, as it tells the others. A name or zone over the limits of wire/gossip.h is cut.
struct Self {
    NodeId id;
    BootEpoch boot_epoch = 1;
    std::string name;
    std::string zone;
    Endpoint gossip;  // as others reach it; never ":port"
    Endpoint transfer;
    Endpoint rdma;
    Endpoint http;
};

/// A zone as members see it: no blanks or control characters, at most wire::kMemberZoneMax bytes.
[[nodiscard]] std::string zone_as_seen(std::string zone);

/// Send the message over the link to `to`, dialling `address` when there is none. Where `to` is known, only
/// a peer whose handshake proved that id may get it: anyone else is told to Gossip::on_wrong_peer. Where
/// it is not (a seed), `address` may hold a DNS name and whoever answers gets it. Failing is said
/// by Gossip::on_send_failed; an open connection proves nothing.
struct Send {
    NodeId to;
    Endpoint address;
    wire::GossipMessage message;
};
/// A member is new or its state, epoch or an address changed; `before` is empty for a new one. Never self.
struct MemberChanged {
    Member member;
    std::optional<MemberState> before;
};
/// A dead or left member was forgotten after Options::dead_for.
struct MemberForgotten {
    NodeId id;
};
/// The links to hold open from now on (about 10, and symmetric once the tables agree); all others
/// may be closed when idle.
struct KeepLinks {
    std::vector<NodeId> members;
};
/// Somebody took this node for less than it is, and was told better.
struct Refuted {
    MemberState accused_of;
    NodeId by;
    std::uint64_t incarnation;
};
/// Another process speaks under this node's id (a cloned data directory), or the epoch was spent or set
/// back (a restored one). The driver logs it, and may persist a higher epoch and call Gossip::renew.
struct IdentityConflict {
    Endpoint other;  // empty: unknown
    BootEpoch seen_epoch;
    std::string why;
};
/// A member answered a probe over an open link, `took` after it was sent.
struct ProbeAnswered {
    NodeId by;
    Duration took{};
};
/// For the log; each text at most once in Options::warn_every.
struct Warn {
    std::string text;
};

using Action =
    std::variant<Send, MemberChanged, MemberForgotten, KeepLinks, Refuted, IdentityConflict,
                 ProbeAnswered, Warn>;
using Outbox = std::vector<Action>;

/// How many members are in each state, self not counted.
struct Counts {
    std::size_t alive = 0, suspect = 0, stopping = 0, dead = 0, left = 0;
};

class Gossip {
  public:
    Gossip(Self self, Options options, Rng rng);
    ~Gossip();
    Gossip(Gossip&&) noexcept;
    Gossip& operator=(Gossip&&) noexcept;

    /// Once. `last_known` are peers of an earlier run: tried like seeds, believed only when they answer.
    void start(Instant now, const std::vector<Endpoint>& seeds, const std::vector<Member>& last_known,
               Outbox& out);
    /// A join by hand or a new seed of the configuration: dialled now and kept.
    void add_seed(Instant now, const Endpoint& seed, Outbox& out);
    /// Takes back add_seed: dialled no more.
    void remove_seed(const Endpoint& seed);
    /// Replaces the seeds (SIGHUP); dialled at the next turn.
    void set_seeds(const std::vector<Endpoint>& seeds);
    /// New label, zone or addresses: spread under a higher incarnation. Id and epoch must be the same.
    void update_self(Instant now, Self self, Outbox& out);
    /// Goes on under a higher boot epoch, after an IdentityConflict.
    void renew(Instant now, BootEpoch epoch, Outbox& out);

    /// `from` is what the link's handshake proved; never a claim of the message.
    void on_message(Instant now, NodeId from, const wire::GossipMessage& message, Outbox& out);
    /// A handshake with `peer` ended well or its link closed, whoever dialled.
    void on_link_up(Instant now, NodeId peer, Outbox& out);
    void on_link_down(Instant now, NodeId peer, Outbox& out);
    /// A Send did not go out. `refused`: the host answers but nobody listens there.
    void on_send_failed(Instant now, NodeId to, const Endpoint& address, bool refused, Outbox& out);
    /// Dialled `expected` at `address` and the handshake proved `found` instead.
    void on_wrong_peer(Instant now, NodeId expected, const Endpoint& address, NodeId found, Outbox& out);

    /// stop (SIGTERM): comes back soon. leave (`fastreg leave`): gone for good. See quiet().
    void stop(Instant now, Outbox& out);
    void leave(Instant now, Outbox& out);

    void on_deadline(Instant now, Outbox& out);
    [[nodiscard]] Instant next_deadline() const;

    /// All but self, in the order of their ids; dead and left ones too, for 24 h.
    [[nodiscard]] std::vector<Member> members() const;
    /// nullptr for an unknown id. Valid until the next event. Self is found, too.
    [[nodiscard]] const Member* find(NodeId id) const;
    [[nodiscard]] const Member& self() const;
    [[nodiscard]] Counts counts() const;
    /// Smoothed round trip of probes over open links; nothing before the first one.
    [[nodiscard]] std::optional<Duration> rtt(NodeId id) const;
    /// 0 (well) .. Options::local_health_max: how much this node distrusts its own judgement.
    [[nodiscard]] unsigned local_health() const;
    /// True when nothing is left to spread: after leave() or stop() the process may end.
    [[nodiscard]] bool quiet() const;
    /// A sentence when the parts of the core contradict each other; for tests.
    [[nodiscard]] std::optional<std::string> broken_invariant() const;

  private:
    class Core;
    std::unique_ptr<Core> core_;
};

}  // namespace fastreg::gossip
