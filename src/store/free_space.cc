#include "store/free_space.h"

#include <algorithm>

namespace fastreg::store {

Result<std::uint64_t> FreeSpace::room_for(std::uint64_t bytes,
                                          std::uint64_t min_free,
                                          std::uint64_t promised) const {
    FR_TRY_ASSIGN(const auto free, fs_.free_space(dir_));
    const std::uint64_t taken = min_free + promised;
    const std::uint64_t room = free > taken ? free - taken : 0;
    if (room >= bytes) return room;
    std::string why = "no room for " + human_bytes(bytes) + " more: the file system has " +
                      human_bytes(free) + " free";
    if (promised > 0) why += ", blobs half here need " + human_bytes(promised) + " of it";
    return fail(Errc::no_space, why + ", and min-free keeps " + human_bytes(min_free));
}

Status FreeSpace::take(std::uint64_t bytes, std::uint64_t min_free) {
    const std::lock_guard lock(mutex_);
    if (allowed_ < bytes) {
        allowed_ = 0;
        FR_TRY_ASSIGN(const auto room, room_for(bytes, min_free));
        allowed_ = std::min(room, std::max(bytes, kLookBytes));
    }
    allowed_ -= bytes;
    return {};
}

}  // namespace fastreg::store
