// A small mesh for the tests: many gossip cores, one virtual clock, and a network that delays, loses,
// refuses, partitions and forgets, all from one seed. Not the simulator of tests/sim: only gossip is here.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <set>
#include <string>
#include <vector>

#include "gossip/gossip.h"

namespace fastreg::gossip::test {

struct NetOptions {
    Duration latency_min = 200us;  // one way
    Duration latency_max = 1ms;
    double loss = 0;               // of a message; a real link would break instead
    Duration dial_timeout = 2s;    // to a host that does not answer
    Duration link_timeout = 5s;    // until a link to such a host is given up
    std::size_t idle_links = 64;   // a node holds, besides those it was told to keep
    bool decode = false;           // every message goes through the wire's own bytes
};

inline NodeId id_of(std::uint64_t n) {
    NodeId id;
    Rng rng(n * 2654435761U + 17);
    for (std::size_t i = 0; i < 16; ++i) id.bytes[i] = std::byte(rng.next() & 0xffU);
    return id;
}

inline Endpoint address_of(std::size_t n) {
    return {"10." + std::to_string(n >> 16U) + "." + std::to_string((n >> 8U) & 255U) + "." +
                std::to_string(n & 255U), 7946};
}

inline Self self_of(std::size_t n, BootEpoch epoch = 1) {
    const Endpoint at = address_of(n);
    return {id_of(n), epoch, "node-" + std::to_string(n), n % 3 == 0 ? "a" : "b", at,
            {at.host, 7947}, {at.host, 7948}, {at.host, 5000}};
}

class Mesh {
  public:
    struct Node {
        std::unique_ptr<Gossip> core;
        Endpoint at;
        bool up = false;
        bool silent = false;  // the host is gone: nothing answers, nothing refuses
        int side = 0;         // nodes on different sides do not hear each other
        Instant paused_until{-1};
        Instant wake = Instant::never();
        std::set<std::size_t> links;
        std::deque<std::size_t> recent;  // links by age
        std::set<std::size_t> kept;
        std::vector<NodeId> keep;
        std::uint64_t bytes_out = 0, messages_out = 0;
        std::vector<Refuted> refuted;
        std::vector<IdentityConflict> conflicts;
        std::vector<std::string> warnings;
    };
    struct Change {
        Instant at;
        std::size_t observer;
        Member member;
        std::optional<MemberState> before;
    };

    explicit Mesh(std::uint64_t seed, NetOptions net = {}, Options options = {})
        : rng_(seed), net_(net), options_(options) {}

    Instant now{0};
    std::vector<Node> nodes;
    std::vector<Change> deaths;                       // every `dead` or `left`, as observed
    std::function<void(const Change&)> on_change;     // all of them, when somebody wants to know
    std::vector<std::string> broken;                  // invariants, when checked
    bool check = false;
    bool measure = false;  // bytes_out is counted (the wire's own encoder is half of the time)

    /// Adds a process; it joins through `seeds`.
    std::size_t add(Self self, const std::vector<std::size_t>& seeds,
                    const std::vector<Member>& last_known = {}) {
        const std::size_t n = nodes.size();
        nodes.emplace_back();
        boot(n, std::move(self), seeds, last_known);
        return n;
    }
    /// Starts a process at a slot that is down.
    void boot(std::size_t n, Self self, const std::vector<std::size_t>& seeds,
              const std::vector<Member>& last_known = {}) {
        Node& node = nodes[n];
        node.at = self.gossip;
        node.up = true;
        node.silent = false;
        node.wake = Instant::never();
        node.core = std::make_unique<Gossip>(std::move(self), options_, rng_.fork());
        by_address_[node.at] = n;
        std::vector<Endpoint> places;
        for (std::size_t seed : seeds) places.push_back(address_of(seed));
        Outbox out;
        node.core->start(now, places, last_known, out);
        drain(n, out);
    }
    /// `count` nodes, all joining through node 0, then `settle` of virtual time.
    void grow(std::size_t count, Duration settle) {
        for (std::size_t i = 0; i < count; ++i) add(self_of(i), {0});
        run(settle);
    }
    /// The process ends without a word; its host refuses from now on.
    void kill(std::size_t n) { take_down(n, false); }
    /// The host vanishes: nothing answers any more, not even a refusal.
    void unplug(std::size_t n) { take_down(n, true); }
    /// The process does not run for a while; what is sent to it waits.
    void pause(std::size_t n, Duration span) {
        nodes[n].paused_until = now + span;
        schedule(now + span, n, [this, n] { wake(n); });
    }
    template <class Call>
    void tell(std::size_t n, Call call) {
        Outbox out;
        call(*nodes[n].core, out);
        drain(n, out);
    }
    /// Somebody at `from` sends it to node n over a link of its own.
    void inject(std::size_t n, NodeId from, const wire::GossipMessage& message) {
        tell(n, [&](Gossip& core, Outbox& out) { core.on_message(now, from, message, out); });
    }
    void split(const std::function<int(std::size_t)>& side) {
        for (std::size_t n = 0; n < nodes.size(); ++n) nodes[n].side = side(n);
        for (std::size_t n = 0; n < nodes.size(); ++n) {
            for (std::size_t m : std::set<std::size_t>(nodes[n].links)) {
                if (nodes[m].side != nodes[n].side) {
                    schedule(now + net_.link_timeout, n, [this, n, m] { unlink(n, m); });
                }
            }
        }
    }
    void heal() {
        for (Node& node : nodes) node.side = 0;
    }

    void run(Duration span) { run_until(now + span, [] { return false; }); }
    /// Until `done` (asked every 100 ms) or the end; the time it took, or nothing.
    template <class Done>
    std::optional<Duration> run_until(Duration limit, Done done) {
        const Instant begin = now;
        return run_until(now + limit, done) ? std::optional<Duration>(now - begin) : std::nullopt;
    }

    [[nodiscard]] std::optional<MemberState> view(std::size_t observer, std::size_t subject) const {
        const Member* m = nodes[observer].core->find(nodes[subject].core->self().id);
        return m == nullptr ? std::nullopt : std::optional(m->state);
    }
    /// Every running node sees every running node alive.
    [[nodiscard]] bool all_alive() const {
        std::size_t up = 0;
        for (const Node& node : nodes) up += node.up ? 1 : 0;
        return std::all_of(nodes.begin(), nodes.end(), [&](const Node& node) {
            return !node.up || node.core->counts().alive + 1 == up;
        });
    }
    /// Every running node holds `state` of the subject.
    [[nodiscard]] bool all_see(std::size_t subject, MemberState state) const {
        for (std::size_t n = 0; n < nodes.size(); ++n) {
            if (nodes[n].up && n != subject && view(n, subject) != state) return false;
        }
        return true;
    }
    [[nodiscard]] bool warned(std::size_t n, std::string_view part) const {
        const auto& all = nodes[n].warnings;
        return std::any_of(all.begin(), all.end(), [&](const std::string& text) {
            return text.find(part) != std::string::npos;
        });
    }

  private:
    struct Event {
        Instant at;
        std::uint64_t number;
        std::size_t node;
        std::function<void()> run;
        bool operator<(const Event& other) const {
            return std::tie(at, number) > std::tie(other.at, other.number);
        }
    };

    void schedule(Instant at, std::size_t node, std::function<void()> run) {
        events_.push({at, ++number_, node, std::move(run)});
    }

    template <class Done>
    bool run_until(Instant end, Done done) {
        Instant look = now;
        for (;;) {
            if (now >= look) {
                if (done()) return true;
                look = now + 100ms;
            }
            const Instant next = events_.empty() ? Instant::never() : events_.top().at;
            now = std::min({next, look, end});
            if (next > now) {
                if (now >= end) return done();
                continue;
            }
            Event event = events_.top();
            events_.pop();
            Node& node = nodes[event.node];
            if (node.paused_until > now) {
                event.at = node.paused_until;
                event.number = ++number_;
                events_.push(std::move(event));
                continue;
            }
            event.run();
        }
    }

    void take_down(std::size_t n, bool silent) {
        Node& node = nodes[n];
        node.up = false;
        node.silent = silent;
        for (std::size_t m : std::set<std::size_t>(node.links)) {
            // A killed process's host resets its links; a vanished host says nothing.
            schedule(now + (silent ? net_.link_timeout : delay()), m, [this, n, m] { unlink(m, n); });
        }
        node.links.clear();
        node.recent.clear();
        node.kept.clear();
    }

    void wake(std::size_t n) {
        Node& node = nodes[n];
        node.wake = Instant::never();
        if (!node.up) return;
        tell(n, [&](Gossip& core, Outbox& out) { core.on_deadline(now, out); });
    }

    [[nodiscard]] Duration delay() {
        const auto span = static_cast<std::uint64_t>((net_.latency_max - net_.latency_min).count());
        return net_.latency_min + Duration{static_cast<std::int64_t>(rng_.below(span + 1))};
    }

    void link(std::size_t a, std::size_t b) {
        if (a == b || !nodes[a].up || !nodes[b].up || nodes[a].links.contains(b)) return;
        for (auto [x, y] : {std::pair(a, b), std::pair(b, a)}) {
            nodes[x].links.insert(y);
            nodes[x].recent.push_back(y);
            const NodeId peer = nodes[y].core->self().id;
            tell(x, [&](Gossip& core, Outbox& out) { core.on_link_up(now, peer, out); });
        }
        while (nodes[a].recent.size() > net_.idle_links) {
            const std::size_t oldest = nodes[a].recent.front();
            nodes[a].recent.pop_front();
            if (!nodes[a].kept.contains(oldest) && !nodes[oldest].kept.contains(a)) unlink(a, oldest);
        }
    }

    void unlink(std::size_t a, std::size_t b) {
        for (auto [x, y] : {std::pair(a, b), std::pair(b, a)}) {
            if (nodes[x].links.erase(y) == 0 || !nodes[x].up) continue;
            std::erase(nodes[x].recent, y);
            const NodeId peer = nodes[y].core->self().id;
            tell(x, [&](Gossip& core, Outbox& out) { core.on_link_down(now, peer, out); });
        }
    }

    void drain(std::size_t n, Outbox& out) {
        for (Action& action : out) act(n, action);
        Node& node = nodes[n];
        if (check) {
            if (auto why = node.core->broken_invariant()) broken.push_back(*why);
        }
        const Instant next = node.core->next_deadline();
        if (next < node.wake) {
            node.wake = next;
            schedule(std::max(now, next), n, [this, n, next] {
                if (nodes[n].wake == next) wake(n);
            });
        }
    }

    void act(std::size_t n, Action& action) {
        Node& node = nodes[n];
        if (auto* send = std::get_if<Send>(&action)) {
            deliver(n, std::move(*send));
        } else if (auto* changed = std::get_if<MemberChanged>(&action)) {
            const Change change{now, n, changed->member, changed->before};
            const MemberState state = change.member.state;
            if (state == MemberState::dead || state == MemberState::left) deaths.push_back(change);
            if (on_change) on_change(change);
        } else if (auto* keep = std::get_if<KeepLinks>(&action)) {
            node.keep = keep->members;
            node.kept.clear();
            for (const NodeId& id : keep->members) {
                const auto peer = by_address_.find(node.core->find(id)->gossip);
                if (peer == by_address_.end()) continue;
                const std::size_t m = peer->second;
                node.kept.insert(m);
                if (!node.links.contains(m) && nodes[m].side == node.side) {
                    schedule(now + 3 * delay(), n, [this, n, m] { link(n, m); });
                }
            }
        } else if (auto* refuted = std::get_if<Refuted>(&action)) {
            node.refuted.push_back(*refuted);
        } else if (auto* conflict = std::get_if<IdentityConflict>(&action)) {
            node.conflicts.push_back(*conflict);
        } else if (auto* warning = std::get_if<Warn>(&action)) {
            node.warnings.push_back(warning->text);
        }
    }

    void deliver(std::size_t n, Send send) {
        Node& node = nodes[n];
        ++node.messages_out;
        if (measure || net_.decode) {
            const wire::Frame frame = wire::encode(send.message);
            node.bytes_out += frame.body.size() + wire::kFrameHeaderSize;
            if (net_.decode) send.message = wire::decode_gossip(frame).value();
        }
        const auto found = by_address_.find(send.address);
        const std::size_t m = found == by_address_.end() ? nodes.size() : found->second;
        const auto failed = [&](Duration after, bool refused) {
            schedule(now + after, n, [this, n, send_to = send.to, at = send.address, refused] {
                if (!nodes[n].up) return;
                tell(n, [&](Gossip& core, Outbox& out) {
                    core.on_send_failed(now, send_to, at, refused, out);
                });
            });
        };
        if (m == nodes.size()) return failed(2 * delay(), true);
        Node& peer = nodes[m];
        const bool apart = peer.side != node.side || peer.silent;
        const bool warm = node.links.contains(m);
        if (!warm && apart) return failed(net_.dial_timeout, false);
        if (apart) return;  // into a link that is dead and does not know it yet
        if (!peer.up) return failed(2 * delay(), true);
        const NodeId found_id = peer.core->self().id;
        Duration after = delay();
        if (!warm) after += 3 * delay();  // dial and handshake
        if (!warm && rng_.chance(net_.loss)) after += 1s;  // a lost SYN
        if (m == n || (send.to.known() && send.to != found_id)) {
            schedule(now + after, n, [this, n, found_id, to = send.to, at = send.address] {
                tell(n, [&](Gossip& core, Outbox& out) {
                    core.on_wrong_peer(now, to, at, found_id, out);
                });
            });
            return;
        }
        if (!warm) schedule(now + after, n, [this, n, m] { link(n, m); });
        if (rng_.chance(net_.loss)) return;
        const NodeId from = node.core->self().id;
        schedule(now + after, m, [this, m, n, from, found_id, message = std::move(send.message)] {
            Node& receiver = nodes[m];
            if (!receiver.up || receiver.core->self().id != found_id) return;
            if (receiver.side != nodes[n].side) return;
            tell(m, [&](Gossip& core, Outbox& out) { core.on_message(now, from, message, out); });
        });
    }

    Rng rng_;
    NetOptions net_;
    Options options_;
    std::map<Endpoint, std::size_t> by_address_;
    std::priority_queue<Event> events_;
    std::uint64_t number_ = 0;
};

}  // namespace fastreg::gossip::test
