// What happens by the clock, and the orderly end.
#include <algorithm>
#include <utility>

#include "base/log.h"
#include "store/store_impl.h"
#include "store/upload_ops.h"

namespace fastreg::store {
namespace {

constexpr Duration kPersistEvery = 250ms;
constexpr Duration kTouchEvery = 60s;
constexpr Duration kLookEvery = 5s;
/// Removed digests remembered before cache.db is synced to forget them.
constexpr std::size_t kRemovedMax = 4096;

}  // namespace

void Store::Impl::tick(Instant now) {
    if (closing_ != Closing::no) return;
    if (now >= persist_at_) {
        persist_at_ = now + kPersistEvery;
        persist_partials();
    }
    if (now >= touch_at_) {
        touch_at_ = now + kTouchEvery;
        persist_touches();
    }
    if (now >= look_at_) {
        look_at_ = now + kLookEvery;
        on_disk(
            0, [shared = shared] { return shared->fs.free_space(shared->layout.dir()); },
            [this, used = totals().used_bytes(),
             promised = unwritten_bytes()](const Result<std::uint64_t>& free) {
                if (!free) return;
                looked(*free, used, promised);
                keep_below_high_watermark();
            });
    }
    if (options_.backup_every > Duration{0}) {
        if (backup_at_ == Instant{0}) backup_at_ = now + options_.backup_every;
        if (now >= backup_at_) {
            backup_at_ = now + options_.backup_every;
            back_up_if_changed();
        }
    }
    drop_idle_partials(now);
    verify_next();
    settle();
    next_deadline = std::min({persist_at_, touch_at_, look_at_});
    if (backup_at_ != Instant{0}) next_deadline = std::min(next_deadline, backup_at_);
}

void Store::Impl::persist_touches() {
    if (touched_.empty()) return;
    index.cache([touched = std::exchange(touched_, {})](CacheDb& cache) -> Status {
        for (const auto& [digest, at] : touched) FR_TRY(cache.set_last_use(digest, at));
        return {};
    });
}

/// One at a time: files that nobody vouches for become useful without being asked for.
void Store::Impl::verify_next() {
    if (verifying_ || unverified_.empty() || closing_ != Closing::no) return;
    verifying_ = true;
    const Digest digest = *unverified_.begin();
    verify(digest, [this, digest](const Result<VerifyReport>& report) {
        verifying_ = false;
        if (!report) unverified_.erase(digest);  // cannot be read now: not again and again
    });
}

/// Writes the rows of withdrawn and removed digests anew and makes them durable, so that those digests
/// need no care any more. Anew, since a removal of a row may have failed.
void Store::Impl::settle() {
    if (was_synced_.size() < kRemovedMax || !settling_.empty() || !index.idle()) return;
    settling_.swap(was_synced_);
    std::vector<std::pair<Digest, std::optional<BlobInfo>>> truth;
    for (const auto& digest : settling_) truth.emplace_back(digest, catalog.find(digest));
    on_index([shared = shared, truth = std::move(truth)]() -> Status {
                 const auto written = shared->cache->transaction([&](CacheDb& cache) -> Status {
                     for (const auto& [digest, info] : truth) {
                         if (!info) {
                             FR_TRY(cache.erase_blob(digest));
                         } else {
                             FR_TRY(cache.put_blob({digest, info->size, info->verified && info->synced,
                                                    info->last_use_ms}));
                         }
                     }
                     return {};
                 });
                 FR_TRY(written);
                 return shared->cache->checkpoint();
             },
             [this](const Status& status) {
                 if (!status) was_synced_.merge(settling_);
                 settling_.clear();
             });
}

Totals Store::Impl::totals() const {
    Totals totals;
    totals.blobs = catalog.count();
    totals.blob_bytes = catalog.bytes();
    totals.partials = slots.size();
    totals.partial_bytes = partial_bytes_;
    totals.uploads = uploads_;
    totals.upload_bytes = upload_bytes_;
    totals.unsynced = unsynced_.size();
    totals.unverified = unverified_.size();
    totals.free_bytes = free_bytes_;
    totals.withdrawn = withdrawn_;
    return totals;
}

void Store::Impl::close(Done done) {
    closed_ = std::move(done);
    closing_ = Closing::quiet;
    maybe_close();
}

/// Goes on with closing each time nothing is under way.
void Store::Impl::maybe_close() {
    if (closing_ == Closing::no || closing_ == Closing::done) return;
    if (in_flight_ > 0 || !index.idle()) return;
    switch (closing_) {
        case Closing::quiet:
            closing_ = Closing::partials;
            close_partials();
            return;
        case Closing::partials:
            closing_ = Closing::databases;
            close_databases();
            return;
        default: return;
    }
}

/// Syncs what partial blobs hold, so that their maps can be trusted at the next start.
void Store::Impl::close_partials() {
    std::vector<std::pair<Digest, std::shared_ptr<File>>> files;
    for (auto& [digest, slot] : slots) {
        if (!slot.open) continue;
        slot.dirty = true;
        files.emplace_back(digest, slot.open->file());
    }
    std::vector<std::string> uploads;
    for (const auto& [path, upload] : open_uploads_) {
        UploadOps::close(*upload);
        uploads.push_back(path);
    }
    on_disk(
        0,
        [shared = shared, files = std::move(files), uploads = std::move(uploads)] {
            std::vector<Digest> lost;
            for (const auto& [digest, file] : files) {
                if (!file->fdatasync()) lost.push_back(digest);
            }
            for (const auto& path : uploads) (void)shared->fs.unlink(path);
            if (!shared->fs.fsync_dir(shared->layout.partials())) {
                lost.clear();
                for (const auto& [digest, file] : files) lost.push_back(digest);
            }
            return lost;
        },
        [this](const std::vector<Digest>& lost) {
            persist_touches();
            persist_partials();
            for (const auto& digest : lost) forget_slot(digest);
            // index.cache() leads on to maybe_close(); without a write, ended() does.
        });
}

void Store::Impl::close_databases() {
    on_index(
        [shared = shared, careful = index.cache_missed()]() -> Status {
            auto& fs = shared->fs;
            const auto& layout = shared->layout;
            FR_TRY(write_backup(*shared));
            FR_TRY(shared->meta->checkpoint());
            FR_TRY(shared->cache->checkpoint());
            shared->meta.reset();
            shared->cache.reset();
            if (careful) return {};  // the next start must not take cache.db at its word
            FR_TRY(fs.unlink(layout.running()));
            return fs.fsync_dir(layout.dir());
        },
        [this](Status status) {
            shared->lock.reset();
            closing_ = Closing::done;
            if (status) {
                log::info("store.closed", {{"dir", shared->layout.dir()}});
            } else {
                log::error("store.close_failed", {{"error", describe(status.error())}});
            }
            closed_(std::move(status));
        });
}

/// The old backup stays until the new one is whole and durable.
Status Store::Impl::write_backup(Shared& shared) {
    auto& fs = shared.fs;
    const auto& layout = shared.layout;
    const std::string fresh = layout.meta_backup() + ".new";
    FR_TRY(unless_missing(fs.unlink(fresh)));
    FR_TRY(shared.meta->copy_to(fresh, shared.vfs.name()));
    FR_TRY_ASSIGN(const auto file, fs.open(fresh, OpenMode::write));
    FR_TRY(file->fdatasync());
    FR_TRY(fs.rename(fresh, layout.meta_backup()));
    return fs.fsync_dir(layout.dir());
}

void Store::Impl::back_up(Done done) {
    on_index([shared = shared] { return write_backup(*shared); },
             [this, commits = index.meta_commits(), done = std::move(done)](Status status) {
                 if (status) backed_up_ = commits;
                 done(std::move(status));
             });
}

/// An idle node writes nothing.
void Store::Impl::back_up_if_changed() {
    if (backing_up_ || backed_up_ == index.meta_commits()) return;
    backing_up_ = true;
    back_up([this](const Status& status) {
        backing_up_ = false;
        if (!status) {
            log::warn("store.backup_failed", {{"path", shared->layout.meta_backup()},
                                              {"error", describe(status.error())}});
        }
    });
}

}  // namespace fastreg::store
