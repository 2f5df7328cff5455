#include "store/cache_db.h"

#include <array>

namespace fastreg::store {
namespace {

constexpr std::array<Migration, 2> kCacheMigrations = {
    // 1
    "CREATE TABLE blobs(digest BLOB PRIMARY KEY, size INTEGER NOT NULL, synced INTEGER NOT NULL,"
    " last_use INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE chains(digest BLOB PRIMARY KEY, links BLOB NOT NULL);"
    "CREATE TABLE partials(digest BLOB PRIMARY KEY, size INTEGER NOT NULL, map BLOB NOT NULL,"
    " borders BLOB NOT NULL, links BLOB NOT NULL);",
    // 2
    "ALTER TABLE partials ADD COLUMN doubted INTEGER NOT NULL DEFAULT 1;",
};

/// Nothing when the row is damaged: the partial is then begun anew.
std::optional<CachedPartial> read_partial(const Stmt& stmt) {
    const auto digest = digest_of_key(stmt.bytes(0));
    const std::uint64_t size = stmt.u64(1);
    if (!digest || size > kBlobSizeMax) return std::nullopt;
    const ChunkGrid grid(size);
    CachedPartial partial{*digest, size, {}, {}, stmt.bytes(4), stmt.i64(5) != 0};
    if (!partial.map.from_bytes(grid.count(), stmt.bytes(2))) return std::nullopt;
    if (!partial.borders.from_bytes(grid.count(), stmt.bytes(3))) return std::nullopt;
    if (partial.links.size() != (grid.count() - 1) * link_size(digest->alg)) return std::nullopt;
    return partial;
}

}  // namespace

Result<std::unique_ptr<CacheDb>> CacheDb::open(const std::string& path,
                                               const std::string& vfs,
                                               bool check) {
    std::unique_ptr<CacheDb> cache(new CacheDb);
    FR_TRY_ASSIGN(cache->db_, Db::open(path, vfs));
    FR_TRY(prepare_database(cache->db_, Synchronous::normal, kCacheMigrations));
    if (check) FR_TRY(cache->db_.quick_check());
    FR_TRY(cache->prepare_all());
    return cache;
}

Status CacheDb::check_version(Fs& fs, const std::string& path) {
    return store::check_version(fs, path, std::size(kCacheMigrations));
}

Status CacheDb::prepare_all() {
    FR_TRY_ASSIGN(put_blob_, db_.prepare("INSERT OR REPLACE INTO blobs VALUES(?1, ?2, ?3, ?4)"));
    FR_TRY_ASSIGN(set_synced_, db_.prepare("UPDATE blobs SET synced = 1 WHERE digest = ?1"));
    FR_TRY_ASSIGN(set_last_use_, db_.prepare("UPDATE blobs SET last_use = ?2 WHERE digest = ?1"));
    FR_TRY_ASSIGN(erase_blob_, db_.prepare("DELETE FROM blobs WHERE digest = ?1"));
    FR_TRY_ASSIGN(get_chain_, db_.prepare("SELECT links FROM chains WHERE digest = ?1"));
    FR_TRY_ASSIGN(put_chain_, db_.prepare("INSERT OR REPLACE INTO chains VALUES(?1, ?2)"));
    FR_TRY_ASSIGN(erase_chain_, db_.prepare("DELETE FROM chains WHERE digest = ?1"));
    FR_TRY_ASSIGN(put_partial_,
                  db_.prepare("INSERT OR REPLACE INTO partials VALUES(?1, ?2, ?3, ?4, ?5, ?6)"));
    FR_TRY_ASSIGN(erase_partial_, db_.prepare("DELETE FROM partials WHERE digest = ?1"));
    return {};
}

Status CacheDb::transaction(const std::function<Status(CacheDb&)>& work) {
    FR_TRY_ASSIGN(auto transaction, Transaction::begin(db_));
    FR_TRY(work(*this));
    return transaction.commit();
}

Result<std::vector<CachedBlob>> CacheDb::blobs() {
    FR_TRY_ASSIGN(Stmt stmt,
                  db_.prepare("SELECT digest, size, synced, last_use FROM blobs ORDER BY digest"));
    std::vector<CachedBlob> blobs;
    for (;;) {
        FR_TRY_ASSIGN(const bool more, stmt.step());
        if (!more) return blobs;
        const auto digest = digest_of_key(stmt.bytes(0));
        if (!digest || stmt.u64(1) > kBlobSizeMax) continue;
        blobs.push_back({*digest, stmt.u64(1), stmt.i64(2) == 1, stmt.u64(3)});
    }
}

Status CacheDb::put_blob(const CachedBlob& blob) {
    const Bytes key = digest_key(blob.digest);
    return put_blob_.bind(1, ByteView(key))
        .bind_u64(2, blob.size)
        .bind(3, std::int64_t{blob.synced ? 1 : 0})
        .bind_u64(4, blob.last_use_ms)
        .run();
}

Status CacheDb::set_synced(const Digest& digest) {
    const Bytes key = digest_key(digest);
    return set_synced_.bind(1, ByteView(key)).run();
}

Status CacheDb::set_last_use(const Digest& digest, std::uint64_t at_ms) {
    const Bytes key = digest_key(digest);
    return set_last_use_.bind(1, ByteView(key)).bind_u64(2, at_ms).run();
}

Status CacheDb::erase_blob(const Digest& digest) {
    const Bytes key = digest_key(digest);
    FR_TRY(erase_chain_.bind(1, ByteView(key)).run());
    return erase_blob_.bind(1, ByteView(key)).run();
}

Result<std::optional<Bytes>> CacheDb::chain(const Digest& digest) {
    const Bytes key = digest_key(digest);
    FR_TRY_ASSIGN(const bool row, get_chain_.bind(1, ByteView(key)).step());
    if (!row) return std::optional<Bytes>();
    std::optional<Bytes> links = get_chain_.bytes(0);
    get_chain_.reset();
    return links;
}

Status CacheDb::put_chain(const Digest& digest, ByteView links) {
    const Bytes key = digest_key(digest);
    return put_chain_.bind(1, ByteView(key)).bind(2, links).run();
}

Result<std::vector<CachedPartial>> CacheDb::partials() {
    FR_TRY_ASSIGN(Stmt stmt, db_.prepare("SELECT digest, size, map, borders, links, doubted FROM partials"
                                         " ORDER BY digest"));
    std::vector<CachedPartial> partials;
    for (;;) {
        FR_TRY_ASSIGN(const bool more, stmt.step());
        if (!more) return partials;
        if (auto partial = read_partial(stmt)) partials.push_back(std::move(*partial));
    }
}

Status CacheDb::put_partial(const CachedPartial& partial) {
    const Bytes key = digest_key(partial.digest);
    const Bytes map = partial.map.to_bytes();
    const Bytes borders = partial.borders.to_bytes();
    return put_partial_.bind(1, ByteView(key))
        .bind_u64(2, partial.size)
        .bind(3, ByteView(map))
        .bind(4, ByteView(borders))
        .bind(5, ByteView(partial.links))
        .bind(6, std::int64_t{partial.doubted ? 1 : 0})
        .run();
}

Status CacheDb::erase_partial(const Digest& digest) {
    const Bytes key = digest_key(digest);
    return erase_partial_.bind(1, ByteView(key)).run();
}

Status CacheDb::doubt_partials() {
    return db_.exec("UPDATE partials SET doubted = 1");
}

Status CacheDb::checkpoint() {
    return db_.exec("PRAGMA wal_checkpoint(TRUNCATE)");
}

}  // namespace fastreg::store
