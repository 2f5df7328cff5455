// Time as the cores are told it: a monotonic instant and a span, both in nanoseconds.
// Pure; the clock itself is read in base/clock.h by drivers only.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <limits>

namespace fastreg {

using Duration = std::chrono::nanoseconds;
using namespace std::chrono_literals;

/// A point of a monotonic clock with an arbitrary origin. Never the time of day.
struct Instant {
    std::int64_t ns = 0;

    auto operator<=>(const Instant&) const = default;
    [[nodiscard]] static constexpr Instant never() {
        return {std::numeric_limits<std::int64_t>::max()};
    }
    /// Saturates at never().
    friend constexpr Instant operator+(Instant at, Duration span) {
        if (at == never() || span.count() > never().ns - at.ns) return never();
        return {at.ns + span.count()};
    }
    friend constexpr Instant operator-(Instant at, Duration span) { return {at.ns - span.count()}; }
    friend constexpr Duration operator-(Instant a, Instant b) { return Duration{a.ns - b.ns}; }
};

[[nodiscard]] constexpr double seconds_of(Duration span) {
    return static_cast<double>(span.count()) / 1e9;
}
[[nodiscard]] constexpr std::int64_t millis_of(Duration span) { return span.count() / 1'000'000; }

}  // namespace fastreg
