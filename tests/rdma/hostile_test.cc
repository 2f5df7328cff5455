// What a member that went bad can do with a real device: its writes and its requests are the device's to refuse.
// What it can say is told over the fake (tests/transport/rdma_hostile_test.cc).
#include "real_rig.h"

namespace fastreg::transport::rdma::test {
namespace {

constexpr std::byte kPoison{0x5a};

/// A peer whose every work request the test posts. It has the mesh's key.
struct BadPeer {
    explicit BadPeer(RealWorld& in) : world(in), verbs(real_verbs()), memory(4 * kChunkSizeMax, kPoison) {
        REQUIRE(verbs->register_memory(landing(), std::span(memory).subspan(2 * kChunkSizeMax), kChunkSizeMax));
    }
    [[nodiscard]] std::span<std::byte> landing() { return std::span(memory).first(2 * kChunkSizeMax); }

    CmEvent next(CmEvent::Type type) {
        std::optional<CmEvent> found;
        REQUIRE(world.until([&] {
            while (auto event = verbs->next_cm_event()) {
                INFO(event->why);
                REQUIRE(event->type == type);
                found = std::move(event);
                return true;
            }
            return false;
        }));
        return *found;
    }
    /// A connection to `victim` on which this peer is known. `role` is only the memory that it can reach here.
    void enter(const RealNode& victim, Role role) {
        conn = *verbs->begin_connect(victim.address);
        device = next(CmEvent::Type::address_resolved).device;
        REQUIRE(verbs->resolve_route(conn));
        (void)next(CmEvent::Type::route_resolved);
        REQUIRE(verbs->make_queue(conn, role, {}));
        wire::RdmaHello hello;
        hello.depth = 4;
        hello.cluster_hash = 7;
        hello.node_id = node(9);
        hello.keyed = true;
        hello.mac = wire::rdma_hello_mac(Mac{}, hello, victim.id);
        REQUIRE(verbs->connect(conn, wire::encode_rdma_hello(hello)));
        const CmEvent accepted = next(CmEvent::Type::established);
        const auto welcome = wire::decode_rdma_welcome(accepted.data);
        REQUIRE(welcome);
        say(wire::RdmaProof{wire::rdma_proof_mac(Mac{}, hello, *welcome)});
        REQUIRE(world.until([&] { return victim.counters.links_in == 1; }));
    }
    void say(const wire::RdmaMessage& message) { REQUIRE(verbs->post_message(conn, wire::encode_rdma(message), 1)); }
    /// How the work `wanted` ended.
    Completion end_of(std::uint64_t wanted) {
        std::optional<Completion> found;
        REQUIRE(world.until([&] {
            std::array<Completion, 16> done;
            const std::size_t count = verbs->poll(conn, done);
            for (std::size_t i = 0; i < count; ++i) {
                if (done[i].work == wanted) found = done[i];
            }
            return found.has_value();
        }));
        return *found;
    }
    wire::RdmaRequest request(std::uint64_t at, std::uint32_t key) const {
        wire::RdmaRequest m;
        m.request = 1;
        m.generation = 1;
        m.address = at;
        m.key = key;
        m.room = kBigChunk;
        m.digest = some_digest();
        m.blob_size = kBigBlob;
        return m;
    }

    RealWorld& world;
    std::unique_ptr<Verbs> verbs;
    Bytes memory;
    ConnId conn = 0;
    DeviceIndex device = 0;
};

std::uint64_t number_of(const std::byte* place) { return reinterpret_cast<std::uint64_t>(place); }

/// Who behaves is served as ever.
void check_still_serves(RealWorld& world) {
    const Bytes content = pattern(kBigChunk);
    world.b.file = std::make_shared<MemoryFile>(content);
    world.b.served.clear();
    const auto got = sink();
    world.a.engine->fetch(world.clock.now(), world.a.order(world.b, 100, got));
    REQUIRE(world.until([&] { return world.a.done.contains(100); }));
    CHECK(world.a.done[100] == FetchEnd::all_sent_to_sink);
    CHECK(got->bytes() == content);
}

TEST_CASE("a request that names memory the asker does not have ends its connection, and no other") {
    // The key is the peer's to say. What it names is looked up by its own device, never by this node's.
    RealWorld world;
    BadPeer bad(world);
    world.b.file = std::make_shared<MemoryFile>(pattern(kBigChunk));
    bad.enter(world.b, Role::requester);
    const auto at = number_of(bad.landing().data());
    const std::uint32_t key = bad.verbs->landing_key(bad.device, bad.landing().data());
    SUBCASE("a key that is none") { bad.say(bad.request(at, key ^ 0x5a5a5a5aU)); }
    SUBCASE("an address before the region") { bad.say(bad.request(at - kBigChunk, key)); }
    SUBCASE("an address near the region's end, so that the chunk runs over it") {
        bad.say(bad.request(at + bad.landing().size() - kBigChunk / 2, key));
    }
    SUBCASE("address zero") { bad.say(bad.request(0, key)); }
    REQUIRE(world.until([&] { return world.b.served.contains(1) && world.b.engine->links() == 0; }));
    CHECK_FALSE(world.b.served[1].first);
    CHECK(world.b.served[1].second == 0);
    // Nothing behind the region was touched.
    CHECK(std::ranges::all_of(std::span(bad.memory).subspan(2 * kChunkSizeMax),
                              [](std::byte b) { return b == kPoison; }));
    CHECK(bad.verbs->destroy_queue(bad.conn));
    bad.verbs->close(bad.conn);
    world.connect();
    check_still_serves(world);
}

TEST_CASE("who connects to a node cannot write into its landing slots, even with their key") {
    // The key leaks to every peer that was ever asked. The protection domain is what makes it useless on the
    // connections that peers make.
    RealWorld world;
    BadPeer bad(world);
    const auto memory = world.b.engine->landing_memory();
    const auto sources = world.b.engine->source_memory();
    std::ranges::fill(memory, kPoison);
    std::ranges::fill(sources, kPoison);
    bad.enter(world.b, Role::responder);
    ChunkWrite write;
    write.bytes = 65536;
    write.segment = 65536;
    write.signal_writes = true;
    write.key = world.b.the_verbs->landing_key(bad.device, memory.data());
    SUBCASE("its landing slots") { write.address = number_of(memory.data()); }
    SUBCASE("its source slots") { write.address = number_of(sources.data()); }
    std::ranges::fill(bad.memory, std::byte{0xee});
    REQUIRE(bad.verbs->post_chunk(bad.conn, write, wire::encode_rdma(wire::RdmaCancel{1, 1}), 7));
    const Completion end = bad.end_of(7 | Verbs::kSegment);
    // An iWARP write may be done for its sender as soon as TCP has it.
    if (bad.verbs->devices()[bad.device].layer != LinkLayer::iwarp) CHECK_FALSE(end.ok);
    MESSAGE("the device says: ", std::string(end.why));
    REQUIRE(world.until([&] { return world.b.engine->links() == 0; }));
    CHECK(std::ranges::all_of(memory, [](std::byte b) { return b == kPoison; }));
    CHECK(std::ranges::all_of(sources, [](std::byte b) { return b == kPoison; }));
    CHECK(bad.verbs->destroy_queue(bad.conn));
    bad.verbs->close(bad.conn);
    world.connect();
    check_still_serves(world);
}

TEST_CASE("a message that is none, as long as a receive buffer, ends the connection") {
    RealWorld world;
    BadPeer bad(world);
    bad.enter(world.b, Role::requester);
    REQUIRE(bad.verbs->post_message(bad.conn, Bytes(wire::kRdmaMessageMax, std::byte{0xff}), 1));
    REQUIRE(world.until([&] { return world.b.engine->links() == 0; }));
    CHECK(world.b.counters.protocol_errors == 1);
    world.connect();
    check_still_serves(world);
}

}  // namespace
}  // namespace fastreg::transport::rdma::test
