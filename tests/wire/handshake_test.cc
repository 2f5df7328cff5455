// The handshake keeps strangers, other clusters and other versions out of the mesh, and must say which
// of these it met: most trouble of a first installation is found by its sentence.
#include "wire/handshake.h"

#include <doctest/doctest.h>

#include <deque>

#include "wire/pack.h"

using namespace fastreg;
using namespace fastreg::wire;

namespace {

Hello hello_of(std::uint8_t who) {
    Hello hello;
    hello.features = who | 4U;
    hello.cluster_hash = hash_of_cluster("lab");
    hello.node_id.bytes[0] = std::byte{who};
    hello.boot_epoch = 7;
    hello.nonce.fill(std::byte{who});
    hello.purpose = who == 1 ? Purpose::data : Purpose::gossip;
    hello.name = "node-" + std::to_string(who);
    hello.gossip = Endpoint{"10.0.0." + std::to_string(who), 7946};
    return hello;
}

const Mac kKey = link_key("correct horse battery staple\n");

struct Side {
    Handshake handshake;
    std::string error;
    int frames_sent = 0;

    Side(Role role, Hello mine, std::optional<Mac> key)
        : handshake(role, std::move(mine), key,
                    role == Role::initiator ? "10.0.0.2:7946" : "10.0.0.1:50000") {}
};

/// Carries the frames of both sides to each other until nobody has anything to say.
void meet(Side& a, Side& b) {
    std::deque<std::pair<Side*, Frame>> on_the_way;  // to whom, what
    const auto send = [&](Side& from, Side& to, std::vector<Frame> frames) {
        from.frames_sent += static_cast<int>(frames.size());
        for (auto& frame : frames) on_the_way.emplace_back(&to, std::move(frame));
    };
    send(b, a, b.handshake.start());
    send(a, b, a.handshake.start());
    while (!on_the_way.empty()) {
        auto [to, frame] = std::move(on_the_way.front());
        on_the_way.pop_front();
        Side& other = to == &a ? b : a;
        if (to->handshake.failure()) continue;  // closed: nobody reads
        auto answer = to->handshake.on_frame(frame);
        if (answer) {
            send(*to, other, *std::move(answer));
            continue;
        }
        to->error = answer.error().what;
        if (to->handshake.farewell()) send(*to, other, {*to->handshake.farewell()});
    }
}

struct Outcome {
    std::optional<CloseCode> initiator, responder;
    std::string initiator_error, responder_error;
};

Outcome meeting(const Hello& a, std::optional<Mac> key_a, const Hello& b, std::optional<Mac> key_b) {
    Side initiator(Role::initiator, a, key_a);
    Side responder(Role::responder, b, key_b);
    meet(initiator, responder);
    CHECK_FALSE(initiator.handshake.done());
    CHECK_FALSE(responder.handshake.done());
    return {initiator.handshake.failure(), responder.handshake.failure(), initiator.error,
            responder.error};
}

bool contains(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

Frame only(Result<Handshake::Frames> frames) {
    REQUIRE(frames);
    REQUIRE(frames->size() == 1);
    return frames->front();
}

}  // namespace

TEST_CASE("two nodes with one key meet") {
    // The good case, with all that a link is told of its other end.
    Side a(Role::initiator, hello_of(1), kKey);
    Side b(Role::responder, hello_of(2), kKey);
    meet(a, b);
    REQUIRE(a.handshake.done());
    REQUIRE(b.handshake.done());
    CHECK(b.handshake.peer() == a.handshake.mine());
    CHECK(a.handshake.peer() == b.handshake.mine());
    CHECK(a.handshake.peer().name == "node-2");
    CHECK(a.handshake.peer().keyed);
    CHECK(b.handshake.mine().purpose == Purpose::data);  // the initiator's
    CHECK(a.handshake.version() == 1);
    CHECK(a.handshake.features() == 4);
    CHECK(a.frames_sent == 2);
    CHECK(b.frames_sent == 2);
}

TEST_CASE("two nodes without a key meet, insecurely") {
    // Trying FastReg on one's desk needs no key.
    Side a(Role::initiator, hello_of(1), std::nullopt);
    Side b(Role::responder, hello_of(2), std::nullopt);
    meet(a, b);
    CHECK(a.handshake.done());
    CHECK(b.handshake.done());
    CHECK(a.frames_sent == 1);
    CHECK(b.frames_sent == 1);
}

TEST_CASE("white space around a key does not count") {
    // Editors and shells add newlines to files.
    CHECK(link_key("abc") == link_key("  abc\r\n"));
    CHECK(link_key("abc") != link_key("ab c"));
    CHECK(link_key("") == link_key("\n"));
}

TEST_CASE("another key keeps a node out and says what to do") {
    // The most common mistake of all: a node installed with a key of its own.
    const auto met = meeting(hello_of(1), link_key("one"), hello_of(2), link_key("two"));
    CHECK(met.responder == CloseCode::wrong_key);
    CHECK(met.initiator == CloseCode::wrong_key);
    CHECK(met.responder_error ==
          "peer 10.0.0.1:50000 proves another cluster key: copy the key of this mesh to it "
          "(fastreg key show on a member)");
    CHECK(contains(met.initiator_error, "peer 10.0.0.2:7946 has another cluster key"));
}

TEST_CASE("a key on one side only is told from a wrong key, on both sides") {
    // "insecure" left on by mistake must not look like a network fault.
    const auto bare = meeting(hello_of(1), std::nullopt, hello_of(2), kKey);
    CHECK(bare.responder == CloseCode::key_needed);
    CHECK(contains(bare.responder_error, "has no cluster key"));
    CHECK(contains(bare.initiator_error, "this node has none"));
    const auto keyed = meeting(hello_of(1), kKey, hello_of(2), std::nullopt);
    CHECK(keyed.responder == CloseCode::key_foreign);
    CHECK(contains(keyed.responder_error, "this node has none"));
    CHECK(contains(keyed.initiator_error, "runs without a cluster key"));
}

TEST_CASE("no common version names both ranges") {
    // An operator must see which of the two nodes to upgrade.
    Hello old = hello_of(1);
    Hello young = hello_of(2);
    young.versions = {2, 4};
    const auto met = meeting(old, kKey, young, kKey);
    CHECK(met.responder == CloseCode::version);
    CHECK(met.initiator == CloseCode::version);
    CHECK(contains(met.responder_error, "speaks protocol version 1, this node 2..4"));
    CHECK(contains(met.initiator_error, "speaks protocol version 2..4, this node 1"));
}

TEST_CASE("the highest common version wins") {
    // N and N-1 interoperate during a rolling upgrade, whoever dials.
    for (const bool young_dials : {true, false}) {
        Hello old = hello_of(1);
        Hello young = hello_of(2);
        old.versions = {1, 3};
        young.versions = {2, 9};
        Side a(Role::initiator, young_dials ? young : old, kKey);
        Side b(Role::responder, young_dials ? old : young, kKey);
        meet(a, b);
        CHECK(a.handshake.version() == 3);
        CHECK(b.handshake.version() == 3);
        CHECK(b.handshake.done());
    }
}

TEST_CASE("a later version may say Hello in other words") {
    // What a future version says beyond its range of versions is not read before a range is agreed.
    MapWriter future;
    future.put(1, "FRG1").put(2, std::uint64_t{7}).put(3, std::uint64_t{8}).put(4, "new");
    Side b(Role::responder, hello_of(2), kKey);
    CHECK(b.handshake.start().empty());
    CHECK_FALSE(b.handshake.on_frame({1, 0, 0, future.finish()}));
    CHECK(b.handshake.failure() == CloseCode::version);
    REQUIRE(b.handshake.farewell());
    const auto close = decode_close(b.handshake.farewell()->body);
    REQUIRE(close);
    CHECK(close->versions == kVersions);
}

TEST_CASE("another cluster, this node itself, and another program are told apart") {
    // Each has its own cure: the cluster name, the seed list, the port.
    Hello other = hello_of(1);
    other.cluster_hash = hash_of_cluster("prod");
    const auto cluster = meeting(other, kKey, hello_of(2), kKey);
    CHECK(cluster.responder == CloseCode::cluster);
    CHECK(cluster.initiator == CloseCode::cluster);
    CHECK(contains(cluster.initiator_error, "cluster name"));

    const auto itself = meeting(hello_of(1), kKey, hello_of(1), kKey);
    CHECK(itself.responder == CloseCode::itself);
    CHECK(itself.initiator == CloseCode::itself);

    MapWriter foreign;
    foreign.put(1, "FRG9").put(2, std::uint64_t{1}).put(3, std::uint64_t{1});
    Side b(Role::responder, hello_of(2), kKey);
    CHECK(b.handshake.start().empty());
    const auto answer = b.handshake.on_frame({1, 0, 0, foreign.finish()});
    REQUIRE_FALSE(answer);
    CHECK(contains(answer.error().what, "does not speak FastReg"));
}

TEST_CASE("a stranger who mirrors a node's own words does not get in") {
    // The reflection attack: without the key, send back what was received and hope.
    Side a(Role::initiator, hello_of(1), kKey);
    const Frame hello = a.handshake.start().front();
    SUBCASE("the whole Hello") {
        CHECK_FALSE(a.handshake.on_frame(hello));
        CHECK(a.handshake.failure() == CloseCode::itself);
    }
    SUBCASE("the nonce under another name") {
        Hello mirror = a.handshake.mine();
        mirror.node_id.bytes[5] = std::byte{1};
        CHECK_FALSE(a.handshake.on_frame(encode_hello(mirror)));
    }
    SUBCASE("the Proof") {
        Hello stranger = hello_of(9);
        stranger.purpose = Purpose::data;
        stranger.keyed = true;
        const Frame proof = only(a.handshake.on_frame(encode_hello(stranger)));
        CHECK_FALSE(a.handshake.on_frame(proof));
        CHECK(a.handshake.failure() == CloseCode::wrong_key);
    }
    CHECK_FALSE(a.handshake.done());
}

TEST_CASE("two links to one node cannot be used to answer each other") {
    // The stranger opens a second link and lets the node itself compute what the first one asks for.
    Hello stranger = hello_of(9);
    stranger.purpose = Purpose::data;
    stranger.keyed = true;
    Side out(Role::initiator, hello_of(1), kKey);  // the victim dialled the stranger
    Side in(Role::responder, hello_of(1), kKey);   // and the stranger dials the victim
    CHECK(in.handshake.start().empty());
    CHECK(out.handshake.start().size() == 1);
    const Frame proof = only(out.handshake.on_frame(encode_hello(stranger)));
    // The victim answers a dialler only after the dialler proved the key: nothing to relay back.
    CHECK(only(in.handshake.on_frame(encode_hello(stranger))).type == 1);
    CHECK_FALSE(in.handshake.on_frame(proof));
    CHECK(in.handshake.failure() == CloseCode::wrong_key);
}

TEST_CASE("a recorded handshake cannot be played again") {
    // The nonce of the side that listens is new for every link.
    Side a(Role::initiator, hello_of(1), kKey);
    Side b(Role::responder, hello_of(2), kKey);
    const Frame hello = a.handshake.start().front();
    CHECK(b.handshake.start().empty());
    const Frame answer = only(b.handshake.on_frame(hello));
    const Frame proof = only(a.handshake.on_frame(answer));
    CHECK(only(b.handshake.on_frame(proof)).type == 2);
    Hello later = hello_of(2);
    later.nonce.fill(std::byte{77});
    Side again(Role::responder, later, kKey);
    CHECK(again.handshake.start().empty());
    CHECK(only(again.handshake.on_frame(hello)).type == 1);
    CHECK_FALSE(again.handshake.on_frame(proof));
    CHECK(again.handshake.failure() == CloseCode::wrong_key);
}

TEST_CASE("a Hello changed on its way is found") {
    // The Proof covers both whole Hellos: nobody in between turns features or addresses.
    for (const bool change_first : {true, false}) {
        Side a(Role::initiator, hello_of(1), kKey);
        Side b(Role::responder, hello_of(2), kKey);
        Frame first = a.handshake.start().front();
        CHECK(b.handshake.start().empty());
        if (change_first) {
            Hello changed = a.handshake.mine();
            changed.features = 0;
            first = encode_hello(changed);
        }
        Frame second = only(b.handshake.on_frame(first));
        if (!change_first) second.request = 1;  // even in the frame's header
        const Frame proof = only(a.handshake.on_frame(second));
        CHECK_FALSE(b.handshake.on_frame(proof));
        CHECK(b.handshake.failure() == CloseCode::wrong_key);
    }
}

TEST_CASE("frames out of turn, oversized or broken end the handshake") {
    // Nothing of a stranger is kept waiting or kept in memory.
    const auto refused = [](const Frame& frame) {
        Side b(Role::responder, hello_of(2), kKey);
        CHECK(b.handshake.start().empty());
        CHECK_FALSE(b.handshake.on_frame(frame));
        CHECK(b.handshake.failure() == CloseCode::protocol);
        CHECK_FALSE(b.handshake.on_frame(encode_hello(hello_of(1))));  // and there is no way back
        CHECK_FALSE(b.handshake.done());
    };
    refused(encode_proof({}));
    refused({0x20, 0, 0, {}});
    refused({1, 0, 0, Bytes(kHelloBodyMax + 1)});
    refused({1, 0, 0, {}});
    Hello nameless = hello_of(1);
    nameless.node_id = {};
    refused(encode_hello(nameless));

    Side a(Role::initiator, hello_of(1), kKey);
    CHECK(a.handshake.start().size() == 1);
    Hello answer = hello_of(2);
    answer.keyed = true;
    answer.purpose = Purpose::gossip;  // asked for data
    CHECK_FALSE(a.handshake.on_frame(encode_hello(answer)));
    CHECK(a.handshake.failure() == CloseCode::protocol);
}

TEST_CASE("Hello and Close come back as they were said, and long texts are cut") {
    // The largest Hello a node can say must pass the limit of the other side.
    Hello hello = hello_of(1);
    hello.versions = {1, UINT16_MAX};
    hello.features = hello.cluster_hash = hello.boot_epoch = UINT64_MAX;
    hello.name = std::string(kNodeNameMax, 'n');
    hello.gossip = Endpoint{std::string(253, 'h'), 65535};
    hello.keyed = true;
    const Frame frame = encode_hello(hello);
    CHECK(frame.body.size() <= kHelloBodyMax);
    const auto back = decode_hello(frame.body);
    REQUIRE(back);
    CHECK(*back == hello);

    const Close close{CloseCode::busy, std::string(400, 'x'), {1, 2}};
    const auto cut = decode_close(encode_close(close).body);
    REQUIRE(cut);
    CHECK(*cut == Close{CloseCode::busy, std::string(kCloseTextMax, 'x'), {1, 2}});
}
