// What only TCP can get wrong: hostile peers, back-pressure, dead peers, descriptors.
#include "transport/tcp/transport.h"

#include <fcntl.h>

#include "conformance.h"
#include "raw_peer.h"
#include "transport/tcp/serving.h"
#include "uv/listener.h"
#include "uv/loop_thread.h"

namespace fastreg::transport::test {
namespace {

struct Node {
    explicit Node(unsigned number = 1, const std::function<void(TcpTransport::Options&)>& adjust = {}) {
        TcpTransport::Options options;
        options.identity = identity(number);
        options.listen = {"127.0.0.1", 0};
        options.threads = {&io1, &io2};
        options.own_blocks = 8;
        // Longer than any wait of a test: what ends sooner was not ended by a deadline.
        options.connect_timeout = 30s;
        options.handshake_timeout = 30s;
        if (adjust) adjust(options);
        transport = std::make_unique<TcpTransport>(loop, options, events);
        const auto port = transport->listen();
        REQUIRE(port);
        address = {"127.0.0.1", *port};
    }
    bool wait(const std::function<bool()>& holds) { return until(loop, holds); }

    uv::Loop loop;
    uv::LoopThread io1{"io1"};
    uv::LoopThread io2{"io2"};
    Recorder events;
    std::unique_ptr<TcpTransport> transport;
    Endpoint address;
};

/// A listener whose connections the test plays by hand.
struct HandServer {
    explicit HandServer(uv::Loop& loop) {
        auto made = uv::Listener::tcp(loop, {"127.0.0.1", 0}, {}, [&](uv::Fd fd, const Endpoint&) {
            accepted.push_back(std::make_unique<RawPeer>(loop, std::move(fd)));
        });
        REQUIRE(made);
        listener = std::move(*made);
    }
    uv::Listener listener;
    std::vector<std::unique_ptr<RawPeer>> accepted;
};

FetchOrder fetch_from(const NodeId& id, const Endpoint& address, RequestId request,
                      std::shared_ptr<ChunkSink> sink, bool urgent = false) {
    FetchOrder order;
    order.from = id;
    order.address = address;
    order.request = request;
    order.digest = some_digest();
    order.blob_size = kBigBlob;
    order.urgent = urgent;
    order.sink = std::move(sink);
    return order;
}

wire::Data piece(RequestId request, std::uint32_t offset, std::uint32_t length,
                 std::uint32_t total = kBigChunk) {
    wire::Data data;
    data.request = request;
    data.offset = offset;
    data.length = length;
    data.total = total;
    return data;
}

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
    Node node(1);
    HandServer server(node.loop);
    const auto sink = std::make_shared<CollectingSink>();
    node.transport->fetch(fetch_from(test::node(2), server.listener.address(), 1, sink));
    REQUIRE(node.wait([&] { return server.accepted.size() == 1; }));
    RawPeer& peer = *server.accepted.front();
    REQUIRE(peer.greet(identity(2), wire::Purpose::data, wire::Role::responder));
    REQUIRE(peer.next_frame());
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

TEST_CASE("any split of the stream lands the same chunk") {
    // TCP cuts where it likes: in heads, bodies and between.
    Node node(1);
    HandServer server(node.loop);
    const auto sink = std::make_shared<CollectingSink>();
    node.transport->fetch(fetch_from(test::node(2), server.listener.address(), 1, sink));
    REQUIRE(node.wait([&] { return server.accepted.size() == 1; }));
    RawPeer& peer = *server.accepted.front();
    REQUIRE(peer.greet(identity(2), wire::Purpose::data, wire::Role::responder));
    REQUIRE(peer.next_frame());
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
    CHECK(sink->bytes() == content);
    CHECK(sink->in_order());
}

TEST_CASE("a peer killed in the middle of a chunk's bytes loses the fetch and gives its block back") {
    // kill -9 of a holder happens in every fault test; a lost block would starve the node slowly.
    Node node(1);
    HandServer server(node.loop);
    const auto sink = std::make_shared<CollectingSink>();
    node.transport->fetch(fetch_from(test::node(2), server.listener.address(), 1, sink));
    REQUIRE(node.wait([&] { return server.accepted.size() == 1; }));
    RawPeer& peer = *server.accepted.front();
    REQUIRE(peer.greet(identity(2), wire::Purpose::data, wire::Role::responder));
    REQUIRE(peer.next_frame());
    peer.send(wire::TransferMessage(piece(1, 0, 200'000)));
    peer.send(pattern(100'000));
    REQUIRE(node.wait([&] { return node.events.progress[1] > 0; }));
    CHECK(node.transport->blocks()->free_count() == 7);
    peer.close();
    REQUIRE(node.wait([&] { return node.events.downs == 1; }));
    CHECK(node.events.ended(1, FetchEnd::link_lost));
    CHECK(sink->size() == 0);
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

/// A file on a disk, its pages not in the page cache where the file system lets them go.
class DiskFile final : public FileRef {
  public:
    explicit DiskFile(const Bytes& content) {
        std::string name = "/var/tmp/fr_transport_XXXXXX";
        fd_ = uv::Fd(::mkstemp(name.data()));
        REQUIRE(fd_);
        ::unlink(name.c_str());
        REQUIRE(::write(fd_.get(), content.data(), content.size()) ==
                static_cast<ssize_t>(content.size()));
        ::fsync(fd_.get());
        ::posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_DONTNEED);
    }
    [[nodiscard]] int fd() const override { return fd_.get(); }

  private:
    uv::Fd fd_;
};

/// A descriptor that cannot be read.
class DeafFile final : public FileRef {
  public:
    [[nodiscard]] int fd() const override { return fd_.get(); }

  private:
    uv::Fd fd_{::open("/dev/null", O_WRONLY | O_CLOEXEC)};
};

TEST_CASE("a chunk that is not in the page cache is read ahead, and others go out meanwhile") {
    // An io thread that waits for a disk waits with all its connections.
    Node node(1);
    const auto cold = std::make_shared<DiskFile>(pattern(kBigChunk, 3));
    const auto warm = std::make_shared<MemoryFile>(pattern(kBigChunk, 4));
    tcp::Serving serving;
    serving.order = serve_to(test::node(2), 1, cold, 0, kBigChunk);
    const auto before = tcp::probe(serving.order, 0, kBigChunk);
    Node client(2);
    node.events.on_get = [&](NodeId from, const wire::GetChunk& get) {
        const std::shared_ptr<const FileRef> file =
            get.request == 1 ? std::shared_ptr<const FileRef>(cold) : warm;
        node.transport->serve(serve_to(from, get.request, file, 0, kBigChunk));
    };
    const auto first = std::make_shared<CollectingSink>();
    const auto second = std::make_shared<CollectingSink>();
    client.transport->fetch(fetch_from(test::node(1), node.address, 1, first));
    client.transport->fetch(fetch_from(test::node(1), node.address, 2, second));
    REQUIRE(until(client.loop, [&] {
        node.loop.run_once(false);
        return client.events.done.size() == 2 && node.events.served.size() == 2;
    }));
    CHECK(first->bytes() == pattern(kBigChunk, 3));
    CHECK(second->bytes() == pattern(kBigChunk, 4));
    // Where the file system dropped the pages, the probe saw that; now they are back.
    CHECK(before != tcp::Residency::failed);
    CHECK(tcp::read_ahead(cold->fd(), 0, kBigChunk));
    CHECK_FALSE(tcp::read_ahead(cold->fd(), 1, kBigChunk));  // past the end
}

TEST_CASE("a file that cannot be read is NotHere for the asker and a failed serve for the server") {
    // A dying disk must send askers elsewhere, not make them wait for a timeout.
    Node node(1);
    node.events.on_get = [&](NodeId from, const wire::GetChunk& get) {
        node.transport->serve(serve_to(from, get.request, std::make_shared<DeafFile>(), 0, kBigChunk));
    };
    RawPeer peer(node.loop, node.address);
    REQUIRE(peer.greet(identity(2), wire::Purpose::data));
    peer.send(wire::TransferMessage(wire::GetChunk{1, some_digest(), kBigBlob, 0, false}));
    const auto frame = peer.next_frame();
    REQUIRE(frame);
    const auto message = wire::decode_transfer(*frame);
    REQUIRE(message);
    CHECK(std::get<wire::NotHere>(*message).digest == some_digest());
    CHECK_FALSE(std::get<wire::NotHere>(*message).whole);
    REQUIRE(node.wait([&] { return node.events.served.contains(1); }));
    CHECK_FALSE(node.events.served[1].first);
}

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
