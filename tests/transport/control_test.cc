// Control links over real sockets: who is let in, what is kept, what happens to frames that cannot go.
#include "transport/control.h"

#include <sys/socket.h>

#include <algorithm>

#include "raw_peer.h"
#include "transport/refusal_log.h"
#include "uv/listener.h"

namespace fastreg::transport::test {
namespace {

using wire::Purpose;

struct Failed {
    NodeId to;
    SendFailure failure;
    std::string why;
    RequestId request;
};

struct Member final : ControlHandler {
    Member(uv::Loop& loop, unsigned number,
           const std::function<void(ControlMesh::Options&)>& adjust = {})
        : id(test::node(number)) {
        ControlMesh::Options options;
        options.identity = identity(number);
        options.listen = {"127.0.0.1", 0};
        // Longer than any wait of a test: what ends sooner was not ended by a deadline.
        options.connect_timeout = 30s;
        options.handshake_timeout = 30s;
        if (adjust) adjust(options);
        mesh = std::make_unique<ControlMesh>(loop, options, *this);
        const auto port = mesh->listen();
        REQUIRE(port);
        address = {"127.0.0.1", *port};
    }
    void on_frame(NodeId from, Purpose, wire::Frame frame) override {
        CHECK(up[from] > 0);
        if (on_any) on_any(from, frame);
        frames.emplace_back(from, std::move(frame));
    }
    void on_link_up(NodeId peer, Purpose, const wire::Hello& theirs, const Endpoint& remote) override {
        CHECK(theirs.node_id == peer);
        CHECK(uv::is_loopback(remote));
        ++up[peer];
        ++ups;
    }
    void on_link_down(NodeId peer, Purpose) override {
        up[peer] = 0;
        ++downs;
    }
    void on_wrong_peer(NodeId expected, const Endpoint& where, NodeId found) override {
        CHECK(failed.empty());  // told first
        wrong_peers.push_back({expected, where, found});
    }
    void on_send_failed(NodeId to, const Endpoint&, Purpose, SendFailure failure,
                        const std::string& why, wire::Frame frame) override {
        failed.push_back({to, failure, why, frame.request});
    }

    NodeId id;
    Endpoint address;
    std::function<void(NodeId, const wire::Frame&)> on_any;
    std::vector<std::pair<NodeId, wire::Frame>> frames;
    std::vector<Failed> failed;
    std::vector<std::tuple<NodeId, Endpoint, NodeId>> wrong_peers;
    std::map<NodeId, int> up;
    int ups = 0;
    int downs = 0;
    std::unique_ptr<ControlMesh> mesh;
};

wire::Frame frame(RequestId request, std::size_t size = 10) {
    return {0x10, 0, request, pattern(size, static_cast<unsigned>(request))};
}

TEST_CASE("frames cross in order on one link, answers use the link that is there") {
    // Gossip probes every second: each answer dialling back would double the connections.
    uv::Loop loop;
    Member a(loop, 1);
    Member b(loop, 2);
    b.on_any = [&](NodeId from, const wire::Frame& got) {
        b.mesh->send(from, a.address, Purpose::gossip, got);
    };
    for (RequestId i = 1; i <= 200; ++i) {
        a.mesh->send(b.id, b.address, Purpose::gossip, frame(i, i * 13 % 3000));
    }
    CHECK(a.frames.empty());  // nothing from inside a call
    REQUIRE(until(loop, [&] { return a.frames.size() == 200; }));
    for (RequestId i = 1; i <= 200; ++i) {
        CHECK(a.frames[i - 1].second.request == i);
        CHECK(a.frames[i - 1].second.body == frame(i, i * 13 % 3000).body);
    }
    CHECK(a.mesh->link_count() == 1);
    CHECK(b.mesh->link_count() == 1);
    CHECK(a.failed.empty());
}

TEST_CASE("each purpose has its own link") {
    // A directory batch must not stand before a probe.
    uv::Loop loop;
    Member a(loop, 1);
    Member b(loop, 2);
    a.mesh->send(b.id, b.address, Purpose::gossip, frame(1));
    a.mesh->send(b.id, b.address, Purpose::directory, frame(2));
    REQUIRE(until(loop, [&] { return b.frames.size() == 2; }));
    CHECK(a.mesh->link_count() == 2);
}

TEST_CASE("a seed is dialled by name without knowing who answers, and used again by its address") {
    // Join knows host:port only; a localhost name may resolve to ::1 first, where nobody listens.
    uv::Loop loop;
    Member a(loop, 1);
    Member b(loop, 2);
    const Endpoint seed{"localhost", b.address.port};
    a.mesh->send({}, seed, Purpose::gossip, frame(1));
    REQUIRE(until(loop, [&] { return b.frames.size() == 1; }));
    CHECK(a.up[b.id] == 1);
    a.mesh->send({}, seed, Purpose::gossip, frame(2));
    a.mesh->send(b.id, b.address, Purpose::gossip, frame(3));
    REQUIRE(until(loop, [&] { return b.frames.size() == 3; }));
    CHECK(a.mesh->link_count() == 1);
}

TEST_CASE("what cannot be sent comes back with a reason a person can act on") {
    // The log line of the first failed join is the documentation most people read.
    uv::Loop loop;
    Member a(loop, 1, [](auto& o) { o.handshake_timeout = 2s; });
    const auto failure_of = [&](const NodeId& to, const Endpoint& address) {
        a.failed.clear();
        a.mesh->send(to, address, Purpose::gossip, frame(77));
        CHECK(a.failed.empty());
        REQUIRE(until(loop, [&] { return a.failed.size() == 1; }));
        CHECK(a.failed.front().request == 77);
        CHECK(a.failed.front().to == to);
        return a.failed.front();
    };
    SUBCASE("nobody listens") {
        std::uint16_t port = 0;
        {
            const Member gone(loop, 9);
            port = gone.address.port;
        }
        const Failed f = failure_of({}, {"127.0.0.1", port});
        CHECK(f.failure == SendFailure::unreachable);
        CHECK(f.why.find("refused") != std::string::npos);
    }
    SUBCASE("a name that does not exist") {
        const Failed f = failure_of({}, {"no-such-host.invalid", 1});
        CHECK(f.failure == SendFailure::unreachable);
        CHECK(f.why.find("no-such-host.invalid") != std::string::npos);
    }
    SUBCASE("somebody who never answers") {
        auto silent = uv::Listener::tcp(loop, {"127.0.0.1", 0}, {}, [](uv::Fd fd, const Endpoint&) {
            (void)fd.release();  // leaked on purpose: open and silent
        });
        REQUIRE(silent);
        const Failed f = failure_of(test::node(9), silent->address());
        CHECK(f.failure == SendFailure::unreachable);
        CHECK(f.why.find("handshake") != std::string::npos);
    }
    SUBCASE("another cluster") {
        const Member other(loop, 2, [](auto& o) { o.identity.cluster = "other"; });
        const Failed f = failure_of(other.id, other.address);
        CHECK(f.failure == SendFailure::foreign);
        CHECK(f.why.find("cluster name") != std::string::npos);
    }
    SUBCASE("another key") {
        const Member other(loop, 2, [](auto& o) { o.identity.key = wire::link_key("other key 1234567"); });
        const Failed f = failure_of(other.id, other.address);
        CHECK(f.failure == SendFailure::foreign);
        CHECK(f.why.find("fastreg key show") != std::string::npos);
    }
    SUBCASE("this node itself") {
        const Failed f = failure_of({}, a.address);
        CHECK(f.failure == SendFailure::itself);
        CHECK(a.ups == 0);
    }
    SUBCASE("an HTTP port") {
        // 5000 typed for 7946; the length that "HTTP" makes as a number helps nobody.
        std::vector<uv::Fd> kept;
        auto web = uv::Listener::tcp(loop, {"127.0.0.1", 0}, {}, [&](uv::Fd fd, const Endpoint&) {
            const std::string_view words = "HTTP/1.1 400 Bad Request\r\n\r\n";
            CHECK(::send(fd.get(), words.data(), words.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(words.size()));
            kept.push_back(std::move(fd));
        });
        REQUIRE(web);
        const Failed f = failure_of({}, web->address());
        CHECK(f.failure == SendFailure::refused);
        CHECK(f.why.find("is an HTTP port") != std::string::npos);
        CHECK(f.why.find("length") == std::string::npos);
    }
    SUBCASE("another node than expected") {
        Member b(loop, 2);
        const Failed f = failure_of(test::node(3), b.address);
        CHECK(f.failure == SendFailure::refused);
        CHECK(f.why.find("is now node") != std::string::npos);
        CHECK(b.frames.empty());
        REQUIRE(a.wrong_peers.size() == 1);
        CHECK(a.wrong_peers.front() == std::tuple(test::node(3), b.address, b.id));
    }
    SUBCASE("no address") {
        CHECK(failure_of(test::node(3), {}).failure == SendFailure::unreachable);
    }
}

TEST_CASE("a link whose queue overflows is dropped and gives its frames back") {
    // A peer that stops reading must not eat this node's memory.
    uv::Loop loop;
    Member a(loop, 1, [](auto& o) { o.queue_frames_max = 20; });
    std::vector<std::unique_ptr<RawPeer>> accepted;
    auto server = uv::Listener::tcp(loop, {"127.0.0.1", 0}, {}, [&](uv::Fd fd, const Endpoint&) {
        accepted.push_back(std::make_unique<RawPeer>(loop, std::move(fd)));
    });
    REQUIRE(server);
    a.mesh->send(test::node(2), server->address(), Purpose::gossip, frame(1));
    REQUIRE(until(loop, [&] { return accepted.size() == 1; }));
    REQUIRE(accepted.front()->greet(identity(2), Purpose::gossip, wire::Role::responder));
    REQUIRE(until(loop, [&] { return a.ups == 1; }));
    for (RequestId i = 2; i < 2000 && a.mesh->connected(test::node(2), Purpose::gossip); ++i) {
        a.mesh->send(test::node(2), server->address(), Purpose::gossip, frame(i, 60'000));
    }
    CHECK_FALSE(a.mesh->connected(test::node(2), Purpose::gossip));
    REQUIRE(until(loop, [&] { return a.downs == 1; }));
    REQUIRE(a.failed.size() >= 17);
    CHECK(a.failed.front().failure == SendFailure::overflow);
}

TEST_CASE("frames waiting for a dial are bounded too") {
    // A seed behind a firewall swallows everything for a second.
    uv::Loop loop;
    Member a(loop, 1);
    Member b(loop, 2);
    for (RequestId i = 1; i <= 300; ++i) {
        a.mesh->send(b.id, b.address, Purpose::gossip, frame(i));
    }
    REQUIRE(until(loop, [&] { return b.frames.size() + a.failed.size() == 300; }));
    CHECK(b.frames.size() == 256);
    CHECK(a.failed.front().failure == SendFailure::overflow);
}

TEST_CASE("two nodes that dial each other at once keep talking and neither goes down") {
    // Closing "the duplicate" on both sides at once is the classic flap.
    uv::Loop loop;
    Member a(loop, 1);
    Member b(loop, 2);
    a.mesh->send(b.id, b.address, Purpose::gossip, frame(1));
    b.mesh->send(a.id, a.address, Purpose::gossip, frame(1));
    REQUIRE(until(loop, [&] { return a.frames.size() == 1 && b.frames.size() == 1; }));
    for (RequestId i = 2; i <= 50; ++i) {
        a.mesh->send(b.id, b.address, Purpose::gossip, frame(i));
        b.mesh->send(a.id, a.address, Purpose::gossip, frame(i));
        REQUIRE(until(loop, [&] { return a.frames.size() == i && b.frames.size() == i; }));
    }
    idle(loop, 50ms);
    CHECK(a.downs == 0);
    CHECK(b.downs == 0);
    CHECK(a.mesh->link_count() <= 2);
}

TEST_CASE("a peer that goes is reported once, its last frames are given back, and it can come back") {
    // The same id returns with a new socket after a restart.
    uv::Loop loop;
    Member a(loop, 1);
    auto b = std::make_unique<Member>(loop, 2);
    a.mesh->send(b->id, b->address, Purpose::gossip, frame(1));
    REQUIRE(until(loop, [&] { return b->frames.size() == 1; }));
    b.reset();
    REQUIRE(until(loop, [&] { return a.downs == 1; }));
    CHECK_FALSE(a.mesh->connected(test::node(2), Purpose::gossip));
    b = std::make_unique<Member>(loop, 2);
    a.mesh->send(b->id, b->address, Purpose::gossip, frame(2));
    REQUIRE(until(loop, [&] { return b->frames.size() == 1; }));
    a.mesh->drop(b->id, "suspect");
    REQUIRE(until(loop, [&] { return a.downs == 2 && b->downs == 1; }));
}

TEST_CASE("a peer that starts anew replaces what its earlier boot left open") {
    // After a power cut the old link looks open for minutes and would swallow every probe.
    uv::Loop loop;
    Member a(loop, 1);
    RawPeer old(loop, a.address);
    REQUIRE(old.greet(identity(2), Purpose::gossip));
    REQUIRE(until(loop, [&] { return a.ups == 1; }));
    Identity reborn = identity(2);
    reborn.epoch = 2;
    RawPeer fresh(loop, a.address);
    REQUIRE(fresh.greet(reborn, Purpose::gossip));
    CHECK(old.closed_by_peer());
    REQUIRE(until(loop, [&] { return a.ups == 2; }));
    a.mesh->send(test::node(2), {}, Purpose::gossip, frame(5));
    const auto got = fresh.next_frame();
    REQUIRE(got);
    CHECK(got->request == 5);
}

TEST_CASE("idle links close, kept ones stay, the least recently used makes room") {
    // 10,000 members must not mean 10,000 connections.
    uv::Loop loop;
    Member hub(loop, 1, [](auto& o) {
        o.outbound_idle_max = 3;
        o.outbound_idle = 2s;
    });
    std::vector<std::unique_ptr<Member>> others;
    for (unsigned i = 2; i <= 7; ++i) others.push_back(std::make_unique<Member>(loop, i));
    hub.mesh->keep({others[0]->id});
    for (auto& other : others) {
        hub.mesh->send(other->id, other->address, Purpose::gossip, frame(1));
        REQUIRE(until(loop, [&] { return other->frames.size() == 1; }));
    }
    CHECK(until(loop, [&] { return hub.mesh->link_count() == 4; }));
    CHECK(hub.mesh->connected(others[0]->id, Purpose::gossip));
    CHECK(hub.mesh->connected(others[5]->id, Purpose::gossip));
    CHECK_FALSE(hub.mesh->connected(others[1]->id, Purpose::gossip));
    CHECK(until(loop, [&] { return hub.mesh->link_count() == 1; }));
    CHECK(hub.mesh->connected(others[0]->id, Purpose::gossip));
}

TEST_CASE("bytes that are not the protocol close the link; strangers wait outside") {
    // Malformed, oversized, out of place, and a frame before the handshake is through.
    uv::Loop loop;
    Member a(loop, 1);
    const auto greeted = [&](RawPeer& peer) { return peer.greet(identity(2), Purpose::gossip); };
    SUBCASE("an oversized frame") {
        RawPeer peer(loop, a.address);
        REQUIRE(greeted(peer));
        peer.send(Bytes(16, std::byte{0x7f}));
        CHECK(peer.closed_by_peer());
    }
    SUBCASE("a second Hello") {
        RawPeer peer(loop, a.address);
        REQUIRE(greeted(peer));
        peer.send(wire::encode_hello(identity(2).hello(Purpose::gossip)));
        CHECK(peer.closed_by_peer());
    }
    SUBCASE("an unknown type that must be understood") {
        RawPeer peer(loop, a.address);
        REQUIRE(greeted(peer));
        peer.send(wire::Frame{0xf0, wire::kMustUnderstand, 0, {}});
        CHECK(peer.closed_by_peer());
    }
    SUBCASE("unknown but skippable, and a ping") {
        RawPeer peer(loop, a.address);
        REQUIRE(greeted(peer));
        peer.send(wire::Frame{0xf0, 0, 0, {}});
        peer.send(wire::Frame{0x04, 0, 9, {}});
        const auto pong = peer.next_frame();
        REQUIRE(pong);
        CHECK(pong->type == 0x05);
        CHECK(pong->request == 9);
    }
    SUBCASE("a frame instead of a handshake never reaches the cores") {
        RawPeer peer(loop, a.address);
        peer.send(frame(1));
        CHECK(peer.closed_by_peer());
        CHECK(a.frames.empty());
    }
    SUBCASE("a frame right behind the handshake is not lost") {
        Member open(loop, 5, [](auto& o) { o.identity.key.reset(); });
        Identity who = identity(6);
        who.key.reset();
        RawPeer peer(loop, open.address);
        Bytes both = wire::encode_frame(wire::encode_hello(who.hello(Purpose::gossip)));
        const Bytes next = wire::encode_frame(frame(42));
        both.insert(both.end(), next.begin(), next.end());
        peer.send(both);
        REQUIRE(until(loop, [&] { return open.frames.size() == 1; }));
        CHECK(open.frames.front().second.request == 42);
    }
    SUBCASE("the data port's purpose") {
        RawPeer peer(loop, a.address);
        (void)peer.greet(identity(2), Purpose::data);
        CHECK(peer.closed_by_peer());
        CHECK(a.ups == 0);
    }
}

TEST_CASE("inbound links are limited, and half-open ones cannot keep a member out") {
    // A misconfigured load balancer opens connections all day.
    uv::Loop loop;
    Member a(loop, 1, [](auto& o) {
        o.links_max = 2;
        o.handshakes_max = 3;
        o.handshake_timeout = 5s;
    });
    std::vector<std::unique_ptr<RawPeer>> flood;
    for (int i = 0; i < 12; ++i) flood.push_back(std::make_unique<RawPeer>(loop, a.address));
    idle(loop, 20ms);
    RawPeer one(loop, a.address);
    RawPeer two(loop, a.address);
    CHECK(one.greet(identity(2), Purpose::gossip));
    CHECK(two.greet(identity(3), Purpose::gossip));
    RawPeer three(loop, a.address);
    CHECK_FALSE(three.greet(identity(4), Purpose::gossip));
    CHECK(three.why.find("too many links") != std::string::npos);
    for (auto& peer : flood) CHECK(peer->closed_by_peer());
}

TEST_CASE("one peer cannot take all inbound links: its newest ones replace its oldest") {
    // A member that dials again and again without hanging up would keep the others out.
    uv::Loop loop;
    Member a(loop, 1, [](auto& o) { o.links_max = 8; });
    std::vector<std::unique_ptr<RawPeer>> greedy;
    for (int i = 0; i < 12; ++i) {
        greedy.push_back(std::make_unique<RawPeer>(loop, a.address));
        CHECK(greedy.back()->greet(identity(2), Purpose::gossip));
    }
    CHECK(greedy.front()->closed_by_peer(2s));
    RawPeer other(loop, a.address);
    CHECK(other.greet(identity(3), Purpose::gossip));
    // The newest is the one that is used.
    a.mesh->send(node(2), {}, Purpose::gossip, frame(7));
    const auto got = greedy.back()->next_frame();
    REQUIRE(got);
    CHECK(got->request == 7);
    CHECK(a.downs == 0);
}

TEST_CASE("a handler may send and drop from inside its own events") {
    // Cores answer at once; the link they answer on may break under their hands.
    uv::Loop loop;
    Member a(loop, 1);
    Member b(loop, 2);
    b.on_any = [&](NodeId from, const wire::Frame& got) {
        if (got.request == 3) b.mesh->drop(from, "enough");
        b.mesh->send(from, a.address, Purpose::gossip, got);
    };
    for (RequestId i = 1; i <= 5; ++i) a.mesh->send(b.id, b.address, Purpose::gossip, frame(i));
    REQUIRE(until(loop, [&] { return a.frames.size() >= 3; }));
    idle(loop, 50ms);
    CHECK(a.frames.size() == 3);
}

TEST_CASE("a thousand links made and lost leave no descriptor behind") {
    // Probes of a big mesh open and close links all the time.
    uv::Loop loop;
    Member a(loop, 1);
    idle(loop, 10ms);
    const std::size_t before = open_fds();
    for (unsigned i = 0; i < 1000; ++i) {
        RawPeer peer(loop, a.address);
        if (i % 3 == 0) REQUIRE(peer.greet(identity(2 + i % 20), Purpose::gossip));
        if (i % 3 == 1) peer.send(as_bytes("GET / HTTP/1.0\r\n\r\n"));
    }
    CHECK(until(loop, [&] {
        const bool all_down =
            std::all_of(a.up.begin(), a.up.end(), [](const auto& one) { return one.second == 0; });
        return all_down && open_fds() <= before && a.mesh->link_count() == 0;
    }));
}

TEST_CASE("a peer that is refused for ever is told of ever more rarely, and how often") {
    // A node with a wrong key dials for ever; a line a minute buries everything else.
    RefusalLog refusals;
    const GreetError wrong_key{true, "proves another cluster key", wire::CloseCode::wrong_key};
    std::vector<std::uint64_t> unsaid;
    for (Instant now{0}; now < Instant{0} + 24h; now = now + 30s) {
        if (const auto count = refusals.say(now, "10.0.0.9", wrong_key)) unsaid.push_back(*count);
    }
    REQUIRE(unsaid.size() > 4);
    CHECK(unsaid.size() < 32);  // one an hour in the end
    CHECK(std::vector(unsaid.begin(), unsaid.begin() + 4) == std::vector<std::uint64_t>{0, 1, 3, 7});
    CHECK(unsaid.back() == 119);
    // Another reason, and one that comes back after a long silence, are said at once.
    const GreetError cluster{true, "is of another cluster", wire::CloseCode::cluster};
    CHECK(refusals.say(Instant{0} + 24h, "10.0.0.9", cluster) == 0);
    CHECK(refusals.say(Instant{0} + 48h, "10.0.0.9", wrong_key));
    CHECK_FALSE(refusals.say(Instant{0} + 48h + 30s, "10.0.0.9", wrong_key));
    CHECK(refusals.say(Instant{0} + 48h + 60s, "10.0.0.9", wrong_key) == 1);
}

}  // namespace
}  // namespace fastreg::transport::test
