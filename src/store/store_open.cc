// Store::open: from a directory to a store that can answer. Runs once, on the thread that calls it.
#include <algorithm>
#include <array>

#include "base/clock.h"
#include "base/log.h"
#include "store/store_impl.h"

namespace fastreg::store {
namespace {

constexpr std::array kAlgorithms = {HashAlg::sha256, HashAlg::sha512};
constexpr std::array<std::string_view, 3> kTemporaries = {"upload-", "aside-", "small-"};

/// Epochs given out since a backup was made are unknown; this many starts are assumed.
constexpr BootEpoch kEpochsPerBackup = 1000;

/// A database in this state is put aside; any other failure is for the operator.
bool is_damage(const Error& error) {
    return error.code == Errc::corrupt || error.code == Errc::internal ||
           error.code == Errc::too_large;
}

}  // namespace

Store::Impl::Impl(Executor& executor, Options options, std::shared_ptr<Shared> shared_part)
    : shared(std::move(shared_part)),
      index(executor, shared, [this] { maybe_close(); }),
      executor_(executor),
      options_(std::move(options)) {
    if (!options_.random) options_.random = secret_random;
    if (!options_.wall_ms) options_.wall_ms = wall_clock_ms;
}

Status Store::Impl::start() {
    index.set_owner(weak_from_this());
    FR_TRY(check_versions());
    FR_TRY(take_lock());
    FR_TRY(mark_running());
    FR_TRY(make_layout());
    FR_TRY(open_meta());
    FR_TRY(write_identity());
    std::vector<CachedBlob> blobs;
    std::vector<CachedPartial> partials;
    FR_TRY(open_cache(blobs, partials));
    FR_TRY(finish_removals());
    FR_TRY(reconcile_blobs(blobs));
    FR_TRY(keep_unrecorded());
    FR_TRY(reconcile_partials(std::move(partials)));
    FR_TRY_ASSIGN(const auto free, shared->fs.free_space(shared->layout.dir()));
    looked(free, totals().used_bytes(), unwritten_bytes());
    log::info("store.opened", {{"dir", shared->layout.dir()},
                               {"node", identity.node.str()},
                               {"boot_epoch", identity.boot_epoch},
                               {"blobs", catalog.count()},
                               {"bytes", catalog.bytes()},
                               {"partials", slots.size()},
                               {"unverified", unverified_.size()},
                               {"clean", !unclean_}});
    return {};
}

/// Before anything is touched: what a newer version wrote is left as it is.
Status Store::Impl::check_versions() {
    FR_TRY(MetaDb::check_version(shared->fs, shared->layout.meta_db()));
    return CacheDb::check_version(shared->fs, shared->layout.cache_db());
}

Status Store::Impl::take_lock() {
    const auto& dir = shared->layout.dir();
    FR_TRY(shared->fs.mkdirs(dir));
    auto lock = shared->fs.lock(shared->layout.lock());
    if (!lock && lock.error().code == Errc::busy) {
        return fail(Errc::busy, "the data directory " + dir + " is in use by another running fastreg (" +
                                    lock.error().what + "); stop it, or use another --data-dir");
    }
    if (!lock) return tl::unexpected<Error>(lock.error());
    shared->lock = std::move(*lock);
    return {};
}

Status Store::Impl::mark_running() {
    const auto& layout = shared->layout;
    const auto marker = shared->fs.open(layout.running(), OpenMode::create_new);
    unclean_ = !marker && marker.error().code == Errc::already_exists;
    if (!marker && !unclean_) {
        return fail(marker.error().code, "the data directory " + layout.dir() + " is not writable: " +
                                             marker.error().what,
                    marker.error().os_errno);
    }
    if (unclean_) log::warn("store.unclean_stop", {{"dir", layout.dir()}});
    return {};
}

Status Store::Impl::make_layout() {
    auto& fs = shared->fs;
    const auto& layout = shared->layout;
    for (const auto alg : kAlgorithms) {
        FR_TRY(fs.mkdirs(layout.blobs(alg)));
        FR_TRY_ASSIGN(const auto shelves, fs.list(layout.blobs(alg)));
        for (unsigned i = 0; i < 256 && shelves.size() < 256; ++i) {
            FR_TRY(fs.mkdirs(layout.shelf(alg, i)));
        }
        FR_TRY(fs.fsync_dir(layout.blobs(alg)));
    }
    FR_TRY(fs.mkdirs(layout.partials()));
    FR_TRY(fs.fsync_dir(layout.blobs()));
    FR_TRY(fs.fsync_dir(layout.dir()));
    const auto slash = layout.dir().rfind('/');
    if (slash != std::string::npos) {
        (void)fs.fsync_dir(slash == 0 ? "/" : layout.dir().substr(0, slash));  // may not be ours
    }
    return {};
}

Status Store::Impl::open_meta() {
    auto status = load_meta();
    if (!status && is_damage(status.error())) status = restore_meta(status.error());
    FR_TRY(status);
    return shared->meta->transaction([&](MetaDb& meta) -> Status {
        FR_TRY(meta.set_node(identity.node));
        return meta.set_boot_epoch(identity.boot_epoch);
    });
}

/// Leaves the identity that this start is to have, not yet written.
Status Store::Impl::load_meta() {
    records.clear();
    shared->meta.reset();
    FR_TRY_ASSIGN(shared->meta,
                  MetaDb::open(shared->layout.meta_db(), shared->vfs.name(), unclean_));
    auto& meta = *shared->meta;
    FR_TRY_ASSIGN(const auto node, meta.node());
    FR_TRY_ASSIGN(const auto epoch, meta.boot_epoch());
    FR_TRY_ASSIGN(loaded_rows, meta.rows());
    FR_TRY_ASSIGN(loaded_peers, meta.peers());
    FR_TRY_ASSIGN(const auto kept, meta.blobs());
    for (const auto& record : kept) records.emplace(record.digest, record);
    if (node) identity.node = *node;
    if (!node) options_.random(identity.node.bytes);
    identity.boot_epoch = epoch + 1;
    return {};
}

/// Moves the damaged file aside and falls back on the backup. Without one the node starts as a new
/// one: its old identity must not come back with epochs and rows it no longer knows.
Status Store::Impl::restore_meta(const Error& why) {
    meta_began_anew_ = true;
    auto& fs = shared->fs;
    const auto& layout = shared->layout;
    // A stop in the middle must not make the next start believe that nothing is missing.
    FR_TRY(write_file(layout.meta_restored(), as_bytes("its files are kept\n")));
    shared->meta.reset();
    FR_TRY(fs.rename(layout.meta_db(), layout.meta_db() + ".bad"));
    if (fs.stat(layout.meta_db() + "-wal")) FR_TRY(fs.unlink(layout.meta_db() + "-wal"));
    if (const auto backup = fs.open(layout.meta_backup(), OpenMode::read)) {
        FR_TRY_ASSIGN(const auto size, (*backup)->size());
        Bytes content(size);
        FR_TRY_ASSIGN(const auto got, (*backup)->pread(content, 0));
        content.resize(got);
        FR_TRY(write_file(layout.meta_db(), content));
        auto status = load_meta();
        if (status) status = doubt_backup();
        if (status) {
            identity.boot_epoch += kEpochsPerBackup;
            log::error("store.meta_restored", {{"from", layout.meta_backup()},
                                               {"kept", layout.meta_db() + ".bad"},
                                               {"rows", loaded_rows.size()},
                                               {"why", describe(why)}});
            return {};
        }
        if (!is_damage(status.error())) return status;
        shared->meta.reset();
        FR_TRY(fs.unlink(layout.meta_db()));
        if (fs.stat(layout.meta_db() + "-wal")) FR_TRY(fs.unlink(layout.meta_db() + "-wal"));
    }
    log::error("store.meta_lost", {{"kept", layout.meta_db() + ".bad"},
                                   {"now", "this node joins as a new one"},
                                   {"why", describe(why)}});
    return load_meta();
}

/// What happened since the backup is not known: a blob that it removes may have been pushed again, and the
/// file that it vouches for may be another one now.
Status Store::Impl::doubt_backup() {
    const auto status = shared->meta->transaction([&](MetaDb& meta) -> Status {
        for (auto& [digest, record] : records) {
            if ((record.flags & kTombstone) != 0) {
                FR_TRY(meta.erase_blob(digest));
                continue;
            }
            record.flags |= kDoubted;
            FR_TRY(meta.put_blob(record));
        }
        return {};
    });
    std::erase_if(records, [](const auto& entry) { return (entry.second.flags & kTombstone) != 0; });
    return status;
}

Status Store::Impl::open_cache(std::vector<CachedBlob>& blobs,
                               std::vector<CachedPartial>& partials) {
    auto& fs = shared->fs;
    const auto path = shared->layout.cache_db();
    const auto load = [&]() -> Status {
        FR_TRY_ASSIGN(shared->cache, CacheDb::open(path, shared->vfs.name(), unclean_));
        if (unclean_) FR_TRY(shared->cache->doubt_partials());
        FR_TRY_ASSIGN(blobs, shared->cache->blobs());
        FR_TRY_ASSIGN(partials, shared->cache->partials());
        return {};
    };
    const auto status = load();
    if (status || !is_damage(status.error())) return status;
    log::warn("store.cache_rebuilt", {{"error", describe(status.error())}});
    shared->cache.reset();
    FR_TRY(fs.rename(path, path + ".bad"));
    if (fs.stat(path + "-wal")) FR_TRY(fs.unlink(path + "-wal"));
    return load();
}

Status Store::Impl::write_identity() {
    const std::string text = identity.node.str() + "\n";
    if (const auto file = shared->fs.open(shared->layout.node_id(), OpenMode::read)) {
        Bytes content(text.size() + 1);
        const auto got = (*file)->pread(content, 0);
        if (got && as_text(content).substr(0, *got) == text) return {};
    }
    return write_file(shared->layout.node_id(), as_bytes(text));
}

Status Store::Impl::write_file(const std::string& path, ByteView data) {
    auto& fs = shared->fs;
    const std::string fresh = path + ".new";
    if (fs.stat(fresh)) FR_TRY(fs.unlink(fresh));
    FR_TRY_ASSIGN(const auto file, fs.open(fresh, OpenMode::create_new));
    FR_TRY(file->pwrite(data, 0));
    FR_TRY(file->fdatasync());
    FR_TRY(fs.rename(fresh, path));
    return fs.fsync_dir(shared->layout.dir());
}

/// Ends the removals that a stop interrupted: a tombstone means the file must not come back.
Status Store::Impl::finish_removals() {
    std::set<std::string> shelves;
    std::vector<Digest> gone;
    for (const auto& [digest, record] : records) {
        if ((record.flags & kTombstone) == 0) continue;
        const auto status = shared->fs.unlink(shared->layout.blob(digest));
        if (!status && status.error().code != Errc::not_found) return status;
        shelves.insert(shared->layout.shelf(digest));
        gone.push_back(digest);
    }
    if (gone.empty()) return {};
    for (const auto& shelf : shelves) FR_TRY(shared->fs.fsync_dir(shelf));
    const auto cached = shared->cache->transaction([&](CacheDb& cache) -> Status {
        for (const auto& digest : gone) FR_TRY(cache.erase_blob(digest));
        return {};
    });
    FR_TRY(cached);
    FR_TRY(shared->cache->checkpoint());
    const auto recorded = shared->meta->transaction([&](MetaDb& meta) -> Status {
        for (const auto& digest : gone) FR_TRY(meta.erase_blob(digest));
        return {};
    });
    FR_TRY(recorded);
    for (const auto& digest : gone) records.erase(digest);
    return {};
}

Status Store::Impl::reconcile_blobs(const std::vector<CachedBlob>& cached) {
    std::map<Digest, const CachedBlob*> rows;
    for (const auto& blob : cached) rows.emplace(blob.digest, &blob);
    Found found;
    for (const auto alg : kAlgorithms) {
        for (unsigned i = 0; i < 256; ++i) {
            FR_TRY(reconcile_shelf(shared->layout.shelf(alg, i), alg, rows, found));
        }
    }
    return void_rows(cached, found);
}

Status Store::Impl::reconcile_shelf(const std::string& path,
                                    HashAlg alg,
                                    const std::map<Digest, const CachedBlob*>& cached,
                                    Found& found) {
    FR_TRY_ASSIGN(const auto entries, shared->fs.list(path));
    for (const auto& entry : entries) {
        const auto digest = Digest::parse(std::string(name_of(alg)) + ":" + entry.name);
        if (entry.is_directory || !digest || shared->layout.shelf(*digest) != path) {
            log::warn("store.stranger", {{"path", path + "/" + entry.name}});
            continue;
        }
        const auto row = cached.find(*digest);
        const auto record = records.find(*digest);
        const bool doubted = record != records.end() && (record->second.flags & kDoubted) != 0;
        const auto file = shared->fs.stat(path + "/" + entry.name);
        if (!file) {
            // One bad file is no reason not to serve the others: it is in doubt, as long as a row names its size.
            if (file.error().code == Errc::not_found) continue;  // removed since it was listed
            log::warn("store.file_not_seen", {{"why", describe(file.error())}});
            if (record == records.end() && row == cached.end()) continue;
        }
        if (file && file->size > kBlobSizeMax) continue;
        // A digest has one size, and rows know it since the bytes were hashed; that of a doubted row may be
        // somebody's claim. The file's own counts only when there is no other: asked of peers, a size that
        // is wrong would put the blame on who has the right one.
        BlobInfo info;
        if (file) info.size = file->size;
        if (record != records.end()) {
            info.size = record->second.size;
            info.verified = !doubted;
            info.home = (record->second.flags & kHome) != 0;
            info.pushed = (record->second.flags & kPushed) != 0;
            info.pinned = (record->second.flags & kPinned) != 0;
        }
        if (row != cached.end()) {
            if (!info.verified) info.size = row->second->size;
            if (record == records.end()) info.verified = row->second->synced;
            info.last_use_ms = row->second->last_use_ms;
        }
        if (!file) {
            info.verified = false;
        } else if (file->size != info.size) {
            info.verified = false;
            found.misfits.push_back(*digest);
        }
        info.synced = info.verified;
        if (!info.verified) unverified_.insert(*digest);
        catalog.put(*digest, info);
        found.files.insert(*digest);
    }
    return {};
}

/// What said of a file that it is a home or a push may be lost: then it counts as a push, and makes no room.
Status Store::Impl::keep_unrecorded() {
    const std::string marker = shared->layout.meta_restored();
    if (!meta_began_anew_ && !shared->fs.stat(marker)) return {};
    std::vector<BlobRecord> kept;
    for (const auto& entry : catalog.list()) {
        const auto record = records.find(entry.digest);
        if (record != records.end() && (record->second.flags & kWanted) != 0) continue;
        kept.push_back({entry.digest, entry.info.size, wall_ms(), kPushed | kDoubted});
        auto* info = catalog.edit(entry.digest);
        info->pushed = true;
        info->verified = info->synced = false;
        unverified_.insert(entry.digest);
    }
    const auto recorded = shared->meta->transaction([&](MetaDb& meta) -> Status {
        for (const auto& record : kept) FR_TRY(meta.put_blob(record));
        return {};
    });
    FR_TRY(recorded);
    for (const auto& record : kept) records[record.digest] = record;
    FR_TRY(unless_missing(shared->fs.unlink(marker)));
    return shared->fs.fsync_dir(shared->layout.dir());
}

/// Durable, before anything new is placed: a row without its file must not vouch for a later file of the
/// same name. After an unclean stop the last writes to cache.db are made durable for the same reason.
Status Store::Impl::void_rows(const std::vector<CachedBlob>& cached, const Found& found) {
    std::vector<Digest> gone = found.misfits;
    for (const auto& blob : cached) {
        if (!found.files.contains(blob.digest)) gone.push_back(blob.digest);
    }
    const auto cleared = shared->cache->transaction([&](CacheDb& cache) -> Status {
        for (const auto& digest : gone) FR_TRY(cache.erase_blob(digest));
        return {};
    });
    FR_TRY(cleared);
    if (!gone.empty() || unclean_) FR_TRY(shared->cache->checkpoint());

    std::vector<BlobRecord> doubted;
    for (const auto& digest : found.misfits) {
        const auto record = records.find(digest);
        if (record == records.end() || (record->second.flags & kDoubted) != 0) continue;
        record->second.flags |= kDoubted;
        doubted.push_back(record->second);
    }
    std::vector<Digest> useless;
    std::uint64_t missing = 0;
    for (const auto& [digest, record] : records) {
        if (found.files.contains(digest)) continue;
        if ((record.flags & kWanted) == 0) {
            useless.push_back(digest);
        } else {
            ++missing;
        }
    }
    if (missing > 0) log::error("store.blobs_missing", {{"count", missing}});
    if (doubted.empty() && useless.empty()) return {};
    const auto recorded = shared->meta->transaction([&](MetaDb& meta) -> Status {
        for (const auto& record : doubted) FR_TRY(meta.put_blob(record));
        for (const auto& digest : useless) FR_TRY(meta.erase_blob(digest));
        return {};
    });
    FR_TRY(recorded);
    for (const auto& digest : useless) records.erase(digest);
    return {};
}

Status Store::Impl::reconcile_partials(std::vector<CachedPartial> cached) {
    std::map<Digest, CachedPartial> rows;
    for (auto& partial : cached) {
        const Digest digest = partial.digest;
        rows.emplace(digest, std::move(partial));
    }
    FR_TRY_ASSIGN(const auto entries, shared->fs.list(shared->layout.partials()));
    for (const auto& entry : entries) {
        const auto path = shared->layout.partials() + "/" + entry.name;
        const auto digest = Layout::parse_partial(entry.name);
        const auto row = digest ? rows.find(*digest) : rows.end();
        if (row != rows.end() && !catalog.find(*digest)) {
            partial_bytes_ += row->second.size;
            slots.emplace(*digest, Slot{std::move(row->second), nullptr, false, {0}});
            rows.erase(row);
        } else if (digest || std::ranges::any_of(kTemporaries, [&](std::string_view prefix) {
                       return entry.name.starts_with(prefix);
                   })) {
            FR_TRY(shared->fs.unlink(path));
        } else {
            log::warn("store.stranger", {{"path", path}});
        }
    }
    if (rows.empty()) return {};
    return shared->cache->transaction([&](CacheDb& cache) -> Status {
        for (const auto& [digest, row] : rows) FR_TRY(cache.erase_partial(digest));
        return {};
    });
}

}  // namespace fastreg::store
