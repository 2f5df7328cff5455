// The two clocks of the machine. Drivers read them; cores are told.
#pragma once

#include "base/instant.h"

namespace fastreg {

/// CLOCK_MONOTONIC.
[[nodiscard]] Instant monotonic_now();
/// Milliseconds since 1970, for the hybrid logical clock and for log lines; never for a timer.
[[nodiscard]] std::uint64_t wall_clock_ms();

}  // namespace fastreg
