// The life of a TCP link: which connection counts, whose it is, and what is left when it ends.
#include "tcp_rig.h"

namespace fastreg::transport::test {
namespace {

TEST_CASE("a peer that starts anew replaces what its earlier boot left open") {
    // After a power cut the old connection looks open for minutes and would swallow every request.
    Node node(1);
    RawPeer old(node.loop, node.address);
    REQUIRE(old.greet(identity(2), wire::Purpose::data));
    REQUIRE(node.wait([&] { return node.events.ups == 1; }));
    Identity reborn = identity(2);
    reborn.epoch = 2;
    RawPeer fresh(node.loop, node.address);
    REQUIRE(fresh.greet(reborn, wire::Purpose::data));
    CHECK(old.closed_by_peer());
    REQUIRE(node.wait([&] { return node.events.ups == 2; }));
    node.transport->send(test::node(2), {}, wire::Done{some_digest()});
    CHECK(fresh.next_frame());
}

TEST_CASE("two nodes that dial each other at once end with one link up on each side") {
    // Both directions carry requests; neither side may see the other go down and up.
    Node a(1);
    Node b(2);
    a.transport->send(test::node(2), b.address, wire::Done{some_digest()});
    b.transport->send(test::node(1), a.address, wire::Done{some_digest()});
    REQUIRE(until(a.loop, [&] {
        b.loop.run_once(false);
        return a.events.messages.size() == 1 && b.events.messages.size() == 1;
    }));
    idle(a.loop, 50ms);
    idle(b.loop, 50ms);
    CHECK(a.events.ups == 1);
    CHECK(b.events.ups == 1);
    CHECK(a.events.downs == 0);
    CHECK(b.events.downs == 0);
}

TEST_CASE("another node at a known address is not taken for the one that was there") {
    // After a reinstall the address lives on with another id; its bytes would be booked to the wrong node.
    Node node(1);
    Node other(3);
    node.transport->fetch(
        fetch_from(test::node(2), other.address, 1, std::make_shared<CollectingSink>()));
    REQUIRE(node.wait([&] { return node.events.downs == 1; }));
    CHECK(node.events.ended(1, FetchEnd::link_lost));
    CHECK(node.events.why.find("is now node") != std::string::npos);
}

TEST_CASE("an idle connection is closed and a thousand connects leave no descriptor behind") {
    // A node runs for months.
    Node node(1);
    {
        RawPeer warm(node.loop, node.address);
        REQUIRE(warm.greet(identity(2), wire::Purpose::data));
    }
    REQUIRE(node.wait([&] { return node.events.downs == 1; }));
    const std::size_t before = open_fds();
    for (unsigned i = 0; i < 1000; ++i) {
        RawPeer peer(node.loop, node.address);
        if (i % 4 == 0) REQUIRE(peer.greet(identity(2 + i % 50), wire::Purpose::data));
        if (i % 4 == 1) peer.send(as_bytes("garbage that is no frame at all"));
        if (i % 4 == 2) {
            Identity stranger = identity(2);
            stranger.cluster = "other";
            CHECK_FALSE(peer.greet(stranger, wire::Purpose::data));
        }
    }
    CHECK(node.wait([&] {
        return open_fds() <= before && node.events.ups == node.events.downs;
    }));
}

TEST_CASE("what is being sent and received when the transport goes leaves nothing behind") {
    // Stopping a node in the middle of everything must neither crash nor call back.
    const std::size_t before = open_fds();
    {
        Node server(2);
        Node client(1);
        const auto file = std::make_shared<MemoryFile>(pattern(kBigChunk));
        server.events.on_get = [&](NodeId from, const wire::GetChunk& get) {
            server.transport->serve(serve_to(from, get.request, file, 0, kBigChunk));
        };
        for (RequestId i = 1; i <= 30; ++i) {
            client.transport->fetch(
                fetch_from(test::node(2), server.address, i, std::make_shared<CollectingSink>()));
        }
        REQUIRE(until(client.loop, [&] {
            server.loop.run_once(false);
            return !client.events.done.empty();
        }));
        client.transport.reset();
        const auto seen = client.events.done.size();
        idle(client.loop, 20ms);
        CHECK(client.events.done.size() == seen);
        server.transport.reset();
        idle(server.loop, 20ms);
    }
    CHECK(open_fds() == before);
}

}  // namespace
}  // namespace fastreg::transport::test
