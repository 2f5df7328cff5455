// Hybrid logical clock (Kulkarni et al. 2014): 48 bits of milliseconds, 16 bits of counter. Orders the
// rows of repositories; the wall clock is used for nothing else. A value inside one core.
#pragma once

#include <cstdint>

#include "base/result.h"

namespace fastreg {

using HlcTime = std::uint64_t;

/// A remote value further ahead than this is refused.
inline constexpr std::uint64_t kHlcMaxAheadMs = 10'000;

[[nodiscard]] constexpr std::uint64_t hlc_millis(HlcTime t) { return t >> 16U; }

class Hlc {
  public:
    /// A value larger than every one given or seen before, unless those are over kHlcMaxAheadMs ahead of
    /// `wall_ms`, the clock of this node: then that was set back, and the stamps follow it.
    [[nodiscard]] HlcTime tick(std::uint64_t wall_ms);
    /// Takes note of a remote value; an error when it is over kHlcMaxAheadMs ahead, both clocks named.
    [[nodiscard]] Status observe(std::uint64_t wall_ms, HlcTime remote);

  private:
    HlcTime last_ = 0;
};

}  // namespace fastreg
