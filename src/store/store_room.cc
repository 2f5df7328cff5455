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
                                    human_bytes(bytes) + " more asked for; homes of pushed blobs, what is pinned " +
                                    "and what is being read does not make room");
}

/// Calls `then` with the room there is for `bytes`, after what may go has gone.
void Store::Impl::with_room(std::uint64_t bytes, std::function<void()> then) {
    if (fits(bytes) || closing_ != Closing::no) return then();
    make_room(bytes, std::move(then));
}

void Store::Impl::ask_room(std::uint64_t bytes, Done done) {
    const auto answer = [this, done = std::move(done)](Status room) {
        if (!room) tell_refused(room.error());
        done(std::move(room));
    };
    with_room(bytes, [this, bytes, answer] {
        look_for_room(bytes, [this, bytes, answer](Status room) {
            if (room || room.error().code != Errc::no_space) return answer(std::move(room));
            // Others have filled the file system since the last look at it.
            make_room(bytes, [this, bytes, answer] { look_for_room(bytes, answer); });
        });
    });
}

/// By max-bytes, and by what the file system has now.
void Store::Impl::look_for_room(std::uint64_t bytes, Done done) {
    if (auto status = room_for(bytes); !status) return done(std::move(status));
    on_disk(
        0,
        [shared = shared, bytes, min_free = options_.min_free_bytes, promised = unwritten_bytes()]() -> Status {
            FR_TRY(shared->free_space.room_for(bytes, min_free, promised));
            return {};
        },
        std::move(done));
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
    disk_deficit_ = taken > free ? taken - free : 0;
}

std::uint64_t Store::Impl::capacity() const {
    return options_.max_bytes == 0 ? disk_capacity_ : std::min(options_.max_bytes, disk_capacity_);
}

}  // namespace fastreg::store
