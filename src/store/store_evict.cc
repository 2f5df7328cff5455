// Which blobs make room for others: cached copies that nobody uses, those that were used longest ago first. Homes,
// pushes and what is pinned stay whatever happens. Runs when something finds no room, and by the clock when the
// store is fuller than its high watermark; then down to the low one, so that it does not run for each blob.
#include <algorithm>
#include <utility>

#include "base/log.h"
#include "store/store_impl.h"

namespace fastreg::store {
namespace {

bool is_cache(const BlobInfo& info) { return !info.home && !info.pinned && !info.pushed; }

}  // namespace

std::uint64_t Store::Impl::share_of_capacity(unsigned percent) const {
    const std::uint64_t whole = capacity();
    return whole / 100 * percent + whole % 100 * percent / 100;
}

/// By what this store knows without asking the disk; others may have filled that meanwhile.
bool Store::Impl::fits(std::uint64_t bytes) const {
    const std::uint64_t used = totals().used_bytes();
    return used <= capacity() && bytes <= capacity() - used;
}

void Store::Impl::make_room(std::uint64_t bytes, std::function<void()> then) {
    room_waiters_.push_back({bytes, std::move(then)});
    if (room_waiters_.size() > 1) return;  // the first leads the others on
    // What is free now: files may have gone, or come, since the last look.
    on_disk(
        0, [shared = shared] { return shared->fs.free_space(shared->layout.dir()); },
        [this, used = totals().used_bytes(), promised = unwritten_bytes()](const Result<std::uint64_t>& free) {
            if (free) looked(*free, used, promised);
            evict_next(oldest_first());
        });
}

std::deque<Digest> Store::Impl::oldest_first() const {
    std::vector<std::pair<std::uint64_t, Digest>> cached;
    for (const auto& entry : catalog.list()) {
        if (is_cache(entry.info)) cached.emplace_back(entry.info.last_use_ms, entry.digest);
    }
    std::ranges::sort(cached);
    std::deque<Digest> digests;
    for (const auto& [at, digest] : cached) digests.push_back(digest);
    return digests;
}

void Store::Impl::evict_next(std::deque<Digest> candidates) {
    std::uint64_t wanted = 0;
    for (const auto& waiter : room_waiters_) wanted = std::max(wanted, waiter.bytes);
    const std::uint64_t low = share_of_capacity(options_.low_watermark);
    const std::uint64_t goal = std::min(low, capacity() - std::min(capacity(), wanted));
    const bool enough = totals().used_bytes() <= goal;
    while (!enough && closing_ == Closing::no && !candidates.empty()) {
        const Digest digest = candidates.front();
        candidates.pop_front();
        if (!may_go(digest)) continue;
        gate_.enter(digest, [this, digest, rest = std::move(candidates)]() mutable {
            evict(digest, [this, digest, rest = std::move(rest)]() mutable {
                gate_.leave(digest);
                evict_next(std::move(rest));
            });
        });
        return;
    }
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
    if (!room_waiters_.empty() || totals().used_bytes() <= share_of_capacity(options_.high_watermark)) return;
    make_room(0, [] {});
}

}  // namespace fastreg::store
