// A disk is lost, another owner is down: an acknowledged row is never denied, and an older one never
// comes back. What may be answered meanwhile is said in docs/PROTOCOL.md, "Repositories".
#include "story.h"

using namespace fastreg;
using namespace fastreg::repo;
using namespace fastreg::repo::test;

TEST_CASE("one owner is down and another one's disk is lost: the old tag does not come back") {
    // The third one missed the last write. Whoever takes the lost one's place knows the old tag only.
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
        CAPTURE(seed);
        Story story(seed, 4 + seed % 3);
        auto& net = story.net;
        story.write();
        net.kill(story.owners[0]);
        if (seed % 2 == 0) net.declare(story.owners[0], MemberState::dead);
        net.cut.clear();
        story.replace(story.owners[2], 50);
        story.nobody_says("old");
        net.run_for(30s);
        story.nobody_says("old");
        story.all_is_well_again();
    }
}

TEST_CASE("the owner that was down is back: what was said without it is no longer said") {
    // Of three nodes one is left and answers for all; it missed the last write.
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
        CAPTURE(seed);
        Story story(seed, 3);
        auto& net = story.net;
        story.write();
        story.lose(story.owners[0]);
        net.cut.clear();
        story.replace(story.owners[2], 50);
        // This is the one way to see an older tag: see docs/PROTOCOL.md.
        CHECK(net.value(50, story.repository, kKey) == "old");
        net.start(story.owners[0]);
        story.nobody_says("old");
        net.run_for(3s);
        story.all_say("new");
    }
}

TEST_CASE("two nodes with new disks do not say together that there is nothing") {
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
        CAPTURE(seed);
        Story story(seed, 3);
        auto& net = story.net;
        REQUIRE(net.put(0, story.repository, {set(kKey, "new")}).has_value());
        net.run_for(1s);
        story.lose(story.owners[0]);
        net.kill(story.owners[1]);
        net.kill(story.owners[2]);
        net.declare(story.owners[1], MemberState::left);
        net.declare(story.owners[2], MemberState::left);
        net.start(50);
        net.start(51);
        net.run_for(5s);
        story.nobody_says("");
        story.all_is_well_again();
    }
}

TEST_CASE("an owner starts again while another one is down: the third remembers that it was whole") {
    // Else one dead node and a rolling restart are two minutes without tags.
    for (std::uint64_t seed = 1; seed <= 8; ++seed) {
        CAPTURE(seed);
        Story story(seed, 4 + seed % 3);
        auto& net = story.net;
        story.write();
        net.cut.clear();
        story.lose(story.owners[1]);
        net.kill(story.owners[2]);
        net.start(story.owners[2]);
        net.run_for(2s);
        story.all_say("new");
        REQUIRE(net.put(story.owners[2], story.repository, {set(kKey, "newer")}).has_value());
        story.all_say("newer");
    }
}

TEST_CASE("of three nodes that lost power two come back: they answer") {
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
        CAPTURE(seed);
        Story story(seed, 3);
        auto& net = story.net;
        story.write();
        net.cut.clear();
        for (std::uint64_t n = 0; n < 3; ++n) net.kill(n);
        net.declare(story.owners[2], MemberState::dead);
        net.start(story.owners[0]);
        net.start(story.owners[1]);
        net.run_for(3s);
        story.all_say("new");
    }
}

TEST_CASE("owners that stay away for their grace are no longer waited for") {
    Story story(3, 5);
    auto& net = story.net;
    REQUIRE(net.put(0, story.repository, {set(kKey, "new")}).has_value());
    net.run_for(1s);
    story.lose(story.owners[0]);
    story.replace(story.owners[2], 50);
    story.nobody_says("");
    net.run_for(122s);
    story.all_say("new");
}

TEST_CASE("a node of a mesh of two goes on when the other one dies and a new one joins") {
    Net net(9);
    net.start(0);
    net.start(1);
    net.run_for(2s);
    REQUIRE(net.put(0, "app", {set(kKey, "x")}).has_value());
    net.kill(0);
    net.declare(0, MemberState::dead);
    net.start(2);
    net.run_for(1500ms);
    CHECK(net.value(1, "app", kKey) == "x");
    CHECK(net.value(2, "app", kKey) == "x");
}

TEST_CASE("nodes that join together with a new owner and rank before the old ones do not speak for them") {
    Net net(10);
    for (std::uint64_t n = 0; n < 3; ++n) net.start(n);
    net.run_for(2s);
    for (int i = 0; i < 20; ++i) {
        REQUIRE(net.put(0, "app" + std::to_string(i), {set(kKey, "x")}).has_value());
    }
    for (std::uint64_t n = 3; n < 15; ++n) net.start(n);
    net.run_for(10s);
    for (int i = 0; i < 20; ++i) {
        for (std::uint64_t n = 0; n < 15; ++n) CHECK(net.value(n, "app" + std::to_string(i), kKey) == "x");
    }
    for (std::uint64_t n = 0; n < 15; ++n) CHECK(net.at(n).core->stats().shards_copying == 0);
}
