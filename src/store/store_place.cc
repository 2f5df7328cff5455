// How a file becomes a blob: sync, rename, sync of the directory, rows - in this order.
#include "base/log.h"
#include "base/mutant.h"
#include "store/store_impl.h"

namespace fastreg::store {

/// Bytes that rows may already call synced must be synced before they get the blob's name.
bool Store::Impl::needs_sync(const Digest& digest) const {
    return records.contains(digest) || was_synced_.contains(digest) || settling_.contains(digest);
}

void Store::Impl::place(Placing placing, Answer<BlobInfo> done) {
    const bool durable = placing.pushed || placing.durability == Durability::durable ||
                         needs_sync(placing.digest);
    const auto existing = catalog.find(placing.digest);
    if (existing && existing->verified && existing->size == placing.size &&
        (existing->synced || !durable)) {
        on_disk(
            lane_of(placing.digest),
            [shared = shared, digest = placing.digest] {
                return shared->fs.stat(shared->layout.blob(digest));
            },
            [this, placing, info = *existing, done](const Result<FileInfo>& found) {
                if (found && found->size == info.size) {
                    keep_existing(placing, info, done);
                    return;
                }
                discard(placing.digest, WithdrawReason::missing, found.has_value(),
                        [this, placing, done] { place_anew(placing, true, done); });
            });
        return;
    }
    place_anew(placing, durable, done);
}

void Store::Impl::place_anew(const Placing& placing, bool durable, const Answer<BlobInfo>& done) {
    on_disk(
        lane_of(placing.digest),
        [shared = shared, placing, durable] { return move_in(*shared, placing, durable); },
        [this, placing, durable, done](const Moved& moved) {
            if (moved.status) {
                placed(placing, durable, done);
                return;
            }
            if (moved.target_gone) withdraw(placing.digest, WithdrawReason::sync_failed);
            done(tl::unexpected<Error>(moved.status.error()));
        });
}

Store::Impl::Moved Store::Impl::move_in(Shared& shared, const Placing& placing, bool durable) {
    auto& fs = shared.fs;
    const auto target = shared.layout.blob(placing.digest);
    const auto give_up = [&](const std::string& path, Error error) {
        (void)fs.unlink(path);
        return Moved{tl::unexpected<Error>(std::move(error)), path == target};
    };
    if (durable && !mutant(Mutant::acknowledge_before_fsync)) {
        // What a failed sync did not write is gone, though reads still see it: never try again.
        if (auto status = placing.file->fdatasync(); !status) {
            return give_up(placing.from, std::move(status).error());
        }
    }
    if (auto status = fs.rename(placing.from, target); !status) {
        return give_up(placing.from, std::move(status).error());
    }
    if (durable && !mutant(Mutant::fsync_dir_left_out)) {
        if (auto status = fs.fsync_dir(shared.layout.shelf(placing.digest)); !status) {
            return give_up(target, std::move(status).error());
        }
    }
    return {};
}

/// The file has its name; what is left are the rows.
void Store::Impl::placed(const Placing& placing, bool durable, const Answer<BlobInfo>& done) {
    const auto record = records.find(placing.digest);
    const unsigned flags = record == records.end() ? 0 : record->second.flags & kWanted;
    const unsigned all = flags | (placing.pushed ? kPushed : 0U);
    BlobInfo info;
    info.size = placing.size;
    info.verified = true;
    info.synced = durable;
    info.pushed = (all & kPushed) != 0;
    info.home = (all & kHome) != 0;
    info.pinned = (all & kPinned) != 0;
    info.last_use_ms = wall_ms();
    if (!durable) {
        admit(placing, info);
        sync_later(placing.digest);
        done(info);
        return;
    }
    BlobRecord row{placing.digest, placing.size, wall_ms(), all};
    if (record != records.end() && (record->second.flags & kTombstone) == 0) {
        row.since_ms = record->second.since_ms;
    }
    commit_record(row, [this, placing, info, done](Status status) {
        if (status) {
            admit(placing, info);
            done(info);
            return;
        }
        // Nobody was promised these bytes; without the row nobody may see them either.
        withdraw(placing.digest, WithdrawReason::sync_failed);
        was_synced_.insert(placing.digest);  // the row may have reached the medium all the same
        on_disk(
            lane_of(placing.digest),
            [shared = shared, placing] { return shared->fs.unlink(shared->layout.blob(placing.digest)); },
            [done, error = status.error()](Status) { done(tl::unexpected<Error>(error)); });
    });
}

/// The same bytes are here, and as safe as is asked: only the rows may have to change.
void Store::Impl::keep_existing(const Placing& placing, BlobInfo info, const Answer<BlobInfo>& done) {
    const auto drop = [this, from = placing.from](std::function<void()> then) {
        on_disk(
            std::hash<std::string>()(from),
            [shared = shared, from] { return shared->fs.unlink(from); },
            [then = std::move(then)](Status) { then(); });
    };
    info.last_use_ms = wall_ms();
    const auto record = records.find(placing.digest);
    const bool row_is_right = (!placing.pushed || info.pushed) && !index.meta_uncertain();
    if (row_is_right && (record != records.end() || placing.durability == Durability::deferred)) {
        drop([info, done] { done(info); });
        return;
    }
    info.pushed = info.pushed || placing.pushed;
    BlobRecord row{placing.digest, placing.size, wall_ms(), placing.pushed ? kPushed : 0U};
    if (record != records.end()) {
        row.flags |= record->second.flags & kWanted;
        row.since_ms = record->second.since_ms;
    }
    commit_record(row, [this, drop, placing, info, done](Status status) {
        drop([this, placing, info, status, done] {
            if (!status) {
                done(tl::unexpected<Error>(status.error()));
                return;
            }
            if (auto* kept = catalog.edit(placing.digest)) *kept = info;
            done(info);
        });
    });
}

/// Lets everybody see it.
void Store::Impl::admit(const Placing& placing, const BlobInfo& info) {
    const Digest digest = placing.digest;
    catalog.put(digest, info);
    if (placing.file) shared->open_blobs.note(digest, placing.file);  // who read along reads on
    unverified_.erase(digest);
    unsynced_.erase(digest);
    if (!info.synced) unsynced_.insert(digest);
    index.cache([digest, info, links = placing.links](CacheDb& cache) -> Status {
        FR_TRY(cache.put_blob({digest, info.size, info.synced, info.last_use_ms}));
        if (links && !links->empty()) FR_TRY(cache.put_chain(digest, *links));
        return {};
    });
}

void Store::Impl::commit_record(BlobRecord record, Done done) {
    index.meta([record](MetaDb& meta) { return meta.put_blob(record); },
               [this, record, done = std::move(done)](const Status& status) {
                   if (status) records[record.digest] = record;
                   done(status);
               });
}

void Store::Impl::sync_later(const Digest& digest) {
    to_sync_.push_back(digest);
    sync_next();
}

void Store::Impl::sync_next() {
    if (syncing_ || to_sync_.empty()) return;
    const Digest digest = to_sync_.front();
    to_sync_.pop_front();
    syncing_ = true;
    ++in_flight_;  // waiting at the gate is work under way
    gate_.enter(digest, [this, digest] {
        sync_now(digest, [this, digest](const Status&) {
            gate_.leave(digest);
            syncing_ = false;
            sync_next();
            ended();
        });
    });
}

/// Makes a visible blob survive a loss of power. One that cannot be synced is withdrawn; one that was
/// not hashed yet is left alone, since "synced" in a row means both.
void Store::Impl::sync_now(const Digest& digest, Done done) {
    const auto info = catalog.find(digest);
    if (!info || info->synced || !info->verified) {
        done({});
        return;
    }
    on_disk(
        lane_of(digest),
        [shared = shared, digest]() -> Status {
            FR_TRY_ASSIGN(const auto file,
                          shared->fs.open(shared->layout.blob(digest), OpenMode::write));
            FR_TRY(file->fdatasync());
            return shared->fs.fsync_dir(shared->layout.shelf(digest));
        },
        [this, digest, done = std::move(done)](Status status) {
            if (!status) {
                log::error("store.sync_failed",
                           {{"digest", digest.str()}, {"error", describe(status.error())}});
                withdraw(digest, WithdrawReason::sync_failed);
                on_disk(
                    lane_of(digest),
                    [shared = shared, digest] {
                        return shared->fs.unlink(shared->layout.blob(digest));
                    },
                    [done, status](Status) { done(status); });
                return;
            }
            if (auto* kept = catalog.edit(digest)) kept->synced = true;
            unsynced_.erase(digest);
            index.cache([digest](CacheDb& cache) { return cache.set_synced(digest); });
            const auto record = records.find(digest);
            if (record == records.end() || (record->second.flags & kDoubted) == 0) {
                done({});
                return;
            }
            BlobRecord trusted = record->second;
            trusted.flags &= ~unsigned{kDoubted};
            if (const auto kept = catalog.find(digest)) trusted.size = kept->size;  // hashed, no claim
            commit_record(trusted, [done](const Status&) { done({}); });  // else hashed once more
        });
}

}  // namespace fastreg::store
