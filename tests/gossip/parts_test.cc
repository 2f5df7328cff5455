// The parts of the core that can be wrong by themselves.
#include <doctest/doctest.h>

#include "gossip/broadcasts.h"
#include "gossip/joiner.h"
#include "gossip/prober.h"
#include "gossip/sync.h"
#include "tests/gossip/bench.h"

using namespace fastreg;
using namespace fastreg::gossip;
using namespace fastreg::gossip::test;

TEST_CASE("news are told a fixed number of times, the least told first") {
    // Too few copies and news die out; too many and they never stop.
    CHECK(transmit_limit(4, 1) == 4);
    CHECK(transmit_limit(4, 100) == 12);
    CHECK(transmit_limit(4, 1'000) == 16);
    CHECK(transmit_limit(4, 10'000) == 20);
    Broadcasts queue;
    queue.add(record(1));
    CHECK(queue.take(60'000, 3).size() == 1);
    queue.add(record(2));
    const auto one = queue.take(wire::claim_size(record(2)) + 10, 3);  // room for one
    REQUIRE(one.size() == 1);
    CHECK(one[0].subject.id == id_of(2));
    CHECK(queue.take(60'000, 3).size() == 2);
    CHECK(queue.take(60'000, 3).size() == 2);
    CHECK(queue.empty());
}

TEST_CASE("newer news of a member replace the older") {
    // Otherwise a refutation would travel behind the accusation.
    Broadcasts queue;
    queue.add(claim(1, 2, MemberState::suspect));
    queue.add(record(1, 1, 1));
    const auto claims = queue.take(60'000, 1);
    REQUIRE(claims.size() == 1);
    CHECK(claims[0].subject.state == MemberState::alive);
    CHECK(queue.empty());
}

TEST_CASE("a message is filled to its budget and never beyond a frame") {
    // 64 KiB frames spread the loss of a whole zone in seconds instead of minutes.
    Broadcasts queue;
    for (std::size_t n = 0; n < 3'000; ++n) queue.add(record(n));
    const auto claims = queue.take(60'000, 9);
    CHECK(claims.size() > 400);
    CHECK(wire::encode({wire::Updates{}, claims}).body.size() <= wire::kFrameBodyMax);
}

TEST_CASE("a newcomer enters the round at any place") {
    // Appended ones would all be probed late, and by everybody at the same time.
    std::set<std::size_t> places;
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
        Rng rng(seed);
        ProbeRing ring;
        for (std::size_t n = 0; n < 10; ++n) ring.add(id_of(n), rng);
        (void)ring.next(rng);
        ring.add(id_of(10), rng);
        std::size_t place = 0;
        while (ring.next(rng) != id_of(10)) ++place;
        places.insert(place);
    }
    CHECK(places.size() > 6);
}

TEST_CASE("a member that went and came back within a round is in it once") {
    // Flapping must not fill the ring.
    Rng rng(1);
    ProbeRing ring;
    for (int i = 0; i < 100; ++i) {
        ring.add(id_of(1), rng);
        ring.remove(id_of(1));
    }
    ring.add(id_of(1), rng);
    ring.add(id_of(2), rng);
    std::map<NodeId, int> met;
    for (int i = 0; i < 20; ++i) ++met[*ring.next(rng)];
    CHECK(met[id_of(1)] == 10);
    CHECK(met[id_of(2)] == 10);
}

TEST_CASE("tables that agree have equal hashes, whatever the way there") {
    // A difference that is none would be exchanged for ever.
    Table a(record(0).subject);
    Table b(record(0).subject);
    for (std::size_t n = 1; n < 200; ++n) a.put(record(n).subject);
    for (std::size_t n = 199; n >= 1; --n) {
        b.put(record(n, 1, 5).subject);
        b.put(record(n).subject);
    }
    CHECK(a.hashes() == b.hashes());
    Member suspect = record(7).subject;
    suspect.state = MemberState::suspect;
    a.put(suspect);
    CHECK(a.hashes() == b.hashes());  // a doubt is told by gossip, not by comparing
    a.put(record(7, 1, 1).subject);
    Rng rng(1);
    const auto differing = differing_buckets(a.hashes(), b.hashes(), rng);
    REQUIRE(differing.size() == 1);
    CHECK(std::byte{differing[0]} == id_of(7).bytes[0]);
    b.put(record(7, 1, 1).subject);
    Member dead = record(8).subject;
    dead.state = MemberState::dead;
    a.put(dead);
    b.erase(id_of(8));
    CHECK(a.hashes() == b.hashes());  // who never met the dead misses nothing
    CHECK(a.consistent());
    CHECK(b.consistent());
}

TEST_CASE("an exchange sends what differs and not the table") {
    // 10,000 members are a megabyte; a difference is a few records.
    Table mine(record(0).subject);
    Table theirs(record(0).subject);
    for (std::size_t n = 1; n < 1'000; ++n) {
        mine.put(record(n).subject);
        theirs.put(record(n, 1, n == 500 ? 3 : 0).subject);
    }
    Rng rng(1);
    const auto buckets = differing_buckets(mine.hashes(), theirs.hashes(), rng);
    const auto answer = answer_digest(mine, buckets, 8, 60'000);
    REQUIRE(answer.size() == 1);
    CHECK(answer[0].answer);
    CHECK(answer[0].claims.size() < 20);
    const auto better = answer_buckets(theirs, answer[0], 60'000);
    REQUIRE(better.claims.size() == 1);
    CHECK(better.claims[0].subject.id == id_of(500));
    CHECK(better.claims[0].subject.incarnation == 3);
}

TEST_CASE("a large difference is cut into whole frames and a bounded number of them") {
    // A joiner of a mesh of thousands comes again for the rest.
    Table mine(record(0).subject);
    for (std::size_t n = 1; n < 6'000; ++n) mine.put(record(n).subject);
    Rng rng(1);
    const auto all = differing_buckets(mine.hashes(), BucketHashes{}, rng);
    CHECK(all.size() == 256);
    const auto parts = answer_digest(mine, all, 8, 60'000);
    CHECK(parts.size() == 8);
    for (const auto& part : parts) {
        CHECK(wire::encode({part, {}}).body.size() <= wire::kFrameBodyMax);
        CHECK_FALSE(part.claims.empty());
    }
    CHECK(sync_interval(30s, 32) == 30s);
    CHECK(sync_interval(30s, 1'000) == 180s);
    CHECK(sync_interval(30s, 10'000) == 300s);
}

TEST_CASE("seeds are tried harder while alone and for ever after") {
    // Alone: soon, then ever more rarely. In company: one, now and then, which heals a split.
    Options options;
    Joiner joiner(options);
    Rng rng(1);
    joiner.set_seeds({{"a", 1}, {"b", 1}, {"c", 1}, {"d", 1}, {"self", 1}});
    joiner.skip({"self", 1});
    joiner.begin(Instant{0}, rng);
    CHECK(joiner.next_deadline() <= Instant{0} + 500ms);
    Instant now = joiner.next_deadline();
    Duration longest{};
    for (int i = 0; i < 12; ++i) {
        const auto places = joiner.turn(now, true, rng);
        CHECK(places.size() == 3);
        for (const Endpoint& place : places) CHECK(place.host != "self");
        longest = joiner.next_deadline() - now;
        now = joiner.next_deadline();
    }
    CHECK(longest >= 30s);
    CHECK(longest <= 38s);
    for (int i = 0; i < 12; ++i) {
        CHECK(joiner.turn(now, false, rng).size() == 1);
        const Duration pause = joiner.next_deadline() - now;
        CHECK(pause >= 30s);
        CHECK(pause <= 60s);
        now = joiner.next_deadline();
    }
}
