// What strangers and broken peers may put into greetings, requests and their ends: refused, counted, closed,
// and nothing written where it should not be.
#include "rdma_rig.h"

namespace fastreg::transport::rdma::test {
namespace {

/// One node, and a peer whose every word the test says.
struct Stranger : RdmaWorld {
    explicit Stranger(const std::function<void(Engine::Options&)>& adjust = {})
        : victim(add(1, adjust)), verbs(fabric) {
        victim.file = std::make_shared<MemoryFile>(pattern(kBigChunk));
    }

    wire::RdmaHello hello(const std::function<void(wire::RdmaHello&)>& change = {}) {
        wire::RdmaHello h;
        h.depth = 4;
        h.cluster_hash = 7;
        h.node_id = node(9);
        h.keyed = true;
        if (change) change(h);
        h.mac = wire::rdma_hello_mac(key, h, victim.id);
        return h;
    }
    /// Connects with these bytes; what came back.
    std::optional<CmEvent> connect_with(const Bytes& data) {
        conn = *verbs.begin_connect(victim.address);
        (void)verbs.make_queue(conn, Role::requester, {});
        (void)verbs.connect(conn, data);
        pump();
        std::optional<CmEvent> last;
        while (auto event = verbs.next_cm_event()) last = event;
        return last;
    }
    /// Connected, and the key proven.
    void enter() {
        const wire::RdmaHello mine = hello();
        const auto event = connect_with(wire::encode_rdma_hello(mine));
        REQUIRE(event);
        REQUIRE(event->type == CmEvent::Type::established);
        const auto welcome = wire::decode_rdma_welcome(event->data);
        REQUIRE(welcome);
        say(wire::RdmaProof{wire::rdma_proof_mac(key, mine, *welcome)});
        CHECK(victim.counters.links_in == 1);
    }
    void say(const wire::RdmaMessage& message) { say_bytes(wire::encode_rdma(message)); }
    void say_bytes(const Bytes& bytes) {
        verbs.inject(conn, bytes);
        pump();
    }
    wire::RdmaRequest request(RequestId id) const {
        wire::RdmaRequest m;
        m.request = id;
        m.generation = 1;
        m.address = 0x1000;
        m.key = 1;
        m.room = kBigChunk;
        m.digest = some_digest();
        m.blob_size = kBigBlob;
        return m;
    }

    Mac key{};
    RdmaNode& victim;
    FakeVerbs verbs;
    ConnId conn = 0;
};

TEST_CASE("a greeting of another cluster, key, node or program is refused with the reason") {
    Stranger world;
    const auto refused = [&](const Bytes& data) {
        const auto event = world.connect_with(data);
        REQUIRE(event);
        REQUIRE(event->type == CmEvent::Type::rejected);
        const auto reject = wire::decode_rdma_reject(event->data);
        REQUIRE(reject);
        return reject->text;
    };
    using H = wire::RdmaHello;
    CHECK(refused({}) != "");
    CHECK(refused(Bytes(56, std::byte{0x41})) != "");
    CHECK(refused(wire::encode_rdma_hello(world.hello([](H& h) { h.cluster_hash = 8; }))) == "another cluster");
    CHECK(refused(wire::encode_rdma_hello(world.hello([](H& h) { h.keyed = false; }))) == "only one of both has a key");
    const H mirrored = world.hello([&](H& h) { h.node_id = world.victim.id; });
    CHECK(refused(wire::encode_rdma_hello(mirrored)) == "the node itself");
    H forged = world.hello();
    forged.mac[0] ^= std::byte{1};
    CHECK(refused(wire::encode_rdma_hello(forged)).find("another key") != std::string::npos);
    CHECK(world.victim.counters.greetings_refused == 6);
    CHECK(world.victim.engine->links() == 0);
    CHECK(world.victim.verbs.open_connections() == 0);
}

TEST_CASE("a greeting that was recorded opens no more than a connection") {
    // Whoever replays it cannot prove the key over the new nonce, and is asked nothing before that.
    Stranger world;
    const wire::RdmaHello mine = world.hello();
    const auto event = world.connect_with(wire::encode_rdma_hello(mine));
    REQUIRE(event->type == CmEvent::Type::established);
    SUBCASE("saying nothing") {}
    SUBCASE("asking without a proof") { world.say(world.request(1)); }
    SUBCASE("a proof of another connection") {
        wire::RdmaWelcome other = *wire::decode_rdma_welcome(event->data);
        other.nonce[0] ^= std::byte{1};
        world.say(wire::RdmaProof{wire::rdma_proof_mac(world.key, mine, other)});
    }
    world.pass(3100ms);
    CHECK(world.victim.asked.empty());
    CHECK(world.victim.engine->links() == 0);
}

TEST_CASE("a connection takes the place of an older one only once it has proven the key") {
    // Or whoever recorded a greeting could keep two nodes off RDMA by repeating it.
    Stranger world;
    RdmaNode& honest = world.add(9);
    world.connect(honest, world.victim);
    REQUIRE(honest.ups == 1);
    const auto event = world.connect_with(wire::encode_rdma_hello(world.hello()));
    REQUIRE(event->type == CmEvent::Type::established);
    world.pass(3100ms);
    CHECK(honest.downs == 0);
    CHECK(world.victim.counters.links_in == 1);
    const wire::RdmaHello mine = world.hello();
    const auto again = world.connect_with(wire::encode_rdma_hello(mine));
    world.say(wire::RdmaProof{wire::rdma_proof_mac(world.key, mine, *wire::decode_rdma_welcome(again->data))});
    CHECK(honest.downs == 1);
    CHECK(world.victim.counters.links_in == 1);
}

TEST_CASE("greetings repeated without end take no place of a peer that has proven the key") {
    // A stranger that had heard one greeting could fill all places with it, and keep the mesh off RDMA.
    Stranger world([](Engine::Options& options) { options.links_max = 2; });
    RdmaNode& victim = world.victim;
    RdmaNode& idle = world.add(2);
    RdmaNode& other = world.add(3);
    world.connect(idle, victim);
    world.connect(other, victim);
    const Bytes recorded = wire::encode_rdma_hello(world.hello());
    for (int i = 0; i < 500; ++i) {
        (void)world.connect_with(recorded);
        world.pass(1ms);
        CHECK(victim.engine->links() <= 2 + 2 + 1);
    }
    CHECK(idle.downs == 0);
    CHECK(other.downs == 0);
    RdmaNode& honest = world.add(4);  // and who can prove the key takes the place of the idlest
    world.connect(honest, victim);
    CHECK(honest.ups == 1);
    CHECK(idle.downs + other.downs == 1);
    world.pass(4s);
    CHECK(victim.counters.links_in == 2);
    CHECK(victim.engine->links() == 2);
}

TEST_CASE("a hundred peers that greet at the same moment are all let in") {
    // A fleet that starts to pull dials one holder at once; none has proven anything when the last one greets.
    RdmaWorld world;
    RdmaNode& holder = world.add(200);
    std::vector<RdmaNode*> fleet;
    for (unsigned n = 1; n <= 100; ++n) fleet.push_back(&world.add(n));
    for (RdmaNode* node : fleet) node->engine->connect(node->now, holder.id, holder.address);
    world.pump();
    for (const RdmaNode* node : fleet) {
        CHECK(node->ups == 1);
        CHECK(node->downs == 0);
    }
    CHECK(holder.counters.links_in == 100);
}

TEST_CASE("who proves the key when all have come to be at work finds no place") {
    Stranger world([](Engine::Options& options) { options.links_max = 1; });
    world.victim.reads_held = true;
    RdmaNode& honest = world.add(2);
    world.connect(honest, world.victim);
    const wire::RdmaHello mine = world.hello();
    const auto event = world.connect_with(wire::encode_rdma_hello(mine));  // the other one is idle: there is room
    REQUIRE(event->type == CmEvent::Type::established);
    honest.engine->fetch(honest.now, honest.order(world.victim, 1, sink()));
    world.pump();
    world.say(wire::RdmaProof{wire::rdma_proof_mac(world.key, mine, *wire::decode_rdma_welcome(event->data))});
    CHECK(honest.downs == 0);
    CHECK(world.victim.counters.links_in == 1);
    world.say(world.request(7));
    CHECK(world.victim.asked.size() == 1);
}

TEST_CASE("an asker that takes nothing keeps no source slot for long") {
    // Over iWARP it only has to leave its TCP window shut.
    Stranger world;
    world.enter();
    world.fabric.hold(&world.victim.verbs, true);
    world.say(world.request(1));
    REQUIRE(world.fabric.on_wire() > 0);
    CHECK(world.victim.counters.sources_in_use == 1);
    world.pass(29s);
    CHECK(world.victim.engine->links() == 1);
    world.pass(2s);
    CHECK(world.victim.engine->links() == 0);
    CHECK(world.victim.counters.sources_in_use == 0);
    CHECK_FALSE(world.victim.served[1].first);
}

TEST_CASE("a proven peer that breaks the protocol loses its connection, and nothing else happens") {
    Stranger world;
    world.enter();
    world.victim.reads_held = true;
    SUBCASE("no message at all") { world.say_bytes(Bytes(64, std::byte{0xff})); }
    SUBCASE("a message of no known length") { world.say_bytes(Bytes(63)); }
    SUBCASE("a second proof") { world.say(wire::RdmaProof{}); }
    SUBCASE("an answer from who asks") { world.say(wire::RdmaDone{1, 1, 1}); }
    SUBCASE("a request id twice") {
        world.say(world.request(1));
        world.say(world.request(1));
    }
    SUBCASE("a request id again while its chunk is on its way") {
        world.victim.reads_held = false;
        world.fabric.hold(&world.victim.verbs, true);
        world.say(world.request(1));
        REQUIRE(world.fabric.on_wire() > 0);
        world.say(world.request(1));
        world.fabric.hold(&world.victim.verbs, false);
    }
    SUBCASE("a cancel that names another slot than the request") {
        world.say(world.request(1));
        world.say(wire::RdmaCancel{1, 2});
    }
    SUBCASE("more requests than agreed") {
        for (RequestId i = 1; i <= 5; ++i) world.say(world.request(i));
    }
    SUBCASE("a room smaller than the chunk") {
        wire::RdmaRequest small = world.request(1);
        small.room = 10;
        world.say(small);
    }
    SUBCASE("cancels without end, and no receive for the answers") {
        world.fabric.hold(&world.victim.verbs, true);
        for (RequestId i = 1; i <= 300; ++i) world.say(wire::RdmaCancel{i, 1});
        world.fabric.hold(&world.victim.verbs, false);
    }
    world.pass(3s);
    CHECK(world.victim.engine->links() == 0);
    CHECK(world.victim.counters.protocol_errors == 1);
    world.victim.reads_held = false;
    world.pump();
    CHECK(world.victim.counters.sources_in_use == 0);
}

TEST_CASE("an id that is asked, cancelled and asked again while all source slots are in use is served once") {
    // The node's own answer to the first may come after the second: both would wait for one slot, and the end of the
    // first leave the second without a request (a null pointer followed, until this was written).
    Stranger world([](Engine::Options& options) { options.source_slots = 1; });
    RdmaNode& victim = world.victim;
    world.enter();
    victim.reads_held = true;
    world.say(world.request(1));  // has the one slot
    victim.file = nullptr;        // from now on the test answers
    world.say(world.request(7));
    world.say(wire::RdmaCancel{7, 1});
    world.say(world.request(7));
    const auto file = std::make_shared<MemoryFile>(pattern(kBigChunk));
    for (int i = 0; i < 2; ++i) victim.engine->serve(victim.now, {node(9), 7, file, 0, kBigChunk, false});
    CHECK_FALSE(victim.served.extract(7).mapped().first);  // the second answer goes nowhere
    victim.reads_held = false;
    world.say(wire::RdmaCancel{1, 1});
    world.pass(1s);
    CHECK(victim.counters.sources_in_use == 0);
    CHECK(victim.served.contains(7));
}

TEST_CASE("strangers that greet at any rate leave the rest of the work its turn") {
    Stranger world;
    for (int i = 0; i < 100; ++i) {
        const ConnId conn = *world.verbs.begin_connect(world.victim.address);
        (void)world.verbs.make_queue(conn, Role::requester, {});
        (void)world.verbs.connect(conn, Bytes(56, std::byte{0x41}));
    }
    while (world.fabric.run()) {
    }
    CHECK(world.victim.engine->on_cm_events(world.victim.now));  // there are more
    CHECK(world.victim.counters.greetings_refused < 100);
    world.pump();
    CHECK(world.victim.counters.greetings_refused == 100);
}

TEST_CASE("a bad key or address ends the connection of who gave it") {
    // The write is refused by the asker's own device; the answering node only loses a link.
    Stranger world;
    world.enter();
    world.say(world.request(1));
    world.pass(3s);
    CHECK_FALSE(world.victim.served[1].first);
    CHECK(world.victim.engine->links() == 0);
    CHECK(world.victim.counters.sources_in_use == 0);
    CHECK(world.fabric.landed() == 0);
}

/// A node that asked one chunk of a peer whose every answer the test says.
struct LyingServer : RdmaWorld {
    LyingServer() : asker(add(1)), liar(add(2)) {
        connect(asker, liar);
        asker.engine->fetch(asker.now, asker.order(liar, 5, got));
        pump();
        REQUIRE(liar.asked.size() == 1);
        conn = liar.verbs.connections().at(0);
    }
    void say(const wire::RdmaMessage& message) {
        liar.verbs.inject(conn, wire::encode_rdma(message));
        pump();
    }
    RdmaNode& asker;
    RdmaNode& liar;
    ConnId conn = 0;
    std::shared_ptr<CollectingSink> got = sink();
};

TEST_CASE("an end that answers no request closes the link, and its slots wait for the queue pair") {
    LyingServer world;
    using Why = wire::RdmaNack::Why;
    SUBCASE("an unknown request") { world.say(wire::RdmaDone{6, 1, kBigChunk}); }
    SUBCASE("another generation") { world.say(wire::RdmaDone{5, 99, kBigChunk}); }
    SUBCASE("fewer bytes than the chunk has") { world.say(wire::RdmaDone{5, 1, 7}); }
    SUBCASE("more bytes than the slot has") { world.say(wire::RdmaDone{5, 1, UINT32_MAX}); }
    SUBCASE("a refusal of another generation") { world.say(wire::RdmaNack{5, 99, Why::busy, false, {}}); }
    SUBCASE("a cancel that nobody sent") { world.say(wire::RdmaNack{5, 1, Why::cancelled, false, {}}); }
    SUBCASE("a request from who answers") { world.say(wire::RdmaCancel{5, 1}); }
    SUBCASE("twice the same end") {
        world.say(wire::RdmaNack{5, 1, Why::busy, false, {}});
        world.say(wire::RdmaNack{5, 1, Why::busy, false, {}});
    }
    CHECK(world.asker.downs == 1);
    CHECK(world.asker.why.find("broke the protocol") != std::string::npos);
    CHECK(world.asker.counters.protocol_errors == 1);
    CHECK_FALSE(world.asker.orderly);
    REQUIRE(world.asker.done.contains(5));
    CHECK(world.asker.done[5] != FetchEnd::all_sent_to_sink);
    world.pass(3s);
    CHECK(world.asker.counters.slots_free == 16);
    CHECK(world.got->calls() == 0);
}

TEST_CASE("a DONE before its bytes hands over what is there, for the chain to refuse") {
    // The transport cannot know; what landed is checked by its link once it is stored.
    LyingServer world;
    world.say(wire::RdmaDone{5, 1, kBigChunk});
    CHECK(world.asker.done[5] == FetchEnd::all_sent_to_sink);
    CHECK(world.got->size() == kBigChunk);
    CHECK(world.asker.downs == 0);
}

}  // namespace
}  // namespace fastreg::transport::rdma::test
