// A virtual network of directories for tests.
#pragma once

#include "directory/directory.h"
#include "tests/support/virtual_net.h"

namespace fastreg::directory::test {

using fastreg::test::node_id;

inline Digest blob(std::uint64_t n) {
    return digest_of(HashAlg::sha256, as_bytes("blob " + std::to_string(n)));
}

struct Answers {
    std::vector<Found> found;
    std::vector<LookupFailed> failed;
};

class Net : public fastreg::test::VirtualNet<Directory, Answers, Action> {
  public:
    explicit Net(std::uint64_t seed, Options options = {}) : VirtualNet(seed), options_(options) {}

    /// Starts a node (again), tells everybody, and tells it of everybody.
    void start(std::uint64_t n, std::string zone = {}) {
        auto& node = boot(n);
        const auto id = node.member.id;
        if (!zone.empty()) node.member.zone = std::move(zone);
        node.core = std::make_unique<Directory>(id, node.member.boot_epoch, options_, rng.fork());
        for (const auto& [other, known] : nodes) {
            if (known.up || known.member.state != MemberState::left) inform(id, known.member);
        }
        tell(node.member);
    }
    void have(std::uint64_t n, const Digest& digest, HolderKind kind, std::uint64_t size = 1000) {
        act(node_id(n), [&](Node& node, Outbox& out) {
            node.core->on_have(now, digest, size, kind, out);
        });
    }
    void gone(std::uint64_t n, const Digest& digest) {
        act(node_id(n), [&](Node& node, Outbox& out) { node.core->on_gone(now, digest, out); });
    }
    void wrong_hint(std::uint64_t n, const Digest& digest, std::uint64_t holder) {
        act(node_id(n), [&](Node& node, Outbox& out) {
            node.core->on_wrong_hint(now, digest, node_id(holder), out);
        });
    }
    /// Looks up and runs until there is an answer.
    Found look_up(std::uint64_t n, const Digest& digest, Intent intent = Intent::ask) {
        auto& node = at(n);
        node.found.clear();
        node.failed.clear();
        act(node_id(n), [&](Node&, Outbox& out) {
            node.core->look_up(now, ++lookup_, digest, intent, out);
        });
        const auto end = now + 2s;
        while (node.found.empty() && node.failed.empty() && now < end) step(end);
        REQUIRE(node.found.size() + node.failed.size() == 1);
        return node.found.empty() ? Found{} : node.found.front();
    }

  private:
    void on_deadline(Node& node, Outbox& out) override { node.core->on_deadline(now, out); }
    void on_frame(Node& node, const NodeId& from, const wire::Frame& frame, Outbox& out) override {
        const auto message = wire::decode_directory(frame);
        REQUIRE(message.has_value());
        node.core->on_message(now, from, *message, out);
    }
    void on_action(const NodeId& from, Action& action) override {
        auto& node = nodes.at(from);
        if (auto* send = std::get_if<Send>(&action)) {
            post(from, send->to, wire::encode(send->message));
        } else if (auto* found = std::get_if<Found>(&action)) {
            node.found.push_back(std::move(*found));
        } else {
            node.failed.push_back(std::move(std::get<LookupFailed>(action)));
        }
    }

    Options options_;
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
