// Links over the fake verbs: connecting, making room, addresses, and every way a link may end.
#include "rdma_rig.h"

namespace fastreg::transport::rdma::test {
namespace {

TEST_CASE("both nodes ask each other over two links") {
    // Connections have one direction: who asks connects. Two that connect at once make two links.
    RdmaWorld world;
    RdmaNode& a = world.add(1);
    RdmaNode& b = world.add(2);
    a.file = b.file = std::make_shared<MemoryFile>(pattern(kBigChunk));
    a.engine->connect(a.now, b.id, b.address);
    b.engine->connect(b.now, a.id, a.address);
    a.engine->connect(a.now, b.id, b.address);  // twice is harmless
    world.pump();
    CHECK(a.ups == 1);
    CHECK(b.ups == 1);
    const auto to_a = sink();
    const auto to_b = sink();
    a.engine->fetch(a.now, a.order(b, 1, to_a));
    b.engine->fetch(b.now, b.order(a, 1, to_b));
    world.pump();
    CHECK(to_a->bytes() == pattern(kBigChunk));
    CHECK(to_b->bytes() == pattern(kBigChunk));
    CHECK(a.counters.links_out == 1);
    CHECK(a.counters.links_in == 1);
}

TEST_CASE("a link ends in one order: error, disconnect, queue pair, id") {
    // Any other order loses completions, hangs the library or frees memory that is in use.
    Pair world;
    world.a.engine->fetch(world.a.now, world.a.order(world.b, 1, sink()));
    world.a.engine->drop(world.a.now, world.b.id, "enough");
    world.pump();
    world.pass(3s);
    for (const FakeVerbs* verbs : {&world.a.verbs, &world.b.verbs}) {
        std::vector<std::string> order;
        for (const auto& [conn, what] : verbs->ends()) order.push_back(what);
        CHECK(order == std::vector<std::string>{"error", "disconnect", "destroy", "close"});
        CHECK(verbs->open_connections() == 0);
    }
    CHECK(world.a.orderly);
    CHECK(world.b.counters.sources_in_use == 0);
}

TEST_CASE("the death of the peer ends its requests at once") {
    Pair world;
    world.b.reads_held = true;
    world.a.engine->fetch(world.a.now, world.a.order(world.b, 1, sink()));
    world.pump();
    world.lose(world.b);
    world.pump();
    CHECK(world.a.done[1] == FetchEnd::link_lost);
    CHECK(world.a.downs == 1);
    CHECK_FALSE(world.a.orderly);
    world.pass(3s);
    CHECK(world.a.counters.slots_free == 16);
}

TEST_CASE("an asker that goes away gives its source slots back") {
    Pair world;
    world.b.reads_held = true;
    for (RequestId i = 1; i <= 3; ++i) world.a.engine->fetch(world.a.now, world.a.order(world.b, i, sink()));
    world.pump();
    world.lose(world.a);
    world.pump();
    for (RequestId i = 1; i <= 3; ++i) CHECK(world.b.served[i] == std::pair{false, std::uint64_t{0}});
    int cancels = 0;
    for (const auto& message : world.b.messages) cancels += std::holds_alternative<wire::Cancel>(message) ? 1 : 0;
    CHECK(cancels == 3);
    world.b.reads_held = false;
    world.pass(3s);
    CHECK(world.b.counters.sources_in_use == 0);
    CHECK(world.b.engine->links() == 0);
}

TEST_CASE("a peer that does not answer the connect is given up after three seconds") {
    // The kernel's own time-out is 65 s.
    RdmaWorld world;
    RdmaNode& a = world.add(1);
    RdmaNode& b = world.add(2);
    world.fabric.set_black_hole(&b.verbs, true);
    world.connect(a, b);
    world.pass(2900ms);
    CHECK(a.downs == 0);
    world.pass(200ms);
    CHECK(a.downs == 1);
    CHECK_FALSE(a.orderly);
    CHECK(a.verbs.open_connections() == 0);
    a.engine->connect(a.now, node(9), {"10.0.0.9", 1});
    world.pump();
    CHECK(a.downs == 2);
    CHECK(a.why == "nobody listens there");
}

TEST_CASE("a device that is removed takes its links along, and nothing else") {
    Pair world;
    world.b.reads_held = true;
    world.a.engine->fetch(world.a.now, world.a.order(world.b, 1, sink()));
    world.pump();
    world.a.verbs.remove_device();
    world.pump();
    CHECK(world.a.done[1] == FetchEnd::link_lost);
    CHECK(world.a.why == "the RDMA device was removed");
    world.pass(3s);
    CHECK(world.a.engine->links() == 0);
    world.a.engine->connect(world.a.now, world.b.id, world.b.address);
    CHECK(world.a.downs == 2);
    world.a.engine->fetch(world.a.now, world.a.order(world.b, 2, sink()));
    CHECK(world.a.done[2] == FetchEnd::link_lost);
}

TEST_CASE("two thousand connects and closes leave nothing behind") {
    RdmaWorld world;
    RdmaNode& a = world.add(1);
    RdmaNode& b = world.add(2);
    for (int i = 0; i < 2000; ++i) {
        world.connect(a, b);
        a.engine->drop(a.now, b.id, "again");
        world.pump();
    }
    world.pass(200ms);
    CHECK(a.ups == 2000);
    CHECK(a.verbs.open_connections() == 0);
    CHECK(b.verbs.open_connections() == 0);
    CHECK(a.engine->links() == 0);
    CHECK(b.engine->links() == 0);
}

TEST_CASE("an idle link is closed, and one too many makes room by the idlest") {
    RdmaWorld world;
    RdmaNode& a = world.add(1, [](Engine::Options& options) { options.links_max = 2; });
    RdmaNode& b = world.add(2);
    RdmaNode& c = world.add(3);
    RdmaNode& d = world.add(4);
    world.connect(a, b);
    world.connect(a, c);
    world.pass(1s);
    b.file = std::make_shared<MemoryFile>(pattern(kBigChunk));
    a.engine->fetch(a.now, a.order(b, 1, sink()));  // so that c's has been idle longer, whatever the ids
    world.pump();
    world.connect(a, d);
    CHECK(a.ups == 3);
    CHECK(a.downs == 1);
    CHECK(a.orderly);
    CHECK(b.counters.links_in == 1);
    CHECK(c.counters.links_in == 0);
    CHECK(c.askers_gone == std::vector{a.id});
    // An end that nobody suffers from is none of the failures that an operator looks for.
    CHECK(c.counters.links_broken == 0);
    world.pass(61s);
    CHECK(a.downs == 3);
    CHECK(a.why == "idle");
    CHECK(a.engine->links() == 0);
}

TEST_CASE("too many connections in make room by one that is idle, and never by one at work") {
    RdmaWorld world;
    RdmaNode& b = world.add(9, [](Engine::Options& options) { options.links_max = 2; });
    b.file = std::make_shared<MemoryFile>(pattern(kBigChunk));
    b.reads_held = true;
    RdmaNode& busy = world.add(1);
    RdmaNode& idle = world.add(2);
    RdmaNode& third = world.add(3);
    world.connect(busy, b);
    world.connect(idle, b);
    world.pass(1100ms);
    busy.engine->fetch(busy.now, busy.order(b, 1, sink()));
    world.pump();
    world.connect(third, b);
    CHECK(third.ups == 1);
    CHECK(idle.downs == 1);
    CHECK(idle.orderly);  // it lost nothing, and blames nobody
    CHECK(busy.downs == 0);
    third.engine->fetch(third.now, third.order(b, 2, sink()));
    world.pump();
    RdmaNode& fourth = world.add(4);
    world.connect(fourth, b);
    CHECK(fourth.downs == 1);
    CHECK(fourth.why == "refused: too many connections");
}

TEST_CASE("a peer that ends a new link at once is not connected to again and again") {
    Pair world;
    world.b.engine->drop(world.b.now, world.a.id, "not wanted");
    world.pump();
    CHECK(world.a.downs == 1);
    CHECK_FALSE(world.a.orderly);  // so that it is left alone for a while
}

TEST_CASE("the address that peers are told is one of a device that works") {
    const std::vector<Device> both{{"rxe0", LinkLayer::roce, false, 4096, 0, {"10.77.0.1"}},
                                   {"siw0", LinkLayer::iwarp, true, 4096, 0, {"10.78.0.1"}}};
    const auto told = [](const std::vector<Device>& devices, const std::string& advertise,
                         const std::string& listening = "0.0.0.0") {
        std::optional<DeviceIndex> leads_to;
        return host_to_advertise(devices, advertise, listening, leads_to);
    };
    CHECK(told(both, "") == "10.78.0.1");
    CHECK(told(both, "10.78.0.1") == "10.78.0.1");
    CHECK(told(both, "10.77.0.1").empty());  // told to everybody, though its device is down
    CHECK(told(both, "192.0.2.7") == "192.0.2.7");  // translated on the way
    CHECK(told(both, "", "10.78.0.1") == "10.78.0.1");
    CHECK(told(both, "", "10.77.0.1").empty());
    const std::vector<Device> bare{{"mlx5_0", LinkLayer::roce, true, 4096, 0, {}}};
    CHECK(told(bare, "").empty());
    CHECK(told(bare, "192.0.2.7") == "192.0.2.7");
    CHECK(told({}, "192.0.2.7").empty());
    // 0.0.0.0 takes nothing over IPv6, and :: takes both.
    const std::vector<Device> mixed{{"mlx5_0", LinkLayer::roce, true, 4096, 0, {"fd00::1"}},
                                    {"mlx5_1", LinkLayer::roce, true, 4096, 0, {"fd00::2", "192.0.2.7"}}};
    CHECK(told(mixed, "") == "192.0.2.7");
    CHECK(told(mixed, "", "::") == "fd00::1");
    // Whoever is down or gone may have lost its addresses; and one address has many spellings.
    std::vector<Device> six{{"mlx5_0", LinkLayer::roce, true, 4096, 0, {"fd00::1"}},
                            {"mlx5_1", LinkLayer::roce, true, 4096, 0, {"fd00::2"}}};
    std::optional<DeviceIndex> leads_to;
    CHECK(host_to_advertise(six, "fd00:0::1", "::", leads_to) == "fd00:0::1");
    six[0].active = false;
    six[0].addresses.clear();
    CHECK(host_to_advertise(six, "fd00:0::1", "::", leads_to).empty());
    six[0].active = true;
    CHECK(host_to_advertise(six, "fd00:0::1", "::", leads_to) == "fd00:0::1");
}

TEST_CASE("a link that breaks while its chunk is read ends all that waited for that chunk") {
    // The first write finds out; the others of the same read must find a link that is closing.
    Pair world;
    world.b.reads_held = true;
    for (RequestId i = 1; i <= 3; ++i) world.a.engine->fetch(world.a.now, world.a.order(world.b, i, sink()));
    world.pump();
    REQUIRE(world.b.asked.size() == 3);
    world.b.verbs.remove_device();
    world.b.reads_held = false;
    world.pump();
    for (RequestId i = 1; i <= 3; ++i) CHECK(world.b.served[i] == std::pair{false, std::uint64_t{0}});
    world.pass(3s);
    CHECK(world.b.counters.sources_in_use == 0);
    CHECK(world.b.engine->links() == 0);
}

TEST_CASE("a link that breaks takes what waits for a source slot along") {
    Pair world([](Engine::Options& options) { options.source_slots = 1; });
    world.b.reads_held = true;
    for (RequestId i = 1; i <= 4; ++i) {
        FetchOrder order = world.a.order(world.b, i, sink());
        order.digest = digest_of(HashAlg::sha256, as_bytes(std::to_string(i)));  // each a slot of its own
        world.a.engine->fetch(world.a.now, order);
    }
    world.pump();
    REQUIRE(world.b.asked.size() == 4);
    world.b.verbs.remove_device();
    world.b.reads_held = false;
    world.pump();
    for (RequestId i = 1; i <= 4; ++i) CHECK(world.b.served[i] == std::pair{false, std::uint64_t{0}});
    world.pass(3s);
    CHECK(world.b.counters.sources_in_use == 0);
}

TEST_CASE("memory that may not be pinned is an error that names the limit") {
    FakeFabric fabric;
    FakeVerbs verbs(fabric);
    verbs.deny_memory();
    RdmaWorld world;
    RdmaNode& owner = world.add(1);
    Counters counters;
    const auto made = Engine::create(verbs, {}, owner, counters, {});
    REQUIRE_FALSE(made);
    CHECK(made.error().what.find("memlock") != std::string::npos);
}

}  // namespace
}  // namespace fastreg::transport::rdma::test
