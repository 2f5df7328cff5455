#include "base/clock.h"

#include <ctime>

namespace fastreg {

namespace {
std::int64_t read_ns(clockid_t clock) {
    timespec ts{};
    clock_gettime(clock, &ts);
    return static_cast<std::int64_t>(ts.tv_sec) * 1'000'000'000 + ts.tv_nsec;
}
}  // namespace

Instant monotonic_now() {
    return {read_ns(CLOCK_MONOTONIC)};
}

std::uint64_t wall_clock_ms() {
    return static_cast<std::uint64_t>(read_ns(CLOCK_REALTIME) / 1'000'000);
}

}  // namespace fastreg
