// How one loop wakes another, and how often.
#include "uv/bell.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdint>

#include "uv/loop.h"
#include "uv/loop_thread.h"

namespace fastreg::uv {
namespace {

/// How often it was rung since the last time.
std::uint64_t rings(const Bell& bell) {
    std::uint64_t count = 0;
    return ::read(bell.fd(), &count, sizeof count) == sizeof count ? count : 0;
}

TEST_CASE("what one event posts wakes the other loop once, when the event is done") {
    // Each wake-up costs several microseconds on both sides; a read may bring five requests.
    const auto bell = std::make_shared<const Bell>();
    {
        const Turn turn;
        Turn::ring_soon(bell);
        {
            const Turn inner;
            Turn::ring_soon(bell);
        }
        CHECK(rings(*bell) == 0);
    }
    CHECK(rings(*bell) == 1);
    Turn::ring_soon(bell);  // no turn: nobody would ring later
    CHECK(rings(*bell) == 1);
}

TEST_CASE("a long turn can wake the others before its end") {
    const auto bell = std::make_shared<const Bell>();
    const Turn turn;
    Turn::ring_soon(bell);
    Turn::ring_owed();
    CHECK(rings(*bell) == 1);
    Turn::ring_soon(bell);
    Turn::ring_owed();
    CHECK(rings(*bell) == 1);
}

TEST_CASE("a bell that is owed may lose its loop before the turn ends") {
    auto bell = std::make_shared<const Bell>();
    const Turn turn;
    Turn::ring_soon(bell);
    bell.reset();
}

TEST_CASE("a job that waits for another thread wakes it first") {
    // Otherwise the wake-up would be owed until the turn ends, which waits for it.
    Loop loop;
    LoopThread other("other");
    bool ran = false;
    loop.post([&] {
        other.call([&] { ran = true; });
        loop.stop();
    });
    loop.run();
    CHECK(ran);
}

}  // namespace
}  // namespace fastreg::uv
