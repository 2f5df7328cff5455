// Requests over the fake verbs: chunks that land, requests that are refused, cancelled, late or waiting, and what
// becomes of their slots.
#include <set>

#include "rdma_rig.h"

namespace fastreg::transport::rdma::test {
namespace {

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

TEST_CASE("a cancelled request whose end never comes costs its slot half a minute, however busy the peer is") {
    // A peer that ended everything but these would have them all in the end.
    Pair world;
    world.fabric.fate = [&](const FakeVerbs* from, ByteView message) {
        const auto decoded = wire::decode_rdma(message);
        const auto* nack = decoded ? std::get_if<wire::RdmaNack>(&*decoded) : nullptr;
        return from == &world.b.verbs && nack != nullptr ? FakeFabric::Fate::lost : FakeFabric::Fate::once;
    };
    world.b.reads_held = true;
    world.a.engine->fetch(world.a.now, world.a.order(world.b, 1, sink()));
    world.pump();
    world.a.engine->cancel_fetch(world.a.now, world.b.id, 1);
    world.b.reads_held = false;
    RequestId next = 2;
    const auto go_on = [&](int seconds) {
        for (int i = 0; i < seconds && world.a.downs == 0; ++i) {
            world.a.engine->fetch(world.a.now, world.a.order(world.b, next++, sink()));
            world.pass(1s);
        }
    };
    go_on(30);
    CHECK(world.a.downs == 0);
    go_on(5);
    CHECK(world.a.downs == 1);
    CHECK(world.a.why.find("a cancelled request") != std::string::npos);
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
    world.b.reads_held = true;  // nothing ended for 1.9 s before: twice that is not silence
    world.a.engine->fetch(world.a.now, world.a.order(world.b, 2, sink(), 1U << 30U));  // not in a slot there
    world.pass(3600ms);
    CHECK(world.a.pauses[2] >= 34);
    world.pass(5s);
    CHECK(world.a.pauses[2] <= 40);
    CHECK_FALSE(world.a.done.contains(2));
}

TEST_CASE("a peer that ends one of many chunks often is silent soon, though each takes long") {
    // A slow device with many askers: a source that was stopped counted as at work for three times 2 s.
    Pair world;
    world.b.reads_held = true;
    RequestId next = 1;
    const auto ask = [&] {
        auto order = world.a.order(world.b, next++, sink());
        order.digest = digest_of(HashAlg::sha256, as_bytes(std::to_string(next)));  // each one is read for itself
        world.a.engine->fetch(world.a.now, order);
    };
    const auto pauses = [&] {
        int all = 0;
        for (const auto& [request, count] : world.a.pauses) all += count;
        return all;
    };
    for (int i = 0; i < 8; ++i) ask();
    for (int ended = 0; ended < 24; ++ended) {
        world.pass(250ms);
        REQUIRE(!world.b.reads.empty());
        const auto read = std::move(world.b.reads.front());
        world.b.reads.erase(world.b.reads.begin());
        read();
        world.pump();
        REQUIRE(world.a.done.size() == static_cast<std::size_t>(ended) + 1);
        ask();  // it takes 2 s
    }
    const int at_work = pauses();
    world.pass(900ms);  // of the stop
    CHECK(pauses() >= at_work + 8);
    const int stopped = pauses();
    world.pass(200ms);
    const int silent = pauses();
    CHECK(silent <= stopped + 16);  // the last words on the eight that are open
    world.pass(5s);
    CHECK(pauses() == silent);
    CHECK(world.a.downs == 0);  // what to do about it is the transfer core's to say
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

}  // namespace
}  // namespace fastreg::transport::rdma::test
