// Finding a holder: what every pull of a cold node starts with.
#include "net.h"

using namespace fastreg;
using namespace fastreg::directory;
using namespace fastreg::directory::test;

TEST_CASE("what one node has every node finds") {
    // The first promise of the mesh.
    Net net(1);
    for (std::uint64_t n = 0; n < 8; ++n) net.start(n);
    net.run_for(1s);
    for (std::uint64_t i = 0; i < 20; ++i) net.have(i % 8, blob(i), HolderKind::cache, 1000 + i);
    net.run_for(200ms);
    for (std::uint64_t i = 0; i < 20; ++i) {
        for (std::uint64_t n = 0; n < 8; ++n) {
            if (n == i % 8) continue;
            const auto found = net.look_up(n, blob(i));
            CAPTURE(i);
            CAPTURE(n);
            CHECK(names(found, i % 8));
            CHECK(found.size == 1000 + i);
            CHECK(found.authoritative);
        }
    }
}

TEST_CASE("a home is known within a round trip") {
    // A client that pushed to one node may pull from the next at once.
    Net net(2);
    for (std::uint64_t n = 0; n < 3; ++n) net.start(n);
    net.run_for(1s);
    net.have(0, blob(1), HolderKind::home);
    net.run_for(10ms);
    CHECK(names(net.look_up(1, blob(1)), 0));
    CHECK(names(net.look_up(2, blob(1)), 0));
}

TEST_CASE("nobody has it is an answer, not a failure") {
    // Only then may the node go to the upstream registry.
    Net net(3);
    for (std::uint64_t n = 0; n < 5; ++n) net.start(n);
    net.run_for(3s);
    const auto found = net.look_up(4, blob(1));
    CHECK(found.authoritative);
    CHECK(found.holders.empty());
}

TEST_CASE("a node alone answers itself") {
    Net net(4);
    net.start(0);
    net.run_for(10ms);
    const auto before = net.frames;
    const auto found = net.look_up(0, blob(1));
    CHECK(found.authoritative);
    CHECK(found.holders.empty());
    CHECK(net.frames == before);
}

TEST_CASE("who asks in order to download is named to the next asker") {
    // This is what makes a crowd of cold nodes a swarm.
    Net net(5);
    for (std::uint64_t n = 0; n < 5; ++n) net.start(n);
    net.run_for(3s);
    CHECK(net.look_up(1, blob(1), Intent::download).holders.empty());
    const auto second = net.look_up(2, blob(1), Intent::download);
    REQUIRE(names(second, 1));
    CHECK(second.holders.front().kind == HolderKind::partial);
    CHECK_FALSE(names(second, 2));  // never oneself
    CHECK_FALSE(names(net.look_up(3, blob(1), Intent::ask), 3));

    // It gave up without a word: it is not named for ever.
    net.run_for(70s);
    CHECK(net.look_up(4, blob(1)).holders.empty());
}

TEST_CASE("a dead owner costs a moment, not the answer") {
    Net net(6);
    for (std::uint64_t n = 0; n < 6; ++n) net.start(n);
    net.run_for(3s);
    for (std::uint64_t i = 0; i < 30; ++i) net.have(0, blob(i), HolderKind::cache);
    net.run_for(1s);
    SUBCASE("its link breaks") { net.kill(3); }
    SUBCASE("it hangs") { net.silent.insert(node_id(3)); }
    for (std::uint64_t i = 0; i < 30; ++i) {
        const auto begin = net.now;
        CHECK(names(net.look_up(1, blob(i)), 0));
        CHECK(millis_of(net.now - begin) <= 220);
    }
}

TEST_CASE("no owner answers: the error says who was asked") {
    Net net(7);
    for (std::uint64_t n = 0; n < 4; ++n) net.start(n);
    net.run_for(3s);
    std::uint64_t i = 0;
    const auto mine = [&](const Digest& d) {
        const auto& owners = net.at(0).core->owners(d);
        return std::ranges::count(owners, node_id(0)) != 0;
    };
    while (mine(blob(i))) ++i;
    for (std::uint64_t n = 1; n < 4; ++n) net.silent.insert(node_id(n));
    const auto begin = net.now;
    net.look_up(0, blob(i));
    CHECK(millis_of(net.now - begin) <= 1000);
    REQUIRE(net.at(0).failed.size() == 1);
    const auto& why = net.at(0).failed.front().why;
    CHECK(why.code == Errc::unavailable);
    CHECK(why.what.find("n1") != std::string::npos);
}

TEST_CASE("near holders come first and at most fifty are named") {
    // Bytes between zones cost money; a list of ten thousand holders helps nobody.
    Net net(8);
    for (std::uint64_t n = 0; n < 80; ++n) net.start(n, n % 3 == 0 ? "here" : "there");
    net.run_for(3s);
    for (std::uint64_t n = 1; n < 80; ++n) net.have(n, blob(1), HolderKind::partial);
    net.have(50, blob(1), HolderKind::home);
    net.run_for(1s);
    const auto found = net.look_up(0, blob(1), Intent::download);
    REQUIRE(found.holders.size() == 50);
    CHECK(names(found, 50));  // the only one that has it all, from the other zone
    bool far = false;
    for (const auto& h : found.holders) {
        const bool here = net.nodes.at(h.node).member.zone == "here";
        CHECK_FALSE((here && far));
        far = far || !here;
    }
}

TEST_CASE("who asks for the copies of a popular blob is told of all of its homes") {
    // Two among sixty that pulled it: a home that is not named counts as lost, and another copy is made.
    Net net(9);
    for (std::uint64_t n = 0; n < 60; ++n) net.start(n, n % 2 == 0 ? "here" : "there");
    net.run_for(3s);
    for (std::uint64_t n = 0; n < 60; ++n) net.have(n, blob(1), HolderKind::cache);
    net.have(31, blob(1), HolderKind::home);
    net.have(32, blob(1), HolderKind::home);
    net.run_for(1s);
    for (std::uint64_t n = 0; n < 20; ++n) {
        const auto found = net.look_up(n, blob(1), Intent::ask);
        CAPTURE(n);
        REQUIRE(found.holders.size() == 50);
        CHECK(found.holders[0].kind == HolderKind::home);
        CHECK(found.holders[1].kind == HolderKind::home);
    }
}
