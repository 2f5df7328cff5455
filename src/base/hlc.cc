#include "base/hlc.h"

#include <algorithm>
#include <string>

namespace fastreg {

HlcTime Hlc::tick(std::uint64_t wall_ms) {
    last_ = std::max(last_ + 1, wall_ms << 16U);
    return last_;
}

Status Hlc::observe(std::uint64_t wall_ms, HlcTime remote) {
    if (hlc_millis(remote) > wall_ms + kHlcMaxAheadMs) {
        return fail(Errc::out_of_range,
                    "a peer's clock says " + std::to_string(hlc_millis(remote)) +
                        " ms since 1970, this node's says " + std::to_string(wall_ms) +
                        " ms: over 10 s apart; set the wrong one (NTP) and try again");
    }
    last_ = std::max(last_, remote);
    return {};
}

}  // namespace fastreg
