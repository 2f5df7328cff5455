// Cores on real sockets: what membership must learn from the links themselves.
#include "node/mesh.h"

#include <algorithm>

#include "tests/node/rig.h"
#include "transport/control.h"

using namespace fastreg;
using namespace fastreg::node;
using namespace fastreg::node::test;

namespace {

/// A peer that dials and listens to what the other side says of itself.
struct Visitor final : transport::ControlHandler {
    Visitor(uv::Loop& loop, unsigned number) {
        transport::ControlMesh::Options options;
        options.identity.node_id.bytes.fill(static_cast<std::byte>(number));
        options.identity.epoch = 1;
        options.identity.cluster = "test";
        options.identity.key = wire::link_key("a key of at least sixteen bytes");
        options.listen = {"127.0.0.1", 0};
        mesh = std::make_unique<transport::ControlMesh>(loop, options, *this);
    }
    void on_frame(NodeId, wire::Purpose, wire::Frame) override {}
    void on_link_up(NodeId, wire::Purpose, const wire::Hello& theirs, const Endpoint&) override { hello = theirs; }
    void on_link_down(NodeId, wire::Purpose) override {}
    void on_wrong_peer(NodeId, const Endpoint&, NodeId) override {}
    void on_send_failed(NodeId, const Endpoint&, wire::Purpose, transport::SendFailure, const std::string&,
                        wire::Frame) override {}
    std::optional<wire::Hello> hello;
    std::unique_ptr<transport::ControlMesh> mesh;
};

/// Everybody asked says that it has every row, and that these are none.
void answer_summaries(Core& core, SilentNet& net) {
    while (!net.sent.empty()) {
        for (const auto& [to, frame] : std::exchange(net.sent, {})) {
            const auto message = wire::decode_repo(frame);
            const auto* asked = message ? std::get_if<wire::RepoSummary>(&*message) : nullptr;
            if (asked == nullptr || asked->reply) continue;
            wire::RepoSummary answer{asked->request, true, {}, {}, {}, {}, {}};
            answer.vouched.assign(wire::kRepoSummaryItemsMax / 8, std::byte{0xff});
            core.on_frame(to, wire::Purpose::directory, wire::encode(wire::RepoMessage{answer}));
        }
    }
}

/// The shards of which the node says to peer 2 that both were whole when it last stopped.
std::size_t stood_with_peer_2(Core& core, SilentNet& net) {
    wire::RepoSummary question{99, false, {}, {}, {}, {}, {}};
    for (ShardId shard = 0; shard < wire::kRepoSummaryItemsMax; ++shard) question.items.push_back({shard, 0, 0});
    net.sent.clear();
    core.on_frame(peer(2), wire::Purpose::directory, wire::encode(wire::RepoMessage{question}));
    std::size_t count = 0;
    for (const auto& [to, frame] : net.sent) {
        const auto message = wire::decode_repo(frame);
        const auto* answer = message ? std::get_if<wire::RepoSummary>(&*message) : nullptr;
        if (to != peer(2) || answer == nullptr || answer->request != question.request) continue;
        for (std::size_t i = 0; i < question.items.size(); ++i) {
            if (wire::RepoSummary::bit(answer->stood, i)) ++count;
        }
    }
    return count;
}

}  // namespace

TEST_CASE("a node replaced at its address is noticed when it is dialled, not when a suspicion ends") {
    // A machine that lost its disk comes back under a new id and knows nobody: only the handshake tells.
    uv::Loop loop;
    LiveNode watcher(loop, 1);
    auto old = std::make_unique<LiveNode>(loop, 2, std::uint16_t{0}, std::vector{watcher.gossip()});
    const NodeId old_id = old->id();
    const Endpoint address = old->gossip();
    REQUIRE(until(loop, [&] { return watcher.sees(old_id) == MemberState::alive; }));
    old.reset();
    LiveNode newcomer(loop, 3, address.port);
    REQUIRE(newcomer.id() != old_id);
    // `left` is said of a node that was replaced; a suspicion ends in `dead`.
    bool suspected = false;
    REQUIRE(until(loop, [&] {
        suspected |= watcher.sees(old_id) == MemberState::suspect || watcher.sees(old_id) == MemberState::dead;
        return watcher.sees(old_id) == MemberState::left;
    }));
    CHECK_FALSE(suspected);
}

TEST_CASE("a node tells the port it really listens on, when it was told to take any") {
    uv::Loop loop;
    LiveNode node(loop, 1);
    REQUIRE(node.gossip().port != 0);
    for (const auto purpose : {wire::Purpose::gossip, wire::Purpose::directory}) {
        Visitor visitor(loop, 9);
        visitor.mesh->send(node.id(), node.gossip(), purpose, {0x10, 0, 1, {}});
        REQUIRE(until(loop, [&] { return visitor.hello.has_value(); }));
        CHECK(visitor.hello->gossip == node.gossip());
    }
}

TEST_CASE("a second process under this node's id is counted, and the operator is told what to do") {
    // A copied data directory: the two answer for each other and lose each other's rows.
    uv::Loop loop;
    LiveNode third(loop, 1);
    LiveNode original(loop, 2, 0, {third.gossip()});
    REQUIRE(until(loop, [&] { return third.sees(original.id()) == MemberState::alive; }));
    CHECK(original.core->warnings().empty());
    LiveNode copy(loop, 2, 0, {third.gossip()});  // the same seed draws the same id
    REQUIRE(copy.id() == original.id());
    REQUIRE(until(loop, [&] {
        return original.meters.identity_conflicts.value() + copy.meters.identity_conflicts.value() > 0;
    }));
    const auto& told = original.core->warnings().empty() ? *copy.core : *original.core;
    REQUIRE(told.warnings().size() == 1);
    CHECK(told.warnings().front().find("empty that directory") != std::string::npos);
    CHECK(third.core->warnings().empty());
}

TEST_CASE("a node is ready when it may answer for repositories, not when its port is open") {
    // A load balancer sends requests to whoever says 200 to /readyz.
    CHECK(LoneNode().core.ready());
    LoneNode seeded({{"10.0.0.2", 7946}});
    REQUIRE_FALSE(seeded.core.ready());
    CHECK(seeded.core.ready().error().what.find("none of its seeds") != std::string::npos);
    seeded.pass(31s);
    CHECK(seeded.core.ready());  // the seed is not there: the first of its mesh
}

TEST_CASE("a node that still copies the rows it owns is not ready, though it has met its mesh") {
    // After a power cut a load balancer would send everything to nodes that answer 503 for every repository.
    Disk disk(1);
    SilentNet net;
    {
        Core core(net, *disk.store, core_options("a"), Rng(1));
        core.start({});
        for (const unsigned n : {2U, 3U, 4U}) meet(core, n);
        core.stop();
    }
    disk.store.reset();
    disk.store = std::move(*store::Store::open(disk.fs, disk.executor, store_options(1)));
    Core core(net, *disk.store, core_options("a"), Rng(2));
    core.start({});
    for (const unsigned n : {2U, 3U}) meet(core, n, 2);  // the fourth stays away
    REQUIRE(core.gossip().counts().alive == 2);
    REQUIRE(core.repo().stats().shards_copying > 0);
    REQUIRE_FALSE(core.ready());
    CHECK(core.ready().error().what.find("still copying") != std::string::npos);
    SUBCASE("until all of them are copied; a shard taken over later takes nothing back") {
        answer_summaries(core, net);
        REQUIRE(core.repo().stats().shards_copying == 0);
        CHECK(core.ready());
        for (int second = 0; second < 121; ++second) {  // the fourth is given up, others take its shards
            net.time = net.time + 1s;
            core.on_deadline();
        }
        for (const unsigned n : {2U, 3U}) meet(core, n, 3);
        REQUIRE(core.repo().stats().shards_copying > 0);
        CHECK(core.ready());
    }
    SUBCASE("or for the grace of an owner at most, should a member hang") {
        net.time = net.time + 131s;
        CHECK(core.ready());
    }
}

TEST_CASE("a node that met its mesh and lost it is no stranger to it") {
    // The survivor of two, within the half minute in which a new node waits for its seeds.
    LoneNode node({{"10.0.0.2", 7946}});
    meet(node.core, 2);
    node.pass(15s);
    const auto counts = node.core.gossip().counts();
    REQUIRE(counts.alive + counts.suspect == 0);
    const auto ready = node.core.ready();
    CHECK((ready || ready.error().what.find("none of its seeds") == std::string::npos));
}

TEST_CASE("a node whose seed refuses it does not become a mesh of its own") {
    // With a wrong key it would answer 404 for every repository of the mesh that it was meant to be in.
    const Endpoint seed{"10.0.0.2", 7946};
    const Endpoint hint{"10.0.0.3", 7946};
    const std::string why = "peer 10.0.0.2:7946 has another cluster key";
    LoneNode node({seed});
    node.core.on_foreign(hint, "no seed of the configuration");
    CHECK(node.core.warnings().empty());
    node.core.on_foreign(seed, why);
    node.pass(600s);
    REQUIRE_FALSE(node.core.ready());
    CHECK(node.core.ready().error().what.find(why) != std::string::npos);
    bool refused = false;
    node.core.read_rows("a/b", repo::Query::one("k"), [&](const auto& rows, bool) { refused = !rows; });
    CHECK(refused);
    CHECK(node.core.warnings() == std::vector<std::string>{"seed 10.0.0.2:7946 refused this node: " + why});
    SUBCASE("until the seed takes it") {
        node.core.on_dialled(seed);
        CHECK(node.core.warnings().empty());
        CHECK_FALSE(node.core.ready());  // not before it is a member, either
    }
    SUBCASE("or the operator takes the seed away") {
        node.core.set_seeds({});
        CHECK(node.core.warnings().empty());
        CHECK(node.core.ready());
    }
}

TEST_CASE("a node that long answers for itself goes on when its seed turns out to be of another mesh") {
    const Endpoint seed{"10.0.0.2", 7946};
    LoneNode node({seed});
    node.pass(31s);
    REQUIRE(node.core.ready());
    node.core.on_foreign(seed, "has another cluster key");
    CHECK(node.core.ready());
    CHECK(node.core.warnings().size() == 1);
}

TEST_CASE("the address of a join that failed is dialled no more") {
    // Two meshes could merge days later, when somebody listens there.
    const Endpoint seed{"10.0.0.2", 7946};
    const Endpoint typo{"10.0.0.20", 7946};
    LoneNode node({seed});
    const auto dialled = [&](const Endpoint& address) {
        node.net.sent_to.clear();
        node.pass(300s);
        return std::ranges::find(node.net.sent_to, address) != node.net.sent_to.end();
    };
    node.core.join(typo);
    CHECK(dialled(typo));
    node.core.withdraw(typo);
    CHECK_FALSE(dialled(typo));
    node.core.join(seed);
    node.core.withdraw(seed);
    CHECK(dialled(seed));  // the configuration names it
}

TEST_CASE("a node with another key is refused by its seed, and both keep their distance") {
    uv::Loop loop;
    LiveNode member(loop, 1);
    LiveNode stranger(loop, 2, std::uint16_t{0}, std::vector{member.gossip()}, "quite another key than theirs");
    REQUIRE(until(loop, [&] { return !stranger.core->warnings().empty(); }));
    CHECK(stranger.core->warnings().front().find("fastreg key show") != std::string::npos);
    CHECK_FALSE(stranger.core->ready());
    CHECK(member.core->ready());
}

TEST_CASE("members that a short run did not meet are known to the next one") {
    // A node that forgets an owner takes the word of fewer than a quorum for that of all.
    Disk disk(1);
    SilentNet net;
    const auto run = [&](bool meets) {
        Core core(net, *disk.store, core_options("a"), Rng(1));
        core.start({});
        if (meets) meet(core, 2);
        core.stop();
    };
    const auto open_again = [&] {
        disk.store.reset();
        disk.store = std::move(*store::Store::open(disk.fs, disk.executor, store_options(1)));
    };
    run(true);
    for (int i = 0; i < 2; ++i) {
        open_again();
        run(false);
    }
    open_again();
    const auto known = disk.store->take_peers();
    REQUIRE(known.size() == 1);
    CHECK(known.front().node == peer(2));
}

TEST_CASE("a node remembers over one stop which owners were whole with it, and not over two") {
    // In a run that wrote nothing down others may have gone on without it, and so in what a backup has forgotten.
    Disk disk(1);
    SilentNet net;
    const auto open_again = [&] {
        disk.store.reset();
        disk.store = std::move(*store::Store::open(disk.fs, disk.executor, store_options(1)));
    };
    const auto start = [&](BootEpoch epoch) {
        auto core = std::make_unique<Core>(net, *disk.store, core_options("a"), Rng(1));
        core->start({});
        for (const unsigned n : {2U, 3U, 4U}) meet(*core, n, epoch);
        return core;
    };
    auto core = start(1);
    answer_summaries(*core, net);
    net.time = net.time + 2s;
    core->on_deadline();  // it is written down without a stop
    core.reset();
    SUBCASE("one") {
        open_again();
        CHECK(stood_with_peer_2(*start(2), net) > 500);
    }
    SUBCASE("two") {
        open_again();
        open_again();
        CHECK(stood_with_peer_2(*start(3), net) == 0);
    }
}
