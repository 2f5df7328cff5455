// A virtual network of directories for tests: virtual time, delays, cuts, restarts. Every message goes
// through its wire form. Frames of one pair arrive in order, as on a TCP link.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "base/hash.h"
#include "directory/directory.h"

namespace fastreg::directory::test {

inline NodeId node_id(std::uint64_t n) {
    NodeId id;
    const auto digest = digest_of(HashAlg::sha256, as_bytes("node " + std::to_string(n)));
    std::copy_n(digest.value.begin(), id.bytes.size(), id.bytes.begin());
    return id;
}
inline Digest blob(std::uint64_t n) {
    return digest_of(HashAlg::sha256, as_bytes("blob " + std::to_string(n)));
}

class Net {
  public:
    struct Node {
        Member member;
        std::unique_ptr<Directory> core;
        bool up = false;
        std::vector<Found> found;
        std::vector<LookupFailed> failed;
    };

    explicit Net(std::uint64_t seed, Options options = {}) : rng(seed), options_(options) {}

    Rng rng;
    Instant now{};
    std::map<NodeId, Node> nodes;
    std::set<std::pair<NodeId, NodeId>> cut;  // directed
    std::set<NodeId> silent;  // takes frames and never answers
    double loss = 0;          // of a frame; the sender learns of it as a broken link
    std::uint64_t frames = 0;

    Node& at(std::uint64_t n) { return nodes.at(node_id(n)); }

    /// Starts a node (again), tells everybody, and tells it of everybody.
    void start(std::uint64_t n, std::string zone = {}) {
        const auto id = node_id(n);
        auto& node = nodes[id];
        node.member.id = id;
        node.member.name = "n" + std::to_string(n);
        if (!zone.empty()) node.member.zone = std::move(zone);
        ++node.member.boot_epoch;
        node.member.state = MemberState::alive;
        node.up = true;
        node.core = std::make_unique<Directory>(id, node.member.boot_epoch, options_, rng.fork());
        for (const auto& [other, known] : nodes) {
            if (known.up || known.member.state != MemberState::left) inform(id, known.member);
        }
        tell(node.member);
    }
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
        auto& node = nodes.at(who);
        Outbox out;
        node.core->on_member(now, member, out);
        drain(who, out);
    }

    void have(std::uint64_t n, const Digest& digest, HolderKind kind, std::uint64_t size = 1000) {
        Outbox out;
        at(n).core->on_have(now, digest, size, kind, out);
        drain(node_id(n), out);
    }
    void gone(std::uint64_t n, const Digest& digest) {
        Outbox out;
        at(n).core->on_gone(now, digest, out);
        drain(node_id(n), out);
    }
    void wrong_hint(std::uint64_t n, const Digest& digest, std::uint64_t holder) {
        Outbox out;
        at(n).core->on_wrong_hint(now, digest, node_id(holder), out);
        drain(node_id(n), out);
    }
    /// Looks up and runs until there is an answer.
    Found look_up(std::uint64_t n, const Digest& digest, Intent intent = Intent::ask) {
        auto& node = at(n);
        node.found.clear();
        node.failed.clear();
        Outbox out;
        node.core->look_up(now, ++lookup_, digest, intent, out);
        drain(node_id(n), out);
        const auto end = now + 2s;
        while (node.found.empty() && node.failed.empty() && now < end) step(end);
        REQUIRE(node.found.size() + node.failed.size() == 1);
        return node.found.empty() ? Found{} : node.found.front();
    }

    void run_for(Duration span) {
        const auto end = now + span;
        while (step(end)) {
        }
        now = end;
    }

  private:
    struct Delivery {
        NodeId from;
        NodeId to;
        std::optional<wire::Frame> frame;  // none: "you could not reach `from`"
        BootEpoch epoch = 0;
    };

    bool step(Instant end) {
        Instant next = queue_.empty() ? Instant::never() : queue_.begin()->first;
        NodeId who;
        bool timer = false;
        for (const auto& [id, node] : nodes) {
            if (!node.up) continue;
            const auto at = std::max(node.core->next_deadline(), now);
            if (at < next) {
                next = at;
                who = id;
                timer = true;
            }
        }
        if (next > end) {
            now = end;
            return false;
        }
        now = std::max(now, next);
        Outbox out;
        if (timer) {
            nodes.at(who).core->on_deadline(now, out);
            drain(who, out);
            return true;
        }
        const auto d = std::move(queue_.begin()->second);
        queue_.erase(queue_.begin());
        auto& node = nodes.at(d.to);
        if (!node.up || node.member.boot_epoch != d.epoch) return true;
        if (!d.frame) {
            node.core->on_unreachable(now, d.from, out);
        } else if (!silent.contains(d.to)) {
            const auto message = wire::decode_directory(*d.frame);
            REQUIRE(message.has_value());
            node.core->on_message(now, d.from, *message, out);
        }
        drain(d.to, out);
        return true;
    }

    void drain(const NodeId& from, Outbox& out) {
        auto& node = nodes.at(from);
        for (auto& action : out) {
            if (auto* send = std::get_if<Send>(&action)) {
                post(from, *send);
            } else if (auto* found = std::get_if<Found>(&action)) {
                node.found.push_back(std::move(*found));
            } else {
                node.failed.push_back(std::move(std::get<LookupFailed>(action)));
            }
        }
        out.clear();
    }

    void post(const NodeId& from, const Send& send) {
        REQUIRE(send.to != from);
        ++frames;
        const auto target = nodes.find(send.to);
        const bool lost = target == nodes.end() || !target->second.up ||
                          cut.contains({from, send.to}) || (loss > 0 && rng.chance(loss));
        auto at = now + 1ms + Duration(static_cast<std::int64_t>(rng.below(4'000'000)));
        if (lost) {
            queue_.emplace(at, Delivery{send.to, from, {}, nodes.at(from).member.boot_epoch});
            return;
        }
        auto& last = last_[{from, send.to}];
        at = std::max(at, last + 1ns);
        last = at;
        auto frame = wire::encode(send.message);
        REQUIRE(frame.body.size() <= wire::kFrameBodyMax);
        queue_.emplace(at, Delivery{from, send.to, std::move(frame),
                                    target->second.member.boot_epoch});
    }

    Options options_;
    std::multimap<Instant, Delivery> queue_;
    std::map<std::pair<NodeId, NodeId>, Instant> last_;
    LookupId lookup_ = 0;
};

/// Whether the answer names node `n`.
inline bool names(const Found& found, std::uint64_t n) {
    for (const auto& h : found.holders) {
        if (h.node == node_id(n)) return true;
    }
    return false;
}

}  // namespace fastreg::directory::test
