// Which blobs make room for others: cached copies that nobody uses, those that were used longest ago first. Homes,
// pushes and what is pinned stay whatever happens. Runs when something finds no room, and by the clock when the
// store is fuller than its high watermark; then down to the low one, so that it does not run for each blob.
#include <algorithm>
#include <iterator>
#include <utility>

#include "base/log.h"
#include "store/store_impl.h"

namespace fastreg::store {
namespace {

bool is_cache(const BlobInfo& info) { return !info.home && !info.pinned && !info.pushed; }

}  // namespace

std::uint64_t Store::Impl::share_of_room(unsigned percent) const {
    const std::uint64_t whole = allowed();
    return whole / 100 * percent + whole % 100 * percent / 100;
}

/// By what this store knows without asking the disk; others may have filled that meanwhile.
bool Store::Impl::fits(std::uint64_t bytes) const {
    const std::uint64_t used = totals().used_bytes();
    return used <= allowed() && bytes <= allowed() - used;
}

void Store::Impl::make_room(std::uint64_t bytes, std::function<void()> then) {
    room_arrivals_.push_back({bytes, std::move(then)});
    begin_evicting();
}

void Store::Impl::begin_evicting() {
    if (!std::exchange(evicting_, true)) look_and_evict();
}

/// Files may have gone, or come, since the last look.
void Store::Impl::look_and_evict() {
    std::ranges::move(std::exchange(room_arrivals_, {}), std::back_inserter(room_waiters_));
    on_disk(
        0, [shared = shared] { return shared->fs.free_space(shared->layout.dir()); },
        [this, used = totals().used_bytes(), promised = unwritten_bytes()](const Result<std::uint64_t>& free) {
            if (free) looked(*free, used, promised);
            evict_next(oldest_first());
        });
}

Store::Impl::Candidates Store::Impl::oldest_first() const {
    std::vector<std::pair<std::uint64_t, Digest>> cached;
    Candidates candidates;
    for (const auto& entry : catalog.list()) {
        if (!is_cache(entry.info)) continue;
        cached.emplace_back(entry.info.last_use_ms, entry.digest);
        candidates.bytes += entry.info.size;
    }
    std::ranges::sort(cached);
    for (const auto& [at, digest] : cached) candidates.digests.push_back(digest);
    return candidates;
}

/// Those go on that fit by now, and those that will not fit whatever goes: they are refused, and cost no copy.
void Store::Impl::let_waiters_go_on(std::uint64_t may_go) {
    const auto through = [&](const RoomWaiter& waiter) {
        const std::uint64_t stays = totals().used_bytes() - std::min(totals().used_bytes(), may_go);
        return fits(waiter.bytes) || stays > allowed() || waiter.bytes > allowed() - stays;
    };
    // One at a time: each may take the room of the next, or ask for more.
    for (auto at = std::ranges::find_if(room_waiters_, through); at != room_waiters_.end();
         at = std::ranges::find_if(room_waiters_, through)) {
        const auto then = std::move(at->then);
        room_waiters_.erase(at);
        then();
    }
}

void Store::Impl::evict_next(Candidates candidates) {
    let_waiters_go_on(candidates.bytes);
    if (!room_arrivals_.empty()) return look_and_evict();
    std::uint64_t wanted = 0;
    for (const auto& waiter : room_waiters_) wanted += std::min(waiter.bytes, allowed());
    // Once copies go they go down to the low watermark, so that the next who comes finds room.
    const bool must = going_ || wanted > 0 || totals().used_bytes() > share_of_room(options_.high_watermark);
    const std::uint64_t low = share_of_room(must ? options_.low_watermark : options_.high_watermark);
    const std::uint64_t goal = std::min(low, allowed() - std::min(allowed(), wanted));
    while (totals().used_bytes() > goal && closing_ == Closing::no && !candidates.digests.empty()) {
        const Digest digest = candidates.digests.front();
        candidates.digests.pop_front();
        const auto info = catalog.find(digest);
        candidates.bytes -= std::min(candidates.bytes, info ? info->size : 0);
        if (gate_.busy(digest) || !may_go(digest)) continue;  // being hashed takes long
        going_ = true;
        gate_.enter(digest, [this, digest, rest = std::move(candidates)]() mutable {
            evict(digest, [this, digest, rest = std::move(rest)]() mutable {
                gate_.leave(digest);
                evict_next(std::move(rest));
            });
        });
        return;
    }
    evicting_ = going_ = false;
    for (const auto& waiter : std::exchange(room_waiters_, {})) waiter.then();
}

bool Store::Impl::may_go(const Digest& digest) const {
    const auto info = catalog.find(digest);
    if (!info || !is_cache(*info)) return false;
    if (observer.may_evict && !observer.may_evict(digest)) return false;
    return !shared->open_blobs.in_use(digest);
}

/// Inside the gate. Without a row in meta.db a file that outlives a stop here is just found again.
void Store::Impl::evict(const Digest& digest, std::function<void()> done) {
    const auto info = catalog.find(digest);
    if (!may_go(digest)) return done();
    const auto go = [this, digest, info = *info, done = std::move(done)](const Status& begun) {
        if (!begun) return done();
        forget_blob(digest);
        const auto tell = [this, digest, info, done](const Status& removed) {
            if (removed) {
                erase_record(digest, kTombstone);
            } else {
                log::error("store.not_evicted", {{"path", shared->layout.blob(digest)},
                                                 {"error", describe(removed.error())}});
            }
            log::info("store.evicted", {{"digest", digest.brief()}, {"bytes", info.size}});
            if (observer.on_withdrawn) observer.on_withdrawn(digest, info, WithdrawReason::evicted);
            done();
        };
        unlink_blob(digest, tell);
    };
    if (!records.contains(digest)) return go({});
    commit_record({digest, info->size, wall_ms(), kTombstone}, go);  // as a removal: the row vouches for the file
}

void Store::Impl::keep_below_high_watermark() {
    if (totals().used_bytes() > share_of_room(options_.high_watermark)) begin_evicting();
}

}  // namespace fastreg::store
