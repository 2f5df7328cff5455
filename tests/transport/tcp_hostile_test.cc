// Strangers, liars and floods at the TCP transport: what each is told, and that the others go on.
#include "tcp_rig.h"

namespace fastreg::transport::test {
namespace {

TEST_CASE("a peer with another key, another cluster or for another port is refused in words") {
    // The commonest mistake of a new cluster; the other side must learn what to copy where.
    Node node(1);
    Identity stranger = identity(2);
    stranger.key = wire::link_key("quite another key than yours");
    RawPeer wrong_key(node.loop, node.address);
    CHECK_FALSE(wrong_key.greet(stranger, wire::Purpose::data));
    CHECK(wrong_key.why.find("fastreg key show") != std::string::npos);

    stranger = identity(2);
    stranger.cluster = "other";
    RawPeer wrong_cluster(node.loop, node.address);
    CHECK_FALSE(wrong_cluster.greet(stranger, wire::Purpose::data));
    CHECK(wrong_cluster.why.find("cluster") != std::string::npos);

    stranger = identity(2);
    stranger.key.reset();
    RawPeer no_key(node.loop, node.address);
    CHECK_FALSE(no_key.greet(stranger, wire::Purpose::data));

    RawPeer wrong_port(node.loop, node.address);
    CHECK_FALSE(wrong_port.greet(identity(2), wire::Purpose::gossip));
    CHECK(wrong_port.why.find("this is the port for data: dial the port for gossip") != std::string::npos);
    RawPeer itself(node.loop, node.address);
    CHECK_FALSE(itself.greet(identity(1), wire::Purpose::data));
    idle(node.loop, 20ms);
    CHECK(node.events.ups == 0);

    RawPeer good(node.loop, node.address);
    CHECK(good.greet(identity(2), wire::Purpose::data));
    CHECK(node.wait([&] { return node.events.ups == 1; }));
}

TEST_CASE("bytes that are not the protocol close the link and nothing else") {
    // The port may be reached by anything: scanners, browsers, broken nodes.
    Node node(1);
    const auto closes = [&](const std::function<void(RawPeer&)>& misbehave) {
        RawPeer peer(node.loop, node.address);
        REQUIRE(peer.greet(identity(2), wire::Purpose::data));
        misbehave(peer);
        return peer.closed_by_peer();
    };
    SUBCASE("a browser") {
        RawPeer peer(node.loop, node.address);
        peer.send(as_bytes("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
        CHECK(peer.closed_by_peer());
    }
    SUBCASE("a long frame before the handshake") {
        RawPeer peer(node.loop, node.address);
        wire::Frame frame{1, 1, 0, Bytes(60000)};
        peer.send(ByteView(wire::encode_frame(frame)).first(8000));
        CHECK(peer.closed_by_peer());
    }
    SUBCASE("an oversized frame") {
        CHECK(closes([](RawPeer& peer) {
            const Bytes head(16, std::byte{0xff});
            peer.send(head);
        }));
    }
    SUBCASE("a broken body of a known type") {
        CHECK(closes([](RawPeer& peer) {
            peer.send(wire::Frame{0x40, 0, 1, Bytes(5, std::byte{0xc1})});
        }));
    }
    SUBCASE("an unknown type that must be understood") {
        CHECK(closes([](RawPeer& peer) { peer.send(wire::Frame{0x7f, wire::kMustUnderstand, 0, {}}); }));
    }
    SUBCASE("bytes nobody asked for") {
        CHECK(closes([](RawPeer& peer) { peer.send(wire::TransferMessage(piece(1, 0, 1000))); }));
    }
    SUBCASE("the same request id twice") {
        CHECK(closes([](RawPeer& peer) {
            const wire::GetChunk get{3, some_digest(), kBigBlob, 0, false};
            peer.send(wire::TransferMessage(get));
            peer.send(wire::TransferMessage(get));
        }));
    }
    SUBCASE("an unknown type that may be skipped is skipped") {
        RawPeer peer(node.loop, node.address);
        REQUIRE(peer.greet(identity(2), wire::Purpose::data));
        peer.send(wire::Frame{0x7f, 0, 0, Bytes(100)});
        peer.send(wire::TransferMessage(wire::Done{some_digest()}));
        CHECK(node.wait([&] { return node.events.messages.size() == 1; }));
    }
    // Whatever it was, the next peer is served.
    RawPeer good(node.loop, node.address);
    CHECK(good.greet(identity(3), wire::Purpose::data));
}

TEST_CASE("a server that lies about its pieces is a protocol error, not a wrong chunk") {
    // Bytes at a wrong place would be blamed on the chain; the link says it sooner.
    BegunFetch begun;
    Node& node = begun.node;
    RawPeer& peer = begun.peer();
    const Bytes body = pattern(1000);
    SUBCASE("a piece that is not the next one") {
        peer.send(wire::TransferMessage(piece(1, 1000, 1000)));
        peer.send(body);
    }
    SUBCASE("a chunk of another size") {
        peer.send(wire::TransferMessage(piece(1, 0, 1000, 1000)));
        peer.send(body);
    }
    SUBCASE("a second copy of the first piece") {
        peer.send(wire::TransferMessage(piece(1, 0, 1000)));
        peer.send(body);
        peer.send(wire::TransferMessage(piece(1, 0, 1000)));
        peer.send(body);
    }
    REQUIRE(node.wait([&] { return node.events.done.contains(1); }));
    CHECK(node.events.ended(1, FetchEnd::protocol_error));
    CHECK(peer.closed_by_peer());
    CHECK(node.wait([&] { return node.events.downs == 1; }));
}

TEST_CASE("a server that breaks the protocol before it is asked does not leave the fetch waiting") {
    // The fetch was queued for the dial, and its connection dies before it is handed over.
    Node node(1);
    HandServer server(node.loop);
    node.transport->fetch(fetch_from(test::node(2), server.listener.address(), 1,
                                     std::make_shared<CollectingSink>()));
    REQUIRE(node.wait([&] { return server.accepted.size() == 1; }));
    RawPeer& peer = *server.accepted.front();
    wire::Handshake handshake(wire::Role::responder, identity(2).hello(wire::Purpose::data),
                              identity(2).key, "test");
    (void)handshake.start();
    for (int i = 0; i < 2; ++i) {
        const auto frame = peer.next_frame();
        REQUIRE(frame);
        const auto answers = handshake.on_frame(*frame);
        REQUIRE(answers);
        Bytes bytes = wire::encode_frame(answers->front());
        const Bytes more = wire::encode(piece(1, 0, 1000));
        if (i == 1) bytes.insert(bytes.end(), more.begin(), more.end());
        peer.send(bytes);
    }
    REQUIRE(node.wait([&] { return node.events.done.contains(1); }));
    CHECK(node.events.ended(1, FetchEnd::link_lost));
    CHECK(node.wait([&] { return node.events.downs == 1; }));
}

TEST_CASE("a slow handshake is cut, and a flood of half-open ones only pushes out its oldest") {
    // Connections that say nothing must not keep members out.
    {
        Node hasty(2, [](TcpTransport::Options& options) { options.handshake_timeout = 300ms; });
        const Instant begin = hasty.loop.now();
        RawPeer slow(hasty.loop, hasty.address);
        CHECK(slow.closed_by_peer());
        CHECK(hasty.loop.now() - begin >= 290ms);
    }
    Node node(1, [](TcpTransport::Options& options) { options.handshakes_max = 4; });
    std::vector<std::unique_ptr<RawPeer>> flood;
    for (int i = 0; i < 20; ++i) {
        flood.push_back(std::make_unique<RawPeer>(node.loop, node.address));
    }
    RawPeer member(node.loop, node.address);
    CHECK(member.greet(identity(2), wire::Purpose::data));
    CHECK(flood.front()->closed_by_peer());
}

TEST_CASE("over the limit of links and of requests the peer is told Busy") {
    // Limits that only close would make peers dial again at once.
    Node node(1, [](TcpTransport::Options& options) {
        options.links_max = 1;
        options.requests_in_max = 3;
    });
    RawPeer first(node.loop, node.address);
    REQUIRE(first.greet(identity(2), wire::Purpose::data));
    REQUIRE(node.wait([&] { return node.events.ups == 1; }));
    RawPeer second(node.loop, node.address);
    CHECK_FALSE(second.greet(identity(3), wire::Purpose::data));
    CHECK(second.why.find("too many links") != std::string::npos);

    for (RequestId i = 1; i <= 4; ++i) {
        first.send(wire::TransferMessage(wire::GetChunk{i, some_digest(), kBigBlob, 0, false}));
    }
    const auto frame = first.next_frame();
    REQUIRE(frame);
    const auto message = wire::decode_transfer(*frame);
    REQUIRE(message);
    CHECK(std::get<wire::Busy>(*message).request == 4);
    CHECK(node.events.asked.size() == 3);
}

}  // namespace
}  // namespace fastreg::transport::test
