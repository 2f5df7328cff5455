// What only a real device can show: writes that are really in flight when their slot's request was given up,
// sources that change the moment they are released, memory that may not be pinned, and nothing left behind
// by a thousand connections.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "real_rig.h"

namespace fastreg::transport::rdma::test {
namespace {

TEST_CASE("chunks land whole, and a source slot that changes the moment it is released spoils none") {
    // Soft iWARP reads unsignalled writes from their source after they "completed": every byte is checked.
    RealWorld world;
    const Bytes content = pattern(kBigChunk);
    world.b.file = std::make_shared<MemoryFile>(content);
    world.connect();
    world.b.on_served_too = [&] { std::ranges::fill(world.b.engine->source_memory(), std::byte{0xee}); };
    for (RequestId i = 1; i <= 8; ++i) {
        const auto got = sink();
        FetchOrder order = world.a.order(world.b, i, got);
        order.digest = digest_of(HashAlg::sha256, as_bytes(std::to_string(i)));  // read again, each time
        world.a.engine->fetch(world.clock.now(), std::move(order));
        REQUIRE(world.until([&] { return world.a.done.contains(i) && world.b.served.contains(i); }));
        CHECK(got->bytes() == content);
    }
    CHECK(world.b.counters.reads == 8);
    CHECK(world.a.downs == 0);
}

TEST_CASE("writes in flight when their requests were given up never land in slots that were given out again") {
    // The peer has them queued on a real device; this node gives up in their middle and tears down. From the
    // moment the slots are free nothing may write into them, though the peer's writes end only later.
    RealWorld world([](Engine::Options& options) {
        options.links.request_timeout = options.links.request_timeout_max = 30ms;
        options.links.cancel_grace = 1ms;
        options.links.drain_max = 20ms;
        options.links.slots_per_peer = 8;
        options.landing_slots = 32;  // of which one peer gets a quarter
    });
    world.b.file = std::make_shared<MemoryFile>(pattern(kBigChunk));
    world.b.reads_held = true;
    world.connect();
    for (RequestId i = 1; i <= 8; ++i) {
        world.a.engine->fetch(world.clock.now(), world.a.order(world.b, i, sink()));
    }
    REQUIRE(world.until([&] { return world.b.asked.size() == 8; }));
    world.b.reads_held = false;
    // All eight chunks, 32 MiB, are posted on a thread of its own: some devices copy while they are posted to.
    // Nothing else happens at the answering node, so that its writes end before it learns why.
    std::thread posting([&] { (void)world.b.step(); });
    // Time does not pass for the asker before the first bytes have landed: so the writes are on their way.
    const auto memory = world.a.engine->landing_memory();
    const auto begun = [&] {
        for (std::size_t slot = 0; slot < memory.size(); slot += kChunkSizeMax) {
            const auto first = memory.subspan(slot, 64);
            if (std::ranges::any_of(first, [](std::byte b) { return b != std::byte{0}; })) return true;
        }
        return false;
    };
    bool in_flight = false;
    const bool gave_up = [&] {
        for (const Instant end = world.clock.now() + 20s; world.clock.now() < end;) {
            in_flight = in_flight || begun();
            if (!in_flight) continue;
            world.a.now = world.clock.now();
            (void)world.a.step();
            world.a.engine->on_deadline(world.a.now);
            if (world.a.downs == 1 && world.a.counters.slots_free == 32) return true;
        }
        return false;
    }();
    // While the peer may still be at it: from the moment they are free, slots belong to whoever is given them next.
    if (gave_up) std::ranges::fill(memory, std::byte{0x5a});
    RealNode other(3);
    const bool given_again = gave_up && [&] {
        other.file = world.b.file;
        other.reads_held = true;
        bool asked = false;
        world.a.engine->connect(world.a.now, other.id, other.address);
        for (const Instant end = world.clock.now() + 20s; world.clock.now() < end;) {
            other.now = world.clock.now();
            (void)other.step();
            (void)world.a.step();  // for whom time stands still: it gives up nothing more
            if (world.a.ups < 2) continue;
            for (RequestId i = 11; !asked && i <= 18; ++i) {
                world.a.engine->fetch(world.a.now, world.a.order(other, i, sink()));
            }
            asked = true;
            if (other.asked.size() == 8) return true;
        }
        return false;
    }();
    posting.join();
    REQUIRE(gave_up);
    REQUIRE(given_again);
    CHECK(in_flight);
    std::size_t landed = 0;
    for (const auto& [request, end] : world.a.done) landed += end == FetchEnd::all_sent_to_sink ? 1 : 0;
    REQUIRE(landed < 8);
    REQUIRE(world.until([&] { return world.b.served.size() == 8 && world.b.engine->links() == 0; }));
    const std::size_t late = world.b.counters.works_broken;
    REQUIRE(late > 0);  // else no write was under way, and this proves nothing
    for (int i = 0; i < 100; ++i) world.turn();
    CHECK(std::ranges::all_of(memory, [](std::byte b) { return b == std::byte{0x5a}; }));
    MESSAGE("late completions: ", late);
}

/// What the kernel counts: protection domains, queues, regions, ids.
std::string rdma_resources() {
    std::string text;
    std::FILE* pipe = ::popen("rdma resource show", "r");
    REQUIRE(pipe != nullptr);
    std::array<char, 4096> piece{};
    while (const std::size_t got = std::fread(piece.data(), 1, piece.size(), pipe)) text.append(piece.data(), got);
    REQUIRE(::pclose(pipe) == 0);
    return text;
}

TEST_CASE("connecting to a node that stands still holds up nothing else, and leaves nothing") {
    // Its kernel takes the connection and nobody answers. Over iWARP a call that ends such a connection waits for the
    // kernel: all of a node's RDMA stood still for 8 s.
    RealWorld world;
    Instant begun = world.clock.now();
    Duration longest{};
    world.a.now = begun;
    world.a.engine->connect(world.a.now, world.b.id, world.b.address);
    while (world.a.downs == 0 && world.clock.now() < begun + 10s) {
        const Instant before = world.a.now = world.clock.now();
        (void)world.a.step();
        world.a.engine->on_deadline(world.a.now);
        longest = std::max(longest, world.clock.now() - before);
    }
    REQUIRE(world.a.downs == 1);
    CHECK(world.clock.now() - begun < 5s);
    CHECK(longest < 1s);  // the half second of the TCP connection of soft iWARP is in it
    // It stands still no more: both ends forget the attempt, and the next one is a link.
    REQUIRE(world.until([&] { return world.a.engine->links() == 0; }, 30s));
    world.connect();
}

TEST_CASE("two thousand connections come and go without a trace") {
    // Looked at while the process lives: the kernel frees whatever a process leaves behind.
    RealWorld world;
    const char* wanted = std::getenv("FR_RDMA_CYCLES");
    const int cycles = wanted != nullptr ? std::atoi(wanted) : 2000;
    world.connect();
    world.a.engine->drop(world.clock.now(), world.b.id, "the first");
    REQUIRE(world.until([&] { return world.a.engine->links() == 0 && world.b.engine->links() == 0; }));
    const std::size_t before = open_fds();
    const std::string resources = rdma_resources();
    CHECK(resources.find(" mr ") != std::string::npos);
    world.a.ups = 0;
    world.connect();
    CHECK(rdma_resources() != resources);  // one connection is seen, and so would be one that leaked
    world.a.engine->drop(world.clock.now(), world.b.id, "seen");
    REQUIRE(world.until([&] { return world.a.engine->links() == 0 && world.b.engine->links() == 0; }));
    for (int i = 0; i < cycles; ++i) {
        world.a.ups = 0;
        world.connect();
        world.a.engine->drop(world.clock.now(), world.b.id, "again");
        REQUIRE(world.until([&] { return world.a.engine->links() == 0 && world.b.engine->links() == 0; }));
    }
    CHECK(open_fds() == before);
    CHECK(world.until([&] { return rdma_resources() == resources; }, 10s));
    MESSAGE(rdma_resources());
    CHECK(world.a.counters.connects_failed == 0);
}

}  // namespace
}  // namespace fastreg::transport::rdma::test
