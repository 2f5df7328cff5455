#include "base/hlc.h"

#include <algorithm>
#include <string>

namespace fastreg {

HlcTime Hlc::tick(std::uint64_t wall_ms) {
    // A wall clock that was ahead and is right again must not stamp ahead for as long as it was.
    if (hlc_millis(last_) > wall_ms + kHlcMaxAheadMs) last_ = 0;
    last_ = std::max(last_ + 1, wall_ms << 16U);
    return last_;
}

Status Hlc::observe(std::uint64_t wall_ms, HlcTime remote) {
    if (hlc_millis(remote) > wall_ms + kHlcMaxAheadMs) {
        return fail(Errc::out_of_range,
                    "the stamp is " + std::to_string((hlc_millis(remote) - wall_ms) / 1000) +
                        " s ahead of its clock: " + std::to_string(hlc_millis(remote)) + " ms against " +
                        std::to_string(wall_ms) +
                        " ms since 1970; set the wrong clock right (NTP) and try again");
    }
    last_ = std::max(last_, remote);
    return {};
}

}  // namespace fastreg
