// Chunks under way over TCP: any split of the stream, blocks that run out, slow and urgent readers.
#include <netinet/in.h>
#include <sys/socket.h>

#include "tcp_rig.h"

namespace fastreg::transport::test {
namespace {

/// This process's descriptor of the socket that `fd` is connected to.
int other_end(int fd) {
    const auto name = [](auto ask, int of) {
        sockaddr_in address{};
        socklen_t length = sizeof address;
        if (ask(of, reinterpret_cast<sockaddr*>(&address), &length) != 0) address = {};
        return std::pair(address.sin_addr.s_addr, address.sin_port);
    };
    const auto wanted = name(::getpeername, fd);
    for (int other = 3; other < 1024; ++other) {
        if (name(::getsockname, other) == wanted && name(::getpeername, other) == name(::getsockname, fd)) return other;
    }
    FAIL("no descriptor of this process is the other end");
    return -1;
}

TEST_CASE("any split of the stream lands the same chunk") {
    // TCP cuts where it likes: in heads, bodies and between.
    BegunFetch begun;
    Node& node = begun.node;
    RawPeer& peer = begun.peer();
    const Bytes content = pattern(kBigChunk);
    Bytes stream;
    std::size_t at = 0;
    for (std::size_t step = 1; at < content.size(); step = std::min<std::size_t>(step * 7, 262'144)) {
        const std::size_t length = std::min(step, content.size() - at);
        const Bytes head = wire::encode(
            piece(1, static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(length)));
        stream.insert(stream.end(), head.begin(), head.end());
        stream.insert(stream.end(), content.begin() + static_cast<std::ptrdiff_t>(at),
                      content.begin() + static_cast<std::ptrdiff_t>(at + length));
        const Bytes between = wire::encode(wire::Done{some_digest()});
        stream.insert(stream.end(), between.begin(), between.end());
        at += length;
    }
    std::size_t sent = 0;
    for (std::size_t step = 1; sent < stream.size(); step = step * 5 % 70'001 + 1) {
        const std::size_t length = std::min(step, stream.size() - sent);
        peer.send(ByteView(stream).subspan(sent, length));
        sent += length;
    }
    REQUIRE(node.wait([&] { return node.events.done.contains(1); }));
    CHECK(node.events.ended(1, FetchEnd::all_sent_to_sink));
    CHECK(begun.sink->bytes() == content);
    CHECK(begun.sink->in_order());
}

TEST_CASE("a peer killed in the middle of a chunk's bytes loses the fetch and gives its block back") {
    // kill -9 of a holder happens in every fault test; a lost block would starve the node slowly.
    BegunFetch begun;
    Node& node = begun.node;
    RawPeer& peer = begun.peer();
    peer.send(wire::TransferMessage(piece(1, 0, 200'000)));
    peer.send(pattern(100'000));
    REQUIRE(node.wait([&] { return node.events.progress[1] > 0; }));
    CHECK(node.transport->blocks()->free_count() == 7);
    peer.close();
    REQUIRE(node.wait([&] { return node.events.downs == 1; }));
    CHECK(node.events.ended(1, FetchEnd::link_lost));
    CHECK(begun.sink->size() == 0);
    CHECK(node.wait([&] { return node.transport->blocks()->free_count() == 8; }));
}

TEST_CASE("without free blocks a connection waits; the urgent chunk still comes; freeing goes on") {
    // The pool is the back-pressure of the whole node, and the reader at the front must not starve.
    Node server(2);
    const auto file = std::make_shared<MemoryFile>(pattern(kBigChunk));
    Node client(1);
    server.events.on_get = [&](NodeId from, const wire::GetChunk& get) {
        server.transport->serve(serve_to(from, get.request, file, 0, kBigChunk));
    };
    const auto both = [&](const std::function<bool()>& holds) {
        return until(client.loop, [&] {
            server.loop.run_once(false);
            return holds();
        });
    };
    const auto greedy = std::make_shared<CollectingSink>(true);
    client.transport->fetch(fetch_from(test::node(2), server.address, 1, greedy));
    REQUIRE(both([&] { return greedy->calls() == 8; }));
    (void)both([&, end = client.loop.now() + 50ms] { return client.loop.now() > end; });
    CHECK(greedy->calls() == 8);  // all blocks are taken: it waits
    CHECK_FALSE(client.events.done.contains(1));
    const auto received = client.events.progress[1];
    client.events.progress.clear();
    REQUIRE(both([&] { return client.events.progress.contains(1); }));
    CHECK(client.events.progress[1] == 0);  // "it is me, not the peer"
    CHECK(received == 8 * wire::kDataPieceMax);

    // An urgent one on the same connection: what stands before it passes through the reserve.
    const auto urgent = std::make_shared<CollectingSink>();
    client.transport->fetch(fetch_from(test::node(2), server.address, 2, urgent, true));
    REQUIRE(both([&] { return greedy->calls() == 9; }));
    (void)both([&, end = client.loop.now() + 50ms] { return client.loop.now() > end; });
    CHECK(greedy->calls() == 9);  // it holds the reserve now, as a sink that never writes would
    greedy->let_go();
    REQUIRE(both([&] { return client.events.done.size() == 2; }));
    CHECK(urgent->bytes() == pattern(kBigChunk));
    CHECK(greedy->bytes() == pattern(kBigChunk));
    CHECK(client.transport->blocks()->free_count() == 8);
}

TEST_CASE("an asker that does not read is not served without end, and its close frees the serve") {
    // sendfile must stop at a full socket, and on_served must come when the peer goes.
    Node node(1);
    const auto file = std::make_shared<MemoryFile>(pattern(kBigChunk));
    node.events.on_get = [&](NodeId from, const wire::GetChunk& get) {
        node.transport->serve(serve_to(from, get.request, file, 0, kBigChunk));
    };
    RawPeer peer(node.loop, node.address);
    const int small = 4096;
    (void)::setsockopt(peer.fd(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    REQUIRE(peer.greet(identity(2), wire::Purpose::data));
    for (RequestId i = 1; i <= 30; ++i) {
        peer.send(wire::TransferMessage(wire::GetChunk{i, some_digest(), kBigBlob, 0, false}));
    }
    REQUIRE(node.wait([&] { return node.events.asked.size() == 30; }));
    idle(node.loop, 100ms);
    CHECK(node.events.served.size() < 30);
    peer.close();
    REQUIRE(node.wait([&] { return node.events.served.size() == 30; }));
    CHECK(node.wait([&] { return node.events.downs == 1; }));
}

TEST_CASE("an urgent chunk overtakes the others of its connection") {
    // A client's read head must not wait behind megabytes of background chunks.
    Node node(1);
    const auto file = std::make_shared<MemoryFile>(pattern(kBigChunk));
    RawPeer peer(node.loop, node.address);
    const int small = 65536;
    (void)::setsockopt(peer.fd(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    REQUIRE(peer.greet(identity(2), wire::Purpose::data));
    // Left to itself the kernel grows the sender's buffer until all of the first chunk is in it, and what the
    // kernel has nothing overtakes.
    (void)::setsockopt(other_end(peer.fd()), SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    for (RequestId i = 1; i <= 5; ++i) {
        peer.send(wire::TransferMessage(wire::GetChunk{i, some_digest(), kBigBlob, 0, i == 5}));
    }
    REQUIRE(node.wait([&] { return node.events.asked.size() == 5; }));
    for (const wire::GetChunk& get : node.events.asked) {
        auto order = serve_to(test::node(2), get.request, file, 0, kBigChunk);
        order.urgent = get.urgent;
        if (get.urgent) idle(node.loop, 100ms);  // the others have filled the socket by now
        node.transport->serve(order);
    }
    std::vector<RequestId> ended;
    std::map<RequestId, Bytes> got;
    while (ended.size() < 5) {
        const auto frame = peer.next_frame();
        REQUIRE(frame);
        const auto message = wire::decode_transfer(*frame);
        REQUIRE(message);
        const auto& data = std::get<wire::Data>(*message);
        const Bytes body = peer.read_raw(data.length);
        REQUIRE(body.size() == data.length);
        CHECK(got[data.request].size() == data.offset);
        got[data.request].insert(got[data.request].end(), body.begin(), body.end());
        if (data.offset + data.length == data.total) ended.push_back(data.request);
    }
    CHECK(ended.front() == 5);
    for (const auto& [request, bytes] : got) CHECK(bytes == pattern(kBigChunk));
}

}  // namespace
}  // namespace fastreg::transport::test
