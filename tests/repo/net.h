// A virtual network of repo cores for tests: virtual time, delays, cuts, restarts, disks that survive
// them, clocks that disagree. Every message goes through its wire form. Frames of one pair arrive in
// order, as on a TCP link.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "base/hash.h"
#include "repo/repo.h"

namespace fastreg::repo::test {

inline NodeId node_id(std::uint64_t n) {
    NodeId id;
    const auto digest = digest_of(HashAlg::sha256, as_bytes("node " + std::to_string(n)));
    std::copy_n(digest.value.begin(), id.bytes.size(), id.bytes.begin());
    return id;
}
inline Bytes bytes(std::string_view text) {
    const auto view = as_bytes(text);
    return {view.begin(), view.end()};
}
inline Change set(std::string key, std::string_view value) { return {std::move(key), bytes(value)}; }
inline Change gone(std::string key) { return {std::move(key), std::nullopt}; }

class Net {
  public:
    struct Node {
        Member member;
        std::unique_ptr<Repo> core;
        bool up = false;
        std::map<std::pair<std::string, std::string>, Row> disk;
        std::int64_t skew_ms = 0;
        bool disk_fails = false;
        std::map<Token, Status> puts;
        std::map<Token, GetDone> gets;
    };

    explicit Net(std::uint64_t seed, Options options = {}) : rng(seed), options_(options) {}

    Rng rng;
    Instant now{};
    std::map<NodeId, Node> nodes;
    std::set<std::pair<NodeId, NodeId>> cut;  // directed
    std::set<NodeId> silent;  // takes frames and never answers
    double loss = 0;          // of a frame; the sender learns of it as a broken link
    std::uint64_t frames = 0;
    std::uint64_t pages = 0;

    Node& at(std::uint64_t n) { return nodes.at(node_id(n)); }
    std::uint64_t wall(const Node& node) const {
        return 1'700'000'000'000ULL + static_cast<std::uint64_t>(millis_of(now - Instant{}) + node.skew_ms);
    }

    /// Starts a node (again) from its disk, tells everybody, and tells it of everybody.
    void start(std::uint64_t n) {
        const auto id = node_id(n);
        auto& node = nodes[id];
        node.member.id = id;
        node.member.name = "n" + std::to_string(n);
        ++node.member.boot_epoch;
        node.member.state = MemberState::alive;
        node.up = true;
        node.core = std::make_unique<Repo>(id, node.member.boot_epoch, options_, rng.fork());
        std::vector<Row> rows;
        for (const auto& [key, row] : node.disk) rows.push_back(row);
        node.core->load(wall(node), std::move(rows));
        inform(id, node.member);  // a node knows itself before it knows anybody
        for (const auto& [other, known] : nodes) {
            if (other != id && known.member.state != MemberState::left) inform(id, known.member);
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
        tell(member);
    }
    void tell(const Member& member) {
        for (const auto& [id, node] : nodes) {
            if (node.up) inform(id, member);
        }
    }
    void inform(const NodeId& who, const Member& member) {
        Outbox out;
        nodes.at(who).core->on_member(now, member, out);
        drain(who, out);
    }

    Token begin_put(std::uint64_t n, const std::string& repository, std::vector<Change> changes) {
        Outbox out;
        auto& node = at(n);
        node.core->put(now, wall(node), ++token_, repository, std::move(changes), out);
        const auto token = token_;
        drain(node_id(n), out);
        return token;
    }
    /// Runs until the write has ended.
    Status put(std::uint64_t n, const std::string& repository, std::vector<Change> changes) {
        const auto token = begin_put(n, repository, std::move(changes));
        auto& node = at(n);
        const auto end = now + 20s;
        while (!node.puts.contains(token) && now < end) step(end);
        REQUIRE(node.puts.contains(token));
        return node.puts.at(token);
    }
    GetDone get(std::uint64_t n, const std::string& repository, Query query) {
        Outbox out;
        auto& node = at(n);
        const auto token = ++token_;
        node.core->get(now, token, repository, std::move(query), out);
        drain(node_id(n), out);
        const auto end = now + 20s;
        while (!node.gets.contains(token) && now < end) step(end);
        REQUIRE(node.gets.contains(token));
        return node.gets.at(token);
    }
    /// The value of a key as node `n` sees it: empty for none, "!" and the reason for an error.
    std::string value(std::uint64_t n, const std::string& repository, const std::string& key) {
        const auto done = get(n, repository, Query::one(key));
        if (!done.rows) return "!" + done.rows.error().what;
        if (done.rows->empty()) return "";
        return std::string(as_text(done.rows->front().value));
    }

    void run_for(Duration span) {
        const auto end = now + span;
        while (step(end)) {
        }
        now = end;
    }
    /// A frame of a peer that lies.
    void inject(std::uint64_t from, std::uint64_t to, const wire::RepoMessage& message) {
        Outbox out;
        auto& node = at(to);
        node.core->on_message(now, wall(node), node_id(from), message, out);
        drain(node_id(to), out);
    }

  private:
    struct Event {
        NodeId from;
        NodeId to;
        BootEpoch epoch = 0;
        std::optional<wire::Frame> frame;  // none: "you could not reach `from`", or a disk is done
        std::optional<Persist> persisted;
    };

    bool step(Instant end) {
        Instant next = queue_.empty() ? Instant::never() : queue_.begin()->first;
        NodeId who;
        bool timer = false;
        for (const auto& [id, node] : nodes) {
            if (!node.up) continue;
            const auto due = std::max(node.core->next_deadline(), now);
            if (due < next) {
                next = due;
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
            auto& node = nodes.at(who);
            node.core->on_deadline(now, wall(node), out);
            drain(who, out);
            return true;
        }
        const auto e = std::move(queue_.begin()->second);
        queue_.erase(queue_.begin());
        auto& node = nodes.at(e.to);
        if (!node.up || node.member.boot_epoch != e.epoch) return true;
        if (e.persisted) {
            Status status;
            if (node.disk_fails) {
                status = fail(Errc::io, "the disk is broken");
            } else {
                for (const auto& row : e.persisted->rows) node.disk[{row.repository, row.key}] = row;
            }
            node.core->on_persisted(now, e.persisted->token, status, out);
        } else if (!e.frame) {
            node.core->on_unreachable(now, e.from, out);
        } else if (!silent.contains(e.to)) {
            const auto message = wire::decode_repo(*e.frame);
            REQUIRE(message.has_value());
            node.core->on_message(now, wall(node), e.from, *message, out);
        }
        drain(e.to, out);
        return true;
    }

    void drain(const NodeId& from, Outbox& out) {
        auto& node = nodes.at(from);
        for (auto& action : out) {
            if (auto* send = std::get_if<Send>(&action)) {
                post(from, *send);
            } else if (auto* persist = std::get_if<Persist>(&action)) {
                auto& last = disk_last_[from];
                last = std::max(last + 1ns, now + delay());
                queue_.emplace(last, Event{from, from, node.member.boot_epoch, {}, *persist});
            } else if (auto* drop = std::get_if<Drop>(&action)) {
                for (const auto& key : drop->keys) node.disk.erase({key.repository, key.key});
            } else if (auto* done = std::get_if<PutDone>(&action)) {
                REQUIRE(node.puts.emplace(done->token, done->status).second);
            } else {
                auto& got = std::get<GetDone>(action);
                REQUIRE(node.gets.emplace(got.token, got).second);
            }
        }
        out.clear();
    }

    Duration delay() { return 1ms + Duration(static_cast<std::int64_t>(rng.below(4'000'000))); }

    void post(const NodeId& from, const Send& send) {
        REQUIRE(send.to != from);
        ++frames;
        if (std::holds_alternative<wire::RepoPage>(send.message)) ++pages;
        const auto target = nodes.find(send.to);
        const bool lost = target == nodes.end() || !target->second.up ||
                          cut.contains({from, send.to}) || (loss > 0 && rng.chance(loss));
        auto due = now + delay();
        if (lost) {
            queue_.emplace(due, Event{send.to, from, nodes.at(from).member.boot_epoch, {}, {}});
            return;
        }
        auto& last = last_[{from, send.to}];
        due = std::max(due, last + 1ns);
        last = due;
        auto frame = wire::encode(send.message);
        REQUIRE(frame.body.size() <= wire::kFrameBodyMax);
        queue_.emplace(due, Event{from, send.to, target->second.member.boot_epoch, std::move(frame), {}});
    }

    Options options_;
    std::multimap<Instant, Event> queue_;
    std::map<std::pair<NodeId, NodeId>, Instant> last_;
    std::map<NodeId, Instant> disk_last_;
    Token token_ = 0;
};

}  // namespace fastreg::repo::test
