// One gossip core on a table top: the test plays all the others and holds the clock.
#pragma once

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "tests/gossip/mesh_harness.h"

namespace fastreg::gossip::test {

/// A whole record of node n, as it would tell it itself.
inline wire::Claim record(std::size_t n, BootEpoch epoch = 1, std::uint64_t incarnation = 0,
                          MemberState state = MemberState::alive) {
    const Self self = self_of(n, epoch);
    Member m;
    m.id = self.id;
    m.boot_epoch = epoch;
    m.incarnation = incarnation;
    m.state = state;
    m.name = self.name;
    m.zone = self.zone;
    m.gossip = self.gossip;
    m.transfer = self.transfer;
    m.http = self.http;
    return {m, self.id};
}

/// What `accuser` says of node n, short.
inline wire::Claim claim(std::size_t n, std::size_t accuser, MemberState state, BootEpoch epoch = 1,
                         std::uint64_t incarnation = 0) {
    wire::Claim c;
    c.subject.id = id_of(n);
    c.subject.boot_epoch = epoch;
    c.subject.incarnation = incarnation;
    c.subject.state = state;
    c.from = id_of(accuser);
    return c;
}

struct Bench {
    Instant now{1'000'000'000};
    Outbox out;
    Gossip core;

    explicit Bench(Options options = {}, BootEpoch epoch = 1)
        : core(self_of(0, epoch), options, Rng(1)) {
        core.start(now, {}, {}, out);
    }

    /// Node n says it over its own link.
    template <class Body>
    void from(std::size_t n, Body body, std::vector<wire::Claim> updates = {}) {
        core.on_message(now, id_of(n), {std::move(body), std::move(updates)}, out);
    }
    void told(std::size_t n, wire::Claim c) { from(n, wire::Updates{}, {std::move(c)}); }
    void meet(std::size_t n) { from(n, wire::Join{record(n), 0}); }
    /// Lets time pass, deadline by deadline.
    void pass(Duration span) {
        const Instant end = now + span;
        while (core.next_deadline() <= end) {
            now = std::max(now, core.next_deadline());
            core.on_deadline(now, out);
        }
        now = end;
    }
    [[nodiscard]] std::optional<MemberState> state(std::size_t n) const {
        const Member* m = core.find(id_of(n));
        return m == nullptr ? std::nullopt : std::optional(m->state);
    }
    /// The actions of one kind since the last call of clear().
    template <class Kind>
    [[nodiscard]] std::vector<Kind> all() const {
        std::vector<Kind> kinds;
        for (const Action& action : out) {
            if (const auto* kind = std::get_if<Kind>(&action)) kinds.push_back(*kind);
        }
        return kinds;
    }
    /// Bodies of one kind sent, with whom they went to.
    template <class Body>
    [[nodiscard]] std::vector<std::pair<NodeId, Body>> sent() const {
        std::vector<std::pair<NodeId, Body>> bodies;
        for (const Send& send : all<Send>()) {
            if (const auto* body = std::get_if<Body>(&send.message.body)) {
                bodies.emplace_back(send.to, *body);
            }
        }
        return bodies;
    }
    /// Whether anything sent said this of node n.
    [[nodiscard]] bool said(std::size_t n, MemberState state) const {
        for (const Send& send : all<Send>()) {
            for (const wire::Claim& c : send.message.updates) {
                if (c.subject.id == id_of(n) && c.subject.state == state) return true;
            }
        }
        return false;
    }
    void clear() { out.clear(); }
};

}  // namespace fastreg::gossip::test
