// A virtual network of repo cores for tests, with disks that survive restarts and clocks that
// disagree.
#pragma once

#include "repo/repo.h"
#include "tests/support/virtual_net.h"

namespace fastreg::repo::test {

using fastreg::test::node_id;

inline Bytes bytes(std::string_view text) {
    const auto view = as_bytes(text);
    return {view.begin(), view.end()};
}
inline Change set(std::string key, std::string_view value) {
    return {std::move(key), bytes(value)};
}
inline Change gone(std::string key) { return {std::move(key), std::nullopt}; }

struct DiskAndAnswers {
    std::map<std::pair<std::string, std::string>, Row> disk;
    Memory memory;             // on disk, too
    std::uint64_t memory_changes = 0;
    Memory written;  // each second of this run, if it changed
    Instant written_at;
    std::vector<Member> known;  // the same
    std::int64_t skew_ms = 0;
    bool disk_fails = false;
    std::map<Token, Status> puts;
    std::map<Token, GetDone> gets;
};

class Net : public fastreg::test::VirtualNet<Repo, DiskAndAnswers, Action> {
  public:
    explicit Net(std::uint64_t seed, Options options = {})
        : VirtualNet(seed), options_(options), late_memory_(seed % 2 == 0) {}

    std::uint64_t pages = 0;

    std::uint64_t wall(const Node& node) const {
        return 1'700'000'000'000ULL +
               static_cast<std::uint64_t>(millis_of(now - Instant{}) + node.skew_ms);
    }

    /// Starts a node (again) from its disk, tells everybody, and tells it of everybody.
    void start(std::uint64_t n) {
        auto& node = boot(n);
        const auto id = node.member.id;
        node.core = std::make_unique<Repo>(id, node.member.boot_epoch, options_, rng.fork());
        std::vector<Row> rows;
        for (const auto& [key, row] : node.disk) rows.push_back(row);
        node.core->load(wall(node), std::move(rows));
        node.core->remember(node.memory);
        for (const auto& peer : node.known) {  // as node/core_members.cc does
            if (nodes.at(peer.id).member.state != MemberState::left) inform(id, peer);
        }
        inform(id, node.member);  // a node knows itself before it meets anybody
        for (const auto& [other, known] : nodes) {
            if (other != id && known.member.state != MemberState::left) inform(id, known.member);
        }
        tell(node.member);
        write_down(node);  // after each start, too
    }

    /// What it remembers was written down: within the last second, as a node does it, or (odd seeds) just now.
    void kill(std::uint64_t n) {
        auto& node = at(n);
        if (node.core) node.memory = late_memory_ ? node.written : node.core->memory();
        node.known.clear();
        for (const auto& [id, other] : nodes) {
            node.known.push_back(other.member);
            node.known.back().state = MemberState::dead;
            if (id == node.member.id || other.member.state == MemberState::left) node.known.pop_back();
        }
        VirtualNet::kill(n);
    }

    Token begin_put(std::uint64_t n, const std::string& repository, std::vector<Change> changes) {
        const auto token = ++token_;
        act(node_id(n), [&](Node& node, Outbox& out) {
            node.core->put(now, wall(node), token, repository, std::move(changes), out);
        });
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
        auto& node = at(n);
        const auto token = ++token_;
        act(node_id(n), [&](Node&, Outbox& out) {
            node.core->get(now, token, repository, std::move(query), out);
        });
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
    /// A frame of a peer that lies.
    void inject(std::uint64_t from, std::uint64_t to, const wire::RepoMessage& message) {
        act(node_id(to), [&](Node& node, Outbox& out) {
            node.core->on_message(now, wall(node), node_id(from), message, out);
        });
    }

  private:
    void on_deadline(Node& node, Outbox& out) override {
        node.core->on_deadline(now, wall(node), out);
    }
    void on_frame(Node& node, const NodeId& from, const wire::Frame& frame, Outbox& out) override {
        const auto message = wire::decode_repo(frame);
        REQUIRE(message.has_value());
        node.core->on_message(now, wall(node), from, *message, out);
    }
    void on_action(const NodeId& from, Action& action) override {
        auto& node = nodes.at(from);
        if (auto* send = std::get_if<Send>(&action)) {
            if (std::holds_alternative<wire::RepoPage>(send->message)) ++pages;
            post(from, send->to, wire::encode(send->message));
        } else if (auto* persist = std::get_if<Persist>(&action)) {
            auto& last = disk_last_[from];
            last = std::max(last + 1ns, now + delay());
            schedule(last, from, [this, persist = *persist](Node& on, Outbox& out) {
                write(on, persist, out);
            });
        } else if (auto* drop = std::get_if<Drop>(&action)) {
            for (const auto& key : drop->keys) node.disk.erase({key.repository, key.key});
        } else if (auto* done = std::get_if<PutDone>(&action)) {
            REQUIRE(node.puts.emplace(done->token, done->status).second);
        } else {
            auto& got = std::get<GetDone>(action);
            REQUIRE(node.gets.emplace(got.token, got).second);
        }
    }
    void on_change(Node& node) override {
        if (!late_memory_ || !node.core || node.core->memory_changes() == node.memory_changes) return;
        if (now >= node.written_at + 1s) write_down(node);
    }
    void write_down(Node& node) {
        node.memory_changes = node.core->memory_changes();
        node.written = node.core->memory();
        node.written_at = now;
    }
    void write(Node& node, const Persist& persist, Outbox& out) {
        Status status;
        if (node.disk_fails) {
            status = fail(Errc::io, "the disk is broken");
        } else {
            for (const auto& row : persist.rows) node.disk[{row.repository, row.key}] = row;
        }
        node.core->on_persisted(now, persist.token, status, out);
    }

    Options options_;
    bool late_memory_ = false;
    std::map<NodeId, Instant> disk_last_;
    Token token_ = 0;
};

}  // namespace fastreg::repo::test
