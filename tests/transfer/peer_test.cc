// How long a chunk from a peer may take, and which peer is asked first.
#include "transfer/peer.h"

#include <doctest/doctest.h>

#include "transfer/pacing.h"
#include "transfer/transfer.h"

using namespace fastreg;
using namespace fastreg::transfer;

TEST_CASE("a busy or slow peer costs more than an idle fast one") {
    // The cost is the whole of the peer choice; wrong, and all requests pile up at one node.
    Peer fast{NodeId{}};
    Peer slow{NodeId{}};
    fast.on_chunk_arrived(8ms);
    slow.on_chunk_arrived(80ms);
    CHECK(fast.cost(10ms) == doctest::Approx(1));
    CHECK(slow.cost(10ms) == doctest::Approx(8));
    fast.on_request(Instant{});
    CHECK(fast.cost(10ms) == doctest::Approx(2));
}

TEST_CASE("a silent peer is tried with one request at a time until a byte comes") {
    // A stopped process must cost one request now and then, not the pipeline.
    Peer peer{NodeId{}};
    CHECK(peer.silent_since() == Instant::never());
    const Instant start{1'000'000};
    peer.on_request(start);
    peer.on_request(start + 1ms);
    CHECK(peer.silent_since() == start);
    peer.put_on_probation(start + 400ms, 1s);
    CHECK_FALSE(peer.usable(start + 500ms));
    peer.on_request_ended();
    peer.on_request_ended();
    CHECK_FALSE(peer.usable(start + 500ms));
    CHECK(peer.usable(start + 1400ms));
    peer.on_request(start + 1400ms);
    CHECK_FALSE(peer.usable(start + 1500ms));
    peer.on_byte(start + 1600ms);
    CHECK(peer.usable(start + 1600ms));
}

TEST_CASE("quarantine doubles to its limit and an absolved peer is asked at once") {
    // A liar must not come back every half minute for ever; a slandered node must come back now.
    Options options;
    Peer peer{NodeId{}};
    Instant now{1};
    peer.quarantine(now, options);
    CHECK(peer.quarantined(now + 29s));
    CHECK_FALSE(peer.quarantined(now + 30s));
    for (int i = 0; i < 8; ++i) peer.quarantine(now, options);
    CHECK(peer.quarantined(now + 599s));
    CHECK_FALSE(peer.quarantined(now + 600s));
    peer.absolve();
    CHECK(peer.usable(now));
}

TEST_CASE("p90 is near the slowest of the last sixteen chunks") {
    // Hedges start from it: too low and they double the traffic.
    Peer peer{NodeId{}};
    CHECK(peer.p90() == Duration{});
    peer.on_chunk_arrived(5ms);
    CHECK(peer.p90() == 5ms);
    for (int i = 1; i <= 20; ++i) peer.on_chunk_arrived(i * 1ms);
    CHECK(peer.p90() >= 18ms);
    CHECK(peer.p90() <= 20ms);
}

TEST_CASE("tau follows the samples but no outlier, and O grows with the round trip") {
    // One chunk that took a minute must not switch staleness off for the next hundred.
    Options options;
    Pacing pacing;
    CHECK_FALSE(pacing.measured());
    CHECK(pacing.outstanding(options, 1ms) == 4);
    pacing.on_sample(10ms);
    CHECK(pacing.tau() == 10ms);
    pacing.on_sample(60s);
    CHECK(pacing.tau() < 13ms);
    Pacing steady;
    steady.on_sample(10ms);
    CHECK(steady.outstanding(options, 100us) == 4);
    CHECK(steady.outstanding(options, 10ms) == 7);
    CHECK(steady.outstanding(options, 10s) == options.outstanding_max);
}
