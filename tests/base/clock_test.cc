// Time as the cores see it: instants that saturate and hybrid clocks that only go forward.
#include <doctest/doctest.h>

#include "base/clock.h"
#include "base/hlc.h"
#include "base/instant.h"

using namespace fastreg;

TEST_CASE("never stays never") {
    // An overflow would turn "never" into "long ago", and a timer into a busy loop.
    CHECK(Instant::never() + 1s == Instant::never());
    CHECK(Instant{Instant::never().ns - 5} + 1s == Instant::never());
    CHECK(Instant{5} + 1s == Instant{1'000'000'005});
    CHECK(Instant{1'500'000'000} - Instant{500'000'000} == 1s);
    CHECK(millis_of(1500us) == 1);
    CHECK(seconds_of(1500ms) == doctest::Approx(1.5));
}

TEST_CASE("the machine's clocks go forward") {
    // Milliseconds and nanoseconds are easily confused.
    const Instant a = monotonic_now();
    CHECK(monotonic_now() >= a);
    CHECK(wall_clock_ms() > 1'600'000'000'000ULL);
    CHECK(wall_clock_ms() < 10'000'000'000'000ULL);
}

TEST_CASE("a hybrid clock never repeats and never goes back") {
    // Two writes with one time would make the order of a tag depend on luck.
    Hlc clock;
    HlcTime last = clock.tick(1000);
    CHECK(hlc_millis(last) == 1000);
    for (const std::uint64_t wall : {1000ULL, 1000ULL, 1001ULL, 400ULL, 400ULL, 2000ULL}) {
        const HlcTime next = clock.tick(wall);
        CHECK(next > last);
        last = next;
    }
    CHECK(hlc_millis(last) == 2000);
}

TEST_CASE("a clock that was set back is followed, when it was far ahead") {
    // Else the owners would refuse every write of this node for as long as its clock had been ahead.
    Hlc clock;
    CHECK(hlc_millis(clock.tick(3'600'000)) == 3'600'000);
    CHECK(hlc_millis(clock.tick(1000)) == 1000);
}

TEST_CASE("what follows a remote write is later than it") {
    // A node whose clock is behind must still be able to overwrite what it has seen.
    Hlc clock;
    const HlcTime remote = (5000ULL << 16U) | 7U;
    CHECK(clock.observe(1000, remote));
    CHECK(clock.tick(1000) == remote + 1);
}

TEST_CASE("a clock far ahead is refused, with both clocks in the message") {
    // One wrong clock must not drag the whole mesh into the future.
    Hlc clock;
    CHECK(clock.observe(1000, (1000 + kHlcMaxAheadMs) << 16U));
    const auto refused = clock.observe(1000, (1001 + kHlcMaxAheadMs) << 16U);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == Errc::out_of_range);
    CHECK(refused.error().what.find("11001 ms") != std::string::npos);
    CHECK(refused.error().what.find("1000 ms") != std::string::npos);
    CHECK(hlc_millis(clock.tick(1000)) == 11000);
    CHECK_FALSE(clock.observe(1000, UINT64_MAX));
}

TEST_CASE("a full counter carries into the milliseconds") {
    // 65,536 writes within a millisecond are unusual, not impossible.
    Hlc clock;
    CHECK(clock.observe(1000, (1000ULL << 16U) | 0xffffU));
    CHECK(clock.tick(1000) == 1001ULL << 16U);
}
