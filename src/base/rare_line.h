// Keeps one kind of log line from filling the log: what somebody else may cause at any rate is said at
// most once in a while, with the count of what was not said. One thread.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "base/instant.h"

namespace fastreg {

class RareLine {
  public:
    static constexpr Duration kPause = 10s;

    /// Nothing: do not write this one. Else how many were not written since the last that was.
    [[nodiscard]] std::optional<std::uint64_t> pass(Instant now) {
        if (said_ && now - *said_ < kPause) {
            ++unsaid_;
            return std::nullopt;
        }
        said_ = now;
        return std::exchange(unsaid_, 0);
    }

  private:
    std::optional<Instant> said_;
    std::uint64_t unsaid_ = 0;
};

}  // namespace fastreg
