// Stories of a node that leaves: who is asked to take what it keeps, and when it lets go of it.
#include "node/handoff.h"

#include <algorithm>

#include "tests/node/rig.h"
#include "wire/node.h"

using namespace fastreg;
using namespace fastreg::node;
using namespace fastreg::node::test;

namespace {

/// A node that keeps one blob for the mesh. The owners of the directory say that peer 3 is a home of it, too.
struct Leaver : LoneNode {
    Leaver() {
        const ByteView bytes = as_bytes("a layer");
        digest = digest_of(HashAlg::sha256, bytes);
        disk.store->put_small(digest, Bytes(bytes.begin(), bytes.end()), true, store::Durability::durable,
                              [](const Status& status) { REQUIRE(status); });
        disk.store->set_home(digest, 7, true, [](const Status& status) { REQUIRE(status); });
    }
    /// Time passes, and those who were asked where the blob is answer.
    void pass(Duration span) {
        for (Duration done{}; done < span; done += 50ms) {
            LoneNode::pass(50ms);
            for (auto& [to, frame] : std::exchange(net.sent, {})) answer(to, frame);
        }
    }
    void answer(NodeId from, const wire::Frame& frame) {
        if (const auto gossip = wire::decode_gossip(frame)) {
            const auto* ping = std::get_if<wire::Ping>(&gossip->body);
            if (ping == nullptr || ping->target != from) return;
            core.on_frame(from, wire::Purpose::gossip,
                          wire::encode(wire::GossipMessage{wire::Ack{ping->sequence}, {}}));
        } else if (const auto directory = wire::decode_directory(frame)) {
            const auto* look = std::get_if<wire::Lookup>(&*directory);
            if (look == nullptr) return;
            wire::LookupReply reply{look->request, look->digest, false, 7, {{core_id(), wire::HolderKind::home}}};
            for (const NodeId& home : homes) reply.holders.push_back({home, wire::HolderKind::home});
            core.on_frame(from, wire::Purpose::directory, wire::encode(wire::DirectoryMessage{reply}));
        } else if (const auto message = wire::decode_node(frame)) {
            if (const auto* ask = std::get_if<wire::HomeRequest>(&*message)) asked[from] = ask->request;
            if (const auto* reply = std::get_if<wire::HomeReply>(&*message)) replies.push_back(*reply);
        }
    }
    void says(NodeId from, bool kept, bool leaving = false) {
        core.on_frame(from, wire::Purpose::directory,
                      wire::encode(wire::HomeReply{asked.at(from), kept, kept ? "" : "full", leaving}));
    }
    [[nodiscard]] NodeId core_id() const { return disk.store->identity().node; }
    [[nodiscard]] bool is_home() const { return disk.store->find(digest)->home; }

    Digest digest;
    std::vector<NodeId> homes;
    std::map<NodeId, RequestId> asked;
    std::vector<wire::HomeReply> replies;
};

}  // namespace

TEST_CASE("a node lets go of a copy when as many others as wanted have said that they have it") {
    Leaver node;
    meet(node.core, 2);
    meet(node.core, 3);
    REQUIRE(node.core.hand_off());
    node.pass(1s);
    REQUIRE(node.asked.size() == 2);
    node.says(peer(2), true);
    node.pass(1s);
    CHECK(node.is_home());  // one of two
    CHECK_FALSE(node.core.handoff().done());
    CHECK(node.core.handoff().progress().blobs_left == 1);
    node.says(peer(3), true);
    node.pass(1s);
    CHECK_FALSE(node.is_home());
    CHECK(node.core.handoff().done());
    CHECK(node.core.handoff().progress().bytes == 7);
    CHECK(node.disk.store->homes().empty());
}

TEST_CASE("the directory's word is none to give up a copy on: who is named is asked") {
    // It had lost the bytes, and nobody had told the directory.
    Leaver node;
    node.homes = {peer(2), peer(3)};
    meet(node.core, 2);
    meet(node.core, 3);
    meet(node.core, 4);
    REQUIRE(node.core.hand_off());
    node.pass(1s);
    CHECK(node.asked.contains(peer(2)));
    CHECK(node.asked.contains(peer(3)));
    CHECK(node.is_home());
    node.says(peer(2), false);
    node.says(peer(3), true);
    node.pass(1s);
    CHECK(node.is_home());
    REQUIRE(node.asked.contains(peer(4)));  // in its place
    node.says(peer(4), true);
    node.pass(1s);
    CHECK_FALSE(node.is_home());
}

TEST_CASE("a node that leaves takes nothing for others, and says so") {
    Leaver node;
    meet(node.core, 2);
    REQUIRE(node.core.hand_off());
    node.pass(200ms);
    node.core.on_frame(peer(2), wire::Purpose::directory, wire::encode(wire::HomeRequest{77, node.digest, 7}));
    node.pass(100ms);
    REQUIRE(node.replies.size() == 1);
    CHECK(node.replies[0].request == 77);
    CHECK_FALSE(node.replies[0].kept);
    CHECK(node.replies[0].text == "it leaves the mesh");
}

TEST_CASE("two nodes that leave together do not wait for each other") {
    // Each wanted two of the other and the third; the other refused, since it leaves.
    Leaver node;
    meet(node.core, 2);
    meet(node.core, 3);
    REQUIRE(node.core.hand_off());
    node.pass(1s);
    node.says(peer(2), false, true);
    node.says(peer(3), true);
    node.pass(1s);
    CHECK_FALSE(node.is_home());
    CHECK(node.core.handoff().done());
}

TEST_CASE("who is away for a moment is waited for, and what is in hand, too") {
    // A missed probe was enough to leave with the only copy.
    Leaver node;
    meet(node.core, 2);
    node.LoneNode::pass(20s);  // it answers nothing: suspect, then dead
    REQUIRE(node.core.gossip().counts().alive == 0);
    bool busy = true;
    REQUIRE(node.core.hand_off([&] { return busy; }));
    node.pass(2s);
    CHECK(node.is_home());
    CHECK_FALSE(node.core.handoff().done());
    meet(node.core, 2, 2);
    node.pass(8s);
    REQUIRE(node.asked.contains(peer(2)));
    node.says(peer(2), true);
    node.pass(1s);
    CHECK_FALSE(node.is_home());
    CHECK_FALSE(node.core.handoff().done());  // a push is in hand
    busy = false;
    node.pass(1s);
    CHECK(node.core.handoff().done());
}

TEST_CASE("nobody who takes a copy is waited for and named, and nothing is given up") {
    Leaver node;
    const auto alone = node.core.hand_off();
    REQUIRE_FALSE(alone);
    CHECK(alone.error().what.find("no other member is known") != std::string::npos);
    meet(node.core, 2);
    REQUIRE(node.core.hand_off());
    node.pass(500ms);
    for (int i = 0; i < 65; ++i) {
        node.says(peer(2), false);
        node.pass(1s);
    }
    CHECK(node.is_home());
    CHECK_FALSE(node.core.handoff().done());
    CHECK_FALSE(node.core.handoff().progress().waits_for.empty());
    node.asked.clear();
    node.pass(10s);
    REQUIRE(node.asked.contains(peer(2)));  // again
    node.says(peer(2), true);
    node.pass(1s);
    CHECK(node.core.handoff().done());
    CHECK(node.core.handoff().progress().waits_for.empty());
}
