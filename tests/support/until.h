// Runs a loop until something holds.
#pragma once

#include <functional>

#include "uv/loop.h"
#include "uv/timer.h"

namespace fastreg::test {

/// False when `limit` passed first; it is long, since the machine may be busy with a build.
inline bool until(uv::Loop& loop, const std::function<bool()>& holds, Duration limit = 30s) {
    uv::Timer tick(loop, [] {});
    const Instant end = loop.now() + limit;
    while (!holds()) {
        if (loop.now() > end) return false;
        tick.set(2ms);
        loop.run_once(true);
    }
    return true;
}

}  // namespace fastreg::test
