// Links over the fake verbs: connecting, asking, cancelling, and every way a link may end.
#include <set>

#include "rdma_rig.h"

namespace fastreg::transport::rdma::test {
namespace {

/// A asks B, which serves pattern(kBigChunk).
struct Pair : RdmaWorld {
    explicit Pair(const std::function<void(Engine::Options&)>& adjust = {}, LinkLayer layer = LinkLayer::roce)
        : a(add(1, adjust, layer)), b(add(2, adjust, layer)) {
        b.file = std::make_shared<MemoryFile>(pattern(kBigChunk));
        connect(a, b);
        REQUIRE(a.ups == 1);
    }
    RdmaNode& a;
    RdmaNode& b;
};

void chunks_arrive(LinkLayer layer) {
    Pair world({}, layer);
    std::map<RequestId, std::shared_ptr<CollectingSink>> sinks;
    for (RequestId i = 1; i <= 40; ++i) {  // more than slots, depth and send room allow at once
        sinks[i] = sink();
        FetchOrder order = world.a.order(world.b, i, sinks[i], kBigBlob, 0);
        order.urgent = i % 10 == 0;
        world.a.engine->fetch(world.a.now, order);
    }
    world.pump();
    for (const auto& [request, got] : sinks) {
        REQUIRE(world.a.done.contains(request));
        CHECK(world.a.done[request] == FetchEnd::all_sent_to_sink);
        CHECK(got->bytes() == pattern(kBigChunk));
        CHECK(world.b.served[request] == std::pair{true, kBigChunk});
        CHECK(world.a.progress[request] == kBigChunk);
    }
    CHECK(world.b.counters.reads == 1);  // one read for all of them
    CHECK(world.b.counters.read_hits == 39);
    CHECK(world.a.counters.slots_free == 16);
    CHECK(world.a.downs == 0);
}

TEST_CASE("chunks land whole, many more than there are slots, and each is read once") {
    SUBCASE("RoCE") { chunks_arrive(LinkLayer::roce); }
    SUBCASE("iWARP, with every write signalled") { chunks_arrive(LinkLayer::iwarp); }
    SUBCASE("InfiniBand") { chunks_arrive(LinkLayer::infiniband); }
}

TEST_CASE("no peer is granted more slots than it may have, however many are free") {
    // Or one peer that dies takes all of them into quarantine, and one that is slow keeps them from the others.
    Pair world([](Engine::Options& options) { options.landing_slots = 128; });
    world.b.reads_held = true;
    for (RequestId i = 1; i <= 20; ++i) world.a.engine->fetch(world.a.now, world.a.order(world.b, i, sink()));
    world.pump();
    CHECK(world.b.asked.size() == 8);
    CHECK(world.a.counters.slots_free == 120);
    world.b.reads_held = false;
    world.pump();
    CHECK(world.b.asked.size() == 20);
}

TEST_CASE("an empty chunk and a short last one land as they are") {
    // A zero-byte layer is legal, and the last chunk is rarely whole.
    Pair world;
    const auto empty = sink();
    world.a.engine->fetch(world.a.now, world.a.order(world.b, 1, empty, 0));
    const auto small = sink();
    world.b.file = std::make_shared<MemoryFile>(pattern(1000));
    world.a.engine->fetch(world.a.now, world.a.order(world.b, 2, small, 1000));
    world.pump();
    CHECK(world.a.done[1] == FetchEnd::all_sent_to_sink);
    CHECK(empty->calls() == 1);
    CHECK(empty->size() == 0);
    CHECK(small->bytes() == pattern(1000));
}

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

TEST_CASE("a refusal ends the request, says why, and frees its slot") {
    Pair world;
    world.b.file.reset();
    world.a.engine->fetch(world.a.now, world.a.order(world.b, 1, sink()));
    world.a.engine->fetch(world.a.now, world.a.order(world.b, 2, sink()));
    world.pump();
    REQUIRE(world.b.asked.size() == 2);
    world.b.engine->refuse(world.b.now, world.a.id, 1, wire::RdmaNack::Why::busy, false, {node(5), node(6), node(7)});
    world.b.engine->refuse(world.b.now, world.a.id, 2, wire::RdmaNack::Why::not_here, true, {});
    world.pump();
    CHECK(world.a.done[1] == FetchEnd::busy);
    CHECK(world.a.done[2] == FetchEnd::not_here);
    REQUIRE(world.a.messages.size() == 2);
    CHECK(std::get<wire::Busy>(world.a.messages[0]).try_instead.size() == wire::kRdmaTryMax);
    CHECK(std::get<wire::NotHere>(world.a.messages[1]).whole);
    CHECK(world.a.counters.slots_free == 16);
    world.b.engine->refuse(world.b.now, world.a.id, 2, wire::RdmaNack::Why::busy, false, {});  // ended already
    world.pump();
    CHECK(world.a.downs == 0);
}

TEST_CASE("a file that cannot be read is NotHere for all who wait for it") {
    Pair world;
    world.b.file = std::make_shared<MemoryFile>(pattern(100));  // shorter than the chunk
    for (RequestId i = 1; i <= 3; ++i) world.a.engine->fetch(world.a.now, world.a.order(world.b, i, sink()));
    world.pump();
    for (RequestId i = 1; i <= 3; ++i) {
        CHECK(world.a.done[i] == FetchEnd::not_here);
        CHECK_FALSE(world.b.served[i].first);
    }
    CHECK(world.b.counters.sources_in_use == 0);
}

TEST_CASE("a cancelled request ends at once; its slot waits for the peer's word") {
    Pair world;
    world.b.reads_held = true;  // so that nothing is on its way yet
    world.a.engine->fetch(world.a.now, world.a.order(world.b, 1, sink()));
    world.pump();
    world.a.engine->cancel_fetch(world.a.now, world.b.id, 1);
    CHECK(world.a.done[1] == FetchEnd::cancelled);
    CHECK(world.a.counters.slots_free == 15);
    world.pump();
    CHECK(world.a.counters.slots_free == 16);
    CHECK_FALSE(world.b.served[1].first);
    world.b.reads_held = false;
    world.pump();  // the read that was under way ends, and keeps its chunk for the next
    CHECK(world.b.counters.sources_in_use == 0);
    CHECK(world.a.downs == 0);
}

TEST_CASE("a cancel that crosses the DONE frees the slot once, and the link lives on") {
    // The commonest race of all: end-game cancels.
    Pair world;
    world.fabric.hold(&world.b.verbs, true);
    const auto late = sink();
    world.a.engine->fetch(world.a.now, world.a.order(world.b, 1, late));
    world.pump();
    REQUIRE(world.fabric.on_wire() > 0);
    world.a.engine->cancel_fetch(world.a.now, world.b.id, 1);
    world.pump();
    CHECK(world.a.counters.slots_free == 15);
    world.fabric.hold(&world.b.verbs, false);
    world.pump();
    CHECK(world.a.done[1] == FetchEnd::cancelled);
    CHECK(late->calls() == 0);
    CHECK(world.a.counters.slots_free == 16);
    CHECK(world.b.served[1].first);
    const auto next = sink();
    world.a.engine->fetch(world.a.now, world.a.order(world.b, 2, next));
    world.pump();
    CHECK(next->bytes() == pattern(kBigChunk));
    CHECK(world.a.downs == 0);
}

TEST_CASE("a write in flight when its request timed out never lands in a slot that was given out again") {
    // The bug that bit nbs, pegaflow, monarch, DingoCache and vLLM, with a write provably on the wire.
    Pair world([](Engine::Options& options) { options.links.slots_per_peer = 4; });
    world.fabric.hold(&world.b.verbs, true);
    std::map<RequestId, std::shared_ptr<CollectingSink>> sinks;
    for (RequestId i = 1; i <= 3; ++i) {
        sinks[i] = sink();
        world.a.engine->fetch(world.a.now, world.a.order(world.b, i, sinks[i]));
    }
    world.pump();
    REQUIRE(world.fabric.on_wire() >= 12);
    const std::size_t landed = world.fabric.landed();
    world.pass(5200ms);  // the requests time out: they may be tried elsewhere
    for (RequestId i = 1; i <= 3; ++i) CHECK(world.a.done[i] == FetchEnd::link_lost);
    CHECK(world.a.counters.slots_free == 13);
    CHECK(world.a.downs == 0);
    world.pass(2200ms);  // nor does their end come: the connection is torn down
    CHECK(world.a.downs == 1);
    CHECK(world.a.counters.slots_quarantined == 0);
    CHECK(world.a.counters.slots_free == 16);
    // All slots in the hands of others now; the writes arrive at last.
    RdmaNode& c = world.add(3);
    c.reads_held = true;
    c.file = world.b.file;
    world.connect(world.a, c);
    for (RequestId i = 11; i <= 14; ++i) world.a.engine->fetch(world.a.now, world.a.order(c, i, sink()));
    world.pump();
    world.fabric.hold(&world.b.verbs, false);
    world.pump();
    CHECK(world.fabric.landed() == landed);
    CHECK(world.fabric.too_late() >= 12);  // they were in flight, and found no queue pair
    for (const auto& [request, got] : sinks) CHECK(got->calls() == 0);
}

TEST_CASE("a queue pair that its device does not let go keeps its slots") {
    // Only a driver that fails does so; to give the slots out all the same would be the bug of above.
    Pair world;
    world.b.reads_held = true;
    world.a.engine->fetch(world.a.now, world.a.order(world.b, 1, sink()));
    world.pump();
    world.a.verbs.keep_queues(true);
    world.a.engine->drop(world.a.now, world.b.id, "dropped");
    world.pass(10s);
    CHECK(world.a.downs == 1);
    CHECK(world.a.counters.slots_quarantined == 1);
    CHECK(world.a.engine->links() == 1);
    world.a.verbs.keep_queues(false);
    world.pass(3s);
    CHECK(world.a.counters.slots_quarantined == 0);
    CHECK(world.a.counters.slots_free == 16);
    CHECK(world.a.engine->links() == 0);
}

TEST_CASE("requests that wait behind cancelled ones are not silence of the peer") {
    // A client gave up; the slots of its chunks come back one after the other, and the next client's wait for them.
    Pair world([](Engine::Options& options) { options.links.slots_per_peer = 2; });
    world.b.reads_held = true;
    for (RequestId i = 1; i <= 2; ++i) world.a.engine->fetch(world.a.now, world.a.order(world.b, i, sink()));
    world.pump();
    world.fabric.hold(&world.b.verbs, true);  // the ends are on their way
    for (RequestId i = 1; i <= 2; ++i) world.a.engine->cancel_fetch(world.a.now, world.b.id, i);
    world.a.engine->fetch(world.a.now, world.a.order(world.b, 3, sink()));
    world.pass(1s);
    CHECK(world.a.pauses[3] >= 8);
    CHECK(world.a.downs == 0);
    world.fabric.hold(&world.b.verbs, false);
    world.b.reads_held = false;
    world.pump();
    CHECK(world.a.done[3] == FetchEnd::all_sent_to_sink);
}

TEST_CASE("until its queue pair is destroyed a slot is not given out, however long that takes") {
    // The other half: while the late write can still land, nobody else has the slot.
    Pair world;
    world.fabric.hold(&world.b.verbs, true);
    world.fabric.keep_completions(&world.a.verbs, true);  // so that the teardown has to wait
    world.a.engine->fetch(world.a.now, world.a.order(world.b, 1, sink()));
    world.pump();
    world.a.engine->drop(world.a.now, world.b.id, "no byte for 2 s");
    CHECK(world.a.done[1] == FetchEnd::link_lost);
    world.pump();
    CHECK(world.a.counters.slots_quarantined == 1);
    world.fabric.hold(&world.b.verbs, false);
    world.pump();
    CHECK(world.fabric.landed() >= 1);  // it landed, in a slot that is still its own
    CHECK(world.a.counters.slots_free == 15);
    world.pass(3s);  // the drain is bounded
    CHECK(world.a.counters.slots_free == 16);
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

TEST_CASE("who waits for a slot of this node is not called silent, and a client's chunk does not wait") {
    // A disk slower than the fabric keeps all slots full: that is no fault of the peers'.
    Pair world;
    std::vector<std::shared_ptr<CollectingSink>> full;
    for (RequestId i = 1; i <= 16; ++i) {
        full.push_back(std::make_shared<CollectingSink>(true));
        world.a.engine->fetch(world.a.now, world.a.order(world.b, i, full.back()));
    }
    world.pump();
    REQUIRE(world.a.counters.slots_free == 0);
    const auto last = sink();
    world.a.engine->fetch(world.a.now, world.a.order(world.b, 17, last));
    world.pass(1s);
    CHECK(world.a.pauses[17] >= 9);
    CHECK(world.a.pauses[17] <= 11);
    FetchOrder urgent = world.a.order(world.b, 18, sink());
    urgent.urgent = true;
    world.a.engine->fetch(world.a.now, urgent);
    world.pump();
    CHECK(world.a.done[18] == FetchEnd::no_slot);  // by TCP, which has a block for it
    CHECK(world.a.downs == 0);
    CHECK_FALSE(world.a.done.contains(17));
    full.front()->let_go();
    world.pump();
    CHECK(world.a.done[17] == FetchEnd::all_sent_to_sink);
    CHECK(last->bytes() == pattern(kBigChunk));
    const int pauses = world.a.pauses[17];
    world.pass(1s);
    CHECK(world.a.pauses[17] == pauses);
}

TEST_CASE("a chunk that takes long lands in silence, and the peer is not called silent before its time") {
    // Nobody sees how much of a chunk has landed: a slow peer with many askers was dropped every two seconds.
    Pair world;
    world.b.reads_held = true;
    world.a.engine->fetch(world.a.now, world.a.order(world.b, 1, sink()));
    world.pass(900ms);
    CHECK(world.a.pauses[1] >= 8);  // of the first chunks nothing is known
    world.pass(1s);
    CHECK(world.a.pauses[1] <= 10);
    world.b.reads_held = false;
    world.pump();
    REQUIRE(world.a.done[1] == FetchEnd::all_sent_to_sink);
    world.b.reads_held = true;  // the next may take three times as long as the last: 5.7 s
    world.a.engine->fetch(world.a.now, world.a.order(world.b, 2, sink(), 1U << 30U));  // not in a slot there
    world.pass(5s);
    CHECK(world.a.pauses[2] >= 48);
    world.pass(5s);
    CHECK(world.a.pauses[2] <= 60);
    CHECK_FALSE(world.a.done.contains(2));
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

TEST_CASE("slots that the store gave back are shown as free, though nothing else happens") {
    Pair world;
    const auto kept = std::make_shared<CollectingSink>(true);
    world.a.engine->fetch(world.a.now, world.a.order(world.b, 1, kept));
    world.pump();
    CHECK(world.a.counters.slots_free == 15);
    kept->let_go();
    CHECK(world.a.engine->next_deadline() <= world.a.now + 250ms);
    world.pass(300ms);
    CHECK(world.a.counters.slots_free == 16);
    CHECK(world.a.engine->next_deadline() > world.a.now + 10s);
}

TEST_CASE("slots that come free one by one go to all peers in turn") {
    RdmaWorld world;
    RdmaNode& a = world.add(1);
    std::vector<std::shared_ptr<CollectingSink>> full;
    for (unsigned n = 2; n <= 4; ++n) {
        RdmaNode& peer = world.add(n);
        peer.file = std::make_shared<MemoryFile>(pattern(kBigChunk));
        world.connect(a, peer);
    }
    for (RequestId i = 1; i <= 16; ++i) {
        full.push_back(std::make_shared<CollectingSink>(true));
        a.engine->fetch(a.now, a.order(*world.nodes[1], i, full.back()));
    }
    world.pump();
    REQUIRE(a.counters.slots_free == 0);
    for (RequestId i = 0; i < 30; ++i) {
        full.push_back(std::make_shared<CollectingSink>(true));
        a.engine->fetch(a.now, a.order(*world.nodes[1 + i % 3], 100 + i, full.back()));
    }
    world.pump();
    for (std::size_t i = 0; i < 6; ++i) {
        full[i]->let_go();
        world.pump();
    }
    std::map<RequestId, int> by_peer;
    for (const auto& [request, end] : a.done) {
        if (request >= 100) ++by_peer[(request - 100) % 3];
    }
    for (RequestId peer = 0; peer < 3; ++peer) CHECK(by_peer[peer] == 2);
    for (const auto& sink : full) sink->let_go();
}

TEST_CASE("one peer that dies leaves slots for the others, however small the pool") {
    Pair world;
    RdmaNode& c = world.add(3);
    c.file = world.b.file;
    world.connect(world.a, c);
    world.b.reads_held = true;
    for (RequestId i = 1; i <= 16; ++i) world.a.engine->fetch(world.a.now, world.a.order(world.b, i, sink()));
    world.pump();
    world.fabric.keep_completions(&world.a.verbs, true);  // its queue pair is not gone for a while
    world.a.engine->drop(world.a.now, world.b.id, "no byte for 2 s");
    world.pump();
    REQUIRE(world.a.counters.slots_quarantined == 4);
    world.fabric.keep_completions(&world.a.verbs, false);
    const auto got = sink();
    world.a.engine->fetch(world.a.now, world.a.order(c, 50, got));
    world.pump();
    CHECK(got->bytes() == pattern(kBigChunk));
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

TEST_CASE("an end that is lost is asked for, and an end that comes twice closes the link") {
    Pair world;
    const auto is_done = [&](const FakeVerbs* from, ByteView message) {
        const auto decoded = wire::decode_rdma(message);
        return from == &world.b.verbs && decoded && std::holds_alternative<wire::RdmaDone>(*decoded);
    };
    using Fate = FakeFabric::Fate;
    Fate fate = Fate::once;
    world.fabric.fate = [&](const FakeVerbs* from, ByteView m) { return is_done(from, m) ? fate : Fate::once; };
    SUBCASE("lost") {
        fate = Fate::lost;
        world.a.engine->fetch(world.a.now, world.a.order(world.b, 1, sink()));
        world.pump();
        CHECK(world.a.done.empty());
        CHECK(world.a.counters.slots_free == 15);
        world.pass(5200ms);
        CHECK(world.a.done[1] == FetchEnd::link_lost);
        CHECK(world.a.counters.slots_free == 16);  // the cancel was answered: its end
        CHECK(world.a.downs == 0);
    }
    SUBCASE("twice") {
        fate = Fate::twice;
        world.a.engine->fetch(world.a.now, world.a.order(world.b, 1, sink()));
        world.pump();
        CHECK(world.a.done[1] == FetchEnd::all_sent_to_sink);
        CHECK(world.a.downs == 1);
        CHECK(world.a.why.find("broke the protocol") != std::string::npos);
        world.pass(3s);
        CHECK(world.a.counters.slots_free == 16);
    }
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
