// Whole meshes: what operators rely on, told as stories on a virtual network.
#include <doctest/doctest.h>

#include "tests/gossip/mesh_harness.h"

using namespace fastreg;
using namespace fastreg::gossip;
using namespace fastreg::gossip::test;

namespace {

/// Members that run and were taken for dead or left by somebody.
std::size_t false_deaths(const Mesh& mesh) {
    std::size_t count = 0;
    for (const auto& death : mesh.deaths) {
        for (const auto& node : mesh.nodes) {
            if (node.up && node.core->self().id == death.member.id) ++count;
        }
    }
    return count;
}

}  // namespace

TEST_CASE("ten nodes that name one seed know each other within seconds") {
    // The one command of the README: join by naming one other node.
    Mesh mesh(1, {.decode = true});
    mesh.check = true;
    for (std::size_t i = 0; i < 10; ++i) mesh.add(self_of(i), {0});
    const auto took = mesh.run_until(30s, [&] { return mesh.all_alive(); });
    REQUIRE(took);
    CHECK(*took < 5s);
    CHECK(mesh.broken.empty());
    CHECK(mesh.deaths.empty());
    const Member* seen = mesh.nodes[4].core->find(id_of(7));
    REQUIRE(seen != nullptr);
    CHECK(seen->name == "node-7");
    CHECK(seen->transfer == Endpoint{"10.0.0.7", 7947});
    CHECK(mesh.nodes[4].core->members().size() == 9);
}

TEST_CASE("a node whose seed starts last still gets in") {
    // Nodes of a rack power on in any order; a missing seed is a slow start, not a failure.
    Mesh mesh(2);
    mesh.add(self_of(0), {});
    mesh.kill(0);
    for (std::size_t i = 1; i < 5; ++i) mesh.add(self_of(i), {0});
    mesh.run(60s);
    CHECK(mesh.nodes[1].core->counts().alive == 0);
    mesh.boot(0, self_of(0, 2), {});
    const auto took = mesh.run_until(60s, [&] { return mesh.all_alive(); });
    REQUIRE(took);
    CHECK(*took < 45s);  // the pause between attempts grows to 30 s
}

TEST_CASE("a node without seeds finds the mesh again through the peers it knew") {
    // All seeds of the configuration may be gone for good when a node restarts.
    Mesh mesh(3);
    mesh.grow(8, 10s);
    const auto known = mesh.nodes[5].core->members();
    mesh.kill(5);
    mesh.kill(0);
    mesh.run(60s);
    mesh.boot(5, self_of(5, 2), {0}, known);
    const auto took = mesh.run_until(30s, [&] { return mesh.all_alive(); });
    REQUIRE(took);
    CHECK(*took < 10s);
}

TEST_CASE("a lossy network with nodes that pause kills nobody") {
    // A full disk, a swap storm or a busy switch must not look like death: owners would move for nothing.
    NetOptions net;
    net.loss = 0.05;
    Mesh mesh(4, net);
    mesh.grow(200, 30s);
    REQUIRE(mesh.run_until(30s, [&] { return mesh.all_alive(); }));
    Rng rng(99);
    for (int round = 0; round < 60; ++round) {
        for (int i = 0; i < 3; ++i) mesh.pause(static_cast<std::size_t>(rng.below(200)), 2s);
        mesh.run(3s);
    }
    CHECK(mesh.deaths.empty());
    CHECK(mesh.run_until(30s, [&] { return mesh.all_alive(); }));
}

TEST_CASE("a node that slept for a minute blames nobody, and is taken back at once") {
    // A suspended virtual machine finds all its clocks run out: the fault is its own.
    Mesh mesh(5);
    mesh.grow(30, 10s);
    mesh.pause(7, 60s);
    mesh.run(60s);
    CHECK(mesh.all_see(7, MemberState::dead));
    mesh.deaths.clear();
    const auto took = mesh.run_until(30s, [&] { return mesh.all_alive(); });
    REQUIRE(took);
    CHECK(*took < 5s);
    for (const auto& death : mesh.deaths) CHECK(death.observer != 7);
    CHECK_FALSE(mesh.nodes[7].refuted.empty());
}

TEST_CASE("a crash is known to everybody in time, and a refused connection is no shortcut to death") {
    // Fetches from a dead holder must end, but a restart within seconds must not count as one.
    Mesh mesh(6);
    mesh.grow(50, 10s);
    mesh.kill(20);
    mesh.run(3s);
    CHECK(mesh.view(1, 20) != MemberState::dead);
    mesh.boot(20, self_of(20, 2), {0});
    mesh.run(20s);
    CHECK(mesh.deaths.empty());
    CHECK(mesh.all_alive());
    mesh.kill(20);
    const auto took =
        mesh.run_until(60s, [&] { return mesh.all_see(20, MemberState::dead); });
    REQUIRE(took);
    CHECK(*took < 15s);
    CHECK(false_deaths(mesh) == 0);
}

TEST_CASE("a mesh of two notices that the other is gone") {
    // With nobody to help or to confirm, the shortest time counts.
    Mesh mesh(7);
    mesh.grow(2, 5s);
    REQUIRE(mesh.all_alive());
    mesh.unplug(1);
    const auto took = mesh.run_until(60s, [&] { return mesh.all_see(1, MemberState::dead); });
    REQUIRE(took);
    CHECK(*took < 12s);
    mesh.boot(1, self_of(1, 2), {0});
    REQUIRE(mesh.run_until(30s, [&] { return mesh.all_alive(); }));
}

TEST_CASE("the two halves of a healed partition are one mesh again within a minute") {
    // A switch came back: nobody restarts anything by hand.
    for (const std::uint64_t seed : {8, 9, 10}) {
        Mesh mesh(seed);
        mesh.grow(60, 10s);
        mesh.split([](std::size_t n) { return n < 20 ? 1 : 2; });
        mesh.run(120s);
        CHECK(mesh.view(0, 40) == MemberState::dead);
        CHECK(mesh.view(40, 0) == MemberState::dead);
        CHECK(mesh.view(0, 10) == MemberState::alive);
        mesh.heal();
        const auto took = mesh.run_until(120s, [&] { return mesh.all_alive(); });
        CAPTURE(seed);
        REQUIRE(took);
        CHECK(*took < 60s);
    }
}

TEST_CASE("two meshes that never met become one through a seed") {
    // Split brain at the first start: each half was given a seed of its own, and one knows of both.
    Mesh mesh(11);
    mesh.add(self_of(0), {0});
    mesh.add(self_of(1), {1});
    for (std::size_t i = 2; i < 20; ++i) mesh.add(self_of(i), {i % 2});
    mesh.run(60s);
    CHECK(mesh.nodes[2].core->counts().alive == 9);
    mesh.tell(2, [&](Gossip& core, Outbox& out) { core.add_seed(mesh.now, address_of(1), out); });
    const auto took = mesh.run_until(60s, [&] { return mesh.all_alive(); });
    REQUIRE(took);
    CHECK(*took < 20s);
    CHECK(mesh.deaths.empty());
}

TEST_CASE("a node comes back under its id at another address and is taken at once") {
    // A container that is rescheduled keeps its volume and gets a new address.
    Mesh mesh(12);
    mesh.grow(20, 10s);
    mesh.kill(5);
    Self moved = self_of(500, 2);
    moved.id = id_of(5);
    const std::size_t n = mesh.add(moved, {0});
    const auto took = mesh.run_until(20s, [&] {
        for (std::size_t i = 0; i < 20; ++i) {
            if (i == 5) continue;
            const Member* m = mesh.nodes[i].core->find(id_of(5));
            if (m->gossip != address_of(500) || m->state != MemberState::alive) return false;
        }
        return true;
    });
    REQUIRE(took);
    CHECK(*took < 5s);
    mesh.run(30s);
    CHECK(mesh.all_see(n, MemberState::alive));
    CHECK(mesh.deaths.empty());
}

TEST_CASE("a node that lost its data directory replaces its former self within seconds") {
    // A fresh id at the old address: the old one can never answer again, and must not linger as a suspect
    // that owns shards for two minutes.
    for (const bool noticed : {false, true}) {
        Mesh mesh(13);
        mesh.grow(20, 10s);
        mesh.kill(5);
        if (noticed) mesh.run(30s);
        Self fresh = self_of(5);
        fresh.id = id_of(777);
        mesh.boot(5, fresh, {0});
        const auto took = mesh.run_until(20s, [&] {
            for (std::size_t i = 0; i < 20; ++i) {
                const Member* old = mesh.nodes[i].core->find(id_of(5));
                if (old != nullptr && old->state != MemberState::left) return false;
            }
            return mesh.all_alive();
        });
        REQUIRE(took);
        CHECK(*took < 5s);
        mesh.run(60s);
        CHECK(mesh.nodes[1].core->find(id_of(5))->state == MemberState::left);
    }
}

TEST_CASE("two live nodes set up with one address are both kept, and somebody says so") {
    // A copied configuration file must not make members evict each other for ever.
    Mesh mesh(14);
    mesh.grow(10, 10s);
    Self copy = self_of(100);
    copy.gossip = address_of(3);
    // It hears and speaks, but what is dialled at the address is node 3.
    const wire::Claim claim{[&] {
                                Member m;
                                m.id = copy.id;
                                m.boot_epoch = 1;
                                m.gossip = copy.gossip;
                                return m;
                            }(),
                            copy.id};
    mesh.inject(0, copy.id, {wire::Join{claim, 8}, {}});
    mesh.run(20s);
    CHECK(mesh.all_see(3, MemberState::alive));
    CHECK(mesh.warned(0, "both advertise"));
}

TEST_CASE("leaving is known everywhere at once and is final for that life") {
    // `fastreg leave` hands everything off; the others must not wait for a timeout, nor call it back.
    Mesh mesh(15);
    mesh.grow(40, 10s);
    mesh.tell(9, [&](Gossip& core, Outbox& out) { core.leave(mesh.now, out); });
    const auto took = mesh.run_until(20s, [&] { return mesh.all_see(9, MemberState::left); });
    REQUIRE(took);
    CHECK(*took < 3s);
    REQUIRE(mesh.run_until(20s, [&] { return mesh.nodes[9].core->quiet(); }));
    mesh.kill(9);
    mesh.run(120s);
    CHECK(mesh.all_see(9, MemberState::left));
    mesh.boot(9, self_of(9, 2), {0});  // a higher epoch is a new life
    REQUIRE(mesh.run_until(20s, [&] { return mesh.all_alive(); }));
}

TEST_CASE("a stopping node keeps its place for ten minutes") {
    // A rolling restart must move no data, however long one node takes to come back.
    Mesh mesh(16);
    mesh.grow(20, 10s);
    mesh.tell(4, [&](Gossip& core, Outbox& out) { core.stop(mesh.now, out); });
    mesh.run(5s);
    mesh.kill(4);
    CHECK(mesh.all_see(4, MemberState::stopping));
    mesh.run(9min);
    CHECK(mesh.all_see(4, MemberState::stopping));
    CHECK(mesh.deaths.empty());
    mesh.boot(4, self_of(4, 2), {0});
    REQUIRE(mesh.run_until(20s, [&] { return mesh.all_alive(); }));
    mesh.tell(4, [&](Gossip& core, Outbox& out) { core.stop(mesh.now, out); });
    mesh.run(5s);
    mesh.kill(4);
    const auto gone = mesh.run_until(15min, [&] { return mesh.all_see(4, MemberState::dead); });
    REQUIRE(gone);
    CHECK(*gone > 9min);
    CHECK(*gone < 11min);
}

TEST_CASE("a rolling restart of every node is seen as nothing but stops and starts") {
    // The most common thing that happens to a mesh.
    Mesh mesh(17);
    mesh.grow(15, 10s);
    for (std::size_t n = 0; n < 15; ++n) {
        mesh.tell(n, [&](Gossip& core, Outbox& out) { core.stop(mesh.now, out); });
        mesh.run(2s);
        mesh.kill(n);
        mesh.run(3s);
        mesh.boot(n, self_of(n, 2), {(n + 1) % 15});
        mesh.run(5s);
    }
    CHECK(mesh.deaths.empty());
    CHECK(mesh.all_alive());
}

TEST_CASE("every node is told which links to hold, and both ends agree") {
    // Full meshes cost sockets, no links cost a dial for every message.
    Mesh mesh(18);
    mesh.grow(120, 30s);
    for (std::size_t n = 0; n < 120; ++n) {
        const auto& keep = mesh.nodes[n].keep;
        CHECK(keep.size() >= 7);
        CHECK(keep.size() <= 10);
        for (const NodeId& id : keep) {
            for (std::size_t m = 0; m < 120; ++m) {
                if (mesh.nodes[m].core->self().id != id) continue;
                const auto& theirs = mesh.nodes[m].keep;
                CHECK(std::count(theirs.begin(), theirs.end(), id_of(n)) == 1);
            }
        }
    }
}

TEST_CASE("an idle mesh has a round-trip estimate of its neighbours") {
    // Transfer picks near peers by it.
    NetOptions net;
    net.latency_min = net.latency_max = 3ms;
    Mesh mesh(19, net);
    mesh.grow(5, 30s);
    const auto rtt = mesh.nodes[0].core->rtt(id_of(1));
    REQUIRE(rtt);
    CHECK(*rtt == Duration(6ms));
}

TEST_CASE("partitions that flap, loss and pauses leave every table whole") {
    // Several faults at once, with every invariant checked after every event.
    NetOptions net;
    net.loss = 0.2;
    net.decode = true;
    Mesh mesh(20, net);
    mesh.check = true;
    mesh.grow(25, 10s);
    Rng rng(3);
    for (int round = 0; round < 20; ++round) {
        const auto cut = static_cast<int>(rng.below(25));
        mesh.split([&](std::size_t n) { return static_cast<int>(n) < cut ? 1 : 0; });
        mesh.pause(static_cast<std::size_t>(rng.below(25)), 4s);
        mesh.run(6s);
        mesh.heal();
        mesh.run(4s);
    }
    CHECK(mesh.broken.empty());
    REQUIRE(mesh.run_until(120s, [&] { return mesh.all_alive(); }));
}
