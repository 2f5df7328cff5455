// A virtual network of one room's cores for tests: virtual time, delays, cuts, restarts. Every
// message goes through its wire form. Frames of one pair arrive in order, as on a TCP link.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/hash.h"
#include "base/member.h"
#include "base/random.h"
#include "wire/frame.h"

namespace fastreg::test {

inline NodeId node_id(std::uint64_t n) {
    NodeId id;
    const auto digest = digest_of(HashAlg::sha256, as_bytes("node " + std::to_string(n)));
    std::copy_n(digest.value.begin(), id.bytes.size(), id.bytes.begin());
    return id;
}

/// `More` is what the room's tests keep of a node beside its core. A room starts its cores, and
/// says how they are told of deadlines and frames and what becomes of their actions.
template <class Core, class More, class Action>
class VirtualNet {
  public:
    using Outbox = std::vector<Action>;
    struct Node : More {
        Member member;
        std::unique_ptr<Core> core;
        bool up = false;
    };

    explicit VirtualNet(std::uint64_t seed) : rng(seed) {}
    virtual ~VirtualNet() = default;

    Rng rng;
    Instant now{};
    std::map<NodeId, Node> nodes;
    std::set<std::pair<NodeId, NodeId>> cut;  // directed
    std::set<NodeId> silent;  // takes frames and never answers
    double loss = 0;  // of a frame; the sender learns of it as a broken link
    std::uint64_t frames = 0;

    Node& at(std::uint64_t n) { return nodes.at(node_id(n)); }

    /// The process is gone; nobody has noticed yet.
    void kill(std::uint64_t n) {
        at(n).up = false;
        at(n).core.reset();
    }
    void declare(std::uint64_t n, MemberState state) {
        auto& member = at(n).member;
        member.state = state;
        member.state_since = now;
        tell(member);
    }
    void tell(const Member& member) {
        for (const auto& [id, node] : nodes) {
            if (node.up) inform(id, member);
        }
    }
    void inform(const NodeId& who, const Member& member) {
        act(who, [&](Node& node, Outbox& out) { node.core->on_member(now, member, out); });
    }
    void run_for(Duration span) {
        const auto end = now + span;
        while (step(end)) {
        }
        now = end;
    }

  protected:
    using Event = std::function<void(Node&, Outbox&)>;

    virtual void on_deadline(Node& node, Outbox& out) = 0;
    virtual void on_frame(Node& node, const NodeId& from, const wire::Frame& frame,
                          Outbox& out) = 0;
    virtual void on_action(const NodeId& from, Action& action) = 0;
    /// Something happened to a node, and its actions are done.
    virtual void on_change(Node&) {}

    /// The node's next life, without a core yet.
    Node& boot(std::uint64_t n) {
        auto& node = nodes[node_id(n)];
        node.member.id = node_id(n);
        node.member.name = "n" + std::to_string(n);
        ++node.member.boot_epoch;
        node.member.state = MemberState::alive;
        node.member.state_since = now;
        node.up = true;
        return node;
    }
    /// Lets `event` happen to a node now, and does what its core wants done then.
    void act(const NodeId& who, const Event& event) {
        Outbox out;
        event(nodes.at(who), out);
        for (auto& action : out) on_action(who, action);
        on_change(nodes.at(who));
    }
    /// Lets `event` happen to a node at `when`, if it lives until then.
    void schedule(Instant when, const NodeId& who, Event event) {
        queue_.emplace(when, Due{who, nodes.at(who).member.boot_epoch, std::move(event)});
    }
    Duration delay() { return 1ms + Duration(static_cast<std::int64_t>(rng.below(4'000'000))); }

    void post(const NodeId& from, const NodeId& to, wire::Frame frame) {
        REQUIRE(to != from);
        REQUIRE(frame.body.size() <= wire::kFrameBodyMax);
        ++frames;
        const auto target = nodes.find(to);
        const bool lost = target == nodes.end() || !target->second.up || cut.contains({from, to}) ||
                          (loss > 0 && rng.chance(loss));
        auto due = now + delay();
        if (lost) {
            schedule(due, from, [this, to](Node& node, Outbox& out) {
                node.core->on_unreachable(now, to, out);
            });
            return;
        }
        auto& last = last_[{from, to}];
        due = std::max(due, last + 1ns);
        last = due;
        schedule(due, to, [this, from, frame = std::move(frame)](Node& node, Outbox& out) {
            if (!silent.contains(node.member.id)) on_frame(node, from, frame, out);
        });
    }

    /// The next thing that happens before `end`; false when there is none.
    bool step(Instant end) {
        Instant next = queue_.empty() ? Instant::never() : queue_.begin()->first;
        std::optional<NodeId> timer;
        for (const auto& [id, node] : nodes) {
            if (!node.up) continue;
            const auto due = std::max(node.core->next_deadline(), now);
            if (due < next) {
                next = due;
                timer = id;
            }
        }
        if (next > end) {
            now = end;
            return false;
        }
        now = std::max(now, next);
        if (timer) {
            act(*timer, [&](Node& node, Outbox& out) { on_deadline(node, out); });
            return true;
        }
        const auto due = std::move(queue_.begin()->second);
        queue_.erase(queue_.begin());
        const auto& node = nodes.at(due.who);
        if (node.up && node.member.boot_epoch == due.epoch) act(due.who, due.event);
        return true;
    }

  private:
    struct Due {
        NodeId who;
        BootEpoch epoch = 0;
        Event event;
    };
    std::multimap<Instant, Due> queue_;
    std::map<std::pair<NodeId, NodeId>, Instant> last_;
};

}  // namespace fastreg::test
