// How a file stops being a blob: because it is bad, or because it is not wanted any more. What was told
// holds after any stop: each way is durable before its answer.
#include <utility>

#include "base/log.h"
#include "store/store_impl.h"

namespace fastreg::store {

/// Nobody finds it from here on, until it is placed anew; what the rows say of it is the caller's. The
/// row in meta.db keeps what the blob is wanted for: a home wants its bytes back.
void Store::Impl::withdraw(const Digest& digest, WithdrawReason reason) {
    const auto info = catalog.find(digest);
    if (!info) return;
    forget_blob(digest);
    ++withdrawn_;
    log::warn("store.withdrawn", {{"digest", digest.str()},
                                  {"reason", name_of(reason)},
                                  {"home", info->home}});
    if (observer.on_withdrawn) observer.on_withdrawn(digest, *info, reason);
}

void Store::Impl::forget_blob(const Digest& digest) {
    catalog.remove(digest);
    unsynced_.erase(digest);
    unverified_.erase(digest);
    touched_.erase(digest);
    was_synced_.insert(digest);
    index.cache([digest](CacheDb& cache) { return cache.erase_blob(digest); });
}

/// Withdraws a blob whose file may be bad although rows vouch for it. First a row that takes their word
/// back, then the durable end of the file: either alone is enough, so that one failure does no harm.
/// An unreadable file stays, to be hashed at the next start: it may be the only copy.
void Store::Impl::discard(const Digest& digest,
                          WithdrawReason reason,
                          bool unlink,
                          std::function<void()> done) {
    const auto info = catalog.find(digest);
    BlobRecord record{digest, info ? info->size : 0, wall_ms(), 0};
    if (const auto known = records.find(digest); known != records.end()) record = known->second;
    record.flags |= kDoubted;
    withdraw(digest, reason);
    commit_record(record, [this, digest, unlink, done = std::move(done)](const Status& status) {
        if (!status) {
            log::error("store.doubt_not_kept",
                       {{"digest", digest.str()}, {"error", describe(status.error())}});
        }
        if (!unlink) {
            done();
            return;
        }
        unlink_blob(digest, [this, digest, done](const Status& removed) {
            if (removed) {
                erase_record(digest, kDoubted);
            } else {
                log::error("store.bad_file_stays", {{"path", shared->layout.blob(digest)},
                                                    {"error", describe(removed.error())}});
            }
            done();
        });
    });
}

void Store::Impl::check_file(const Digest& digest, std::function<void(bool)> answer) {
    gate_.enter(digest, [this, digest, answer = std::move(answer)] {
        const auto done = [this, digest, answer] {
            answer(catalog.find(digest).has_value());
            gate_.leave(digest);
        };
        if (!catalog.find(digest)) {
            done();
            return;
        }
        on_disk(
            lane_of(digest),
            [shared = shared, digest] { return shared->fs.stat(shared->layout.blob(digest)); },
            [this, digest, done](const Result<FileInfo>& file) {
                const bool gone = !file && file.error().code == Errc::not_found;
                if (gone || (file && file->size != catalog.find(digest)->size)) {
                    discard(digest, gone ? WithdrawReason::missing : WithdrawReason::bad_bytes, !gone, done);
                } else {
                    done();
                }
            });
    });
}

/// Durable; fine when it is not there.
void Store::Impl::unlink_blob(const Digest& digest, Done done) {
    on_disk(
        lane_of(digest),
        [shared = shared, digest]() -> Status {
            FR_TRY(unless_missing(shared->fs.unlink(shared->layout.blob(digest))));
            return shared->fs.fsync_dir(shared->layout.shelf(digest));
        },
        [done = std::move(done)](Status status) { done(std::move(status)); });
}

/// Erases a row that has nothing but these flags. Not waited for: without a file it is harmless.
void Store::Impl::erase_record(const Digest& digest, unsigned flags) {
    const auto has_no_other = [this, digest, flags] {
        const auto record = records.find(digest);
        return record != records.end() && record->second.flags == flags;
    };
    if (!has_no_other()) return;
    index.meta([digest](MetaDb& meta) { return meta.erase_blob(digest); },
               [this, digest, has_no_other](const Status& erased) {
                   if (erased && has_no_other()) records.erase(digest);
               });
}

void Store::Impl::remove(const Digest& digest, Done answer) {
    gate_.enter(digest, [this, digest, answer = std::move(answer)] {
        const auto done = [this, digest, answer](const Status& status) {
            answer(status);
            gate_.leave(digest);
        };
        const auto info = catalog.find(digest);
        const auto record = records.find(digest);
        if (!info && record == records.end()) {
            done({});
            return;
        }
        const std::uint64_t size = info ? info->size : record->second.size;
        commit_record({digest, size, wall_ms(), kTombstone}, [this, digest, done](const Status& status) {
            if (!status) {
                done(status);
                return;
            }
            forget_blob(digest);
            unlink_blob(digest, [this, digest, done](const Status& removed) {
                if (removed) erase_record(digest, kTombstone);  // else the next start tries again
                done(removed);
            });
        });
    });
}

}  // namespace fastreg::store
