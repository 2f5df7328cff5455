#include "store/free_space.h"

#include <algorithm>

namespace fastreg::store {

Status FreeSpace::take(std::uint64_t bytes, std::uint64_t min_free) {
    if (min_free == 0) return {};
    const std::lock_guard lock(mutex_);
    if (allowed_ < bytes) {
        allowed_ = 0;
        FR_TRY_ASSIGN(const auto free, fs_.free_space(dir_));
        const std::uint64_t room = free > min_free ? free - min_free : 0;
        if (room < bytes) {
            return fail(Errc::no_space, "no room for " + human_bytes(bytes) + " more: the file system has " +
                                            human_bytes(free) + " free, and min-free keeps " +
                                            human_bytes(min_free));
        }
        allowed_ = std::min(room, std::max(bytes, kLookBytes));
    }
    allowed_ -= bytes;
    return {};
}

}  // namespace fastreg::store
