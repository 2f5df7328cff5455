// How much room there is: by max-bytes, min-free, and what partial blobs were promised.
#include <algorithm>

#include "store/store_impl.h"

namespace fastreg::store {

Status Store::Impl::room_for(std::uint64_t bytes) const {
    const auto used = totals().used_bytes();
    if (options_.max_bytes == 0 || (used <= options_.max_bytes && bytes <= options_.max_bytes - used)) {
        return {};
    }
    return fail(Errc::no_space, "the store is full: " + human_bytes(used) + " of " +
                                    human_bytes(options_.max_bytes) + " (max-bytes) in use, " +
                                    human_bytes(bytes) + " more asked for");
}

void Store::Impl::ask_room(std::uint64_t bytes, Done done) {
    const auto answer = [this, done = std::move(done)](Status room) {
        if (!room) tell_refused(room.error());
        done(std::move(room));
    };
    if (auto status = room_for(bytes); !status) {
        answer(std::move(status));
        return;
    }
    on_disk(
        0,
        [shared = shared, bytes, min_free = options_.min_free_bytes,
         promised = unwritten_bytes()]() -> Status {
            FR_TRY(shared->free_space.room_for(bytes, min_free, promised));
            return {};
        },
        answer);
}

void Store::Impl::tell_refused(const Error& why) {
    if (why.code != Errc::no_space) return;
    room_refused_ = true;
    if (observer.on_no_space) observer.on_no_space();
}

/// What open and idle partial blobs were promised and have not written.
std::uint64_t Store::Impl::unwritten_bytes() const {
    std::uint64_t sum = 0;
    for (const auto& [digest, slot] : slots) sum += slot.unwritten();
    return sum;
}

/// `used` and `promised` are of the moment of the look: bytes that were written since are not free too.
void Store::Impl::looked(std::uint64_t free, std::uint64_t used, std::uint64_t promised) {
    free_bytes_ = free;
    const std::uint64_t taken = options_.min_free_bytes + promised;
    disk_capacity_ = used + (free > taken ? free - taken : 0);
}

std::uint64_t Store::Impl::capacity() const {
    return options_.max_bytes == 0 ? disk_capacity_ : std::min(options_.max_bytes, disk_capacity_);
}

}  // namespace fastreg::store
