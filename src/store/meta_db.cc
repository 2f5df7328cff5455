#include "store/meta_db.h"

#include <algorithm>
#include <array>

#include "base/grid.h"
#include "base/log.h"

namespace fastreg::store {
namespace {

constexpr std::array<Migration, 1> kMetaMigrations = {
    // 1
    "CREATE TABLE identity(name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE rows(repo TEXT, key TEXT, value BLOB NOT NULL, hlc INTEGER NOT NULL,"
    " writer BLOB NOT NULL, tombstone INTEGER NOT NULL, PRIMARY KEY(repo, key)) WITHOUT ROWID;"
    "CREATE TABLE blobs(digest BLOB PRIMARY KEY, size INTEGER NOT NULL, since INTEGER NOT NULL,"
    " flags INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE peers(node BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;",
};

/// False when a damaged row holds anything else.
bool read_node(ByteView raw, NodeId& node) {
    if (raw.size() != node.bytes.size()) return false;
    std::ranges::copy(raw, node.bytes.begin());
    return true;
}

// Unsigned order of the 64 bits of an HLC, though SQLite's integers are signed.
constexpr std::uint64_t kSignBit = 1ULL << 63U;

}  // namespace

Result<std::unique_ptr<MetaDb>> MetaDb::open(const std::string& path,
                                             const std::string& vfs,
                                             bool check) {
    std::unique_ptr<MetaDb> meta(new MetaDb);
    FR_TRY_ASSIGN(meta->db_, Db::open(path, vfs));
    FR_TRY(prepare_database(meta->db_, Synchronous::full, kMetaMigrations));
    if (check) FR_TRY(meta->db_.quick_check());
    FR_TRY(meta->prepare_all());
    return meta;
}

Status MetaDb::check_version(Fs& fs, const std::string& path) {
    return store::check_version(fs, path, std::size(kMetaMigrations));
}

Status MetaDb::prepare_all() {
    FR_TRY_ASSIGN(get_identity_, db_.prepare("SELECT value FROM identity WHERE name = ?1"));
    FR_TRY_ASSIGN(put_identity_, db_.prepare("INSERT OR REPLACE INTO identity VALUES(?1, ?2)"));
    FR_TRY_ASSIGN(
        put_row_,
        db_.prepare("INSERT INTO rows VALUES(?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT(repo, key) DO UPDATE"
                    " SET value = excluded.value, hlc = excluded.hlc, writer = excluded.writer,"
                    " tombstone = excluded.tombstone"
                    " WHERE (excluded.hlc, excluded.writer) >= (rows.hlc, rows.writer)"));
    FR_TRY_ASSIGN(erase_row_, db_.prepare("DELETE FROM rows WHERE repo = ?1 AND key = ?2"));
    FR_TRY_ASSIGN(put_blob_, db_.prepare("INSERT OR REPLACE INTO blobs VALUES(?1, ?2, ?3, ?4)"));
    FR_TRY_ASSIGN(erase_blob_, db_.prepare("DELETE FROM blobs WHERE digest = ?1"));
    FR_TRY_ASSIGN(put_peer_, db_.prepare("INSERT OR REPLACE INTO peers VALUES(?1, ?2)"));
    return {};
}

Status MetaDb::transaction(const std::function<Status(MetaDb&)>& work) {
    FR_TRY_ASSIGN(auto transaction, Transaction::begin(db_));
    FR_TRY(work(*this));
    return transaction.commit();
}

Result<std::optional<NodeId>> MetaDb::node() {
    FR_TRY_ASSIGN(const bool row, get_identity_.bind(1, std::string_view("node")).step());
    if (!row) return std::optional<NodeId>();
    const Bytes raw = get_identity_.bytes(0);
    get_identity_.reset();
    NodeId node;
    if (!read_node(raw, node) || !node.known()) {
        return fail(Errc::corrupt, "the node id in " + db_.path() + " is damaged");
    }
    return std::optional<NodeId>(node);
}

Status MetaDb::set_node(const NodeId& node) {
    return put_identity_.bind(1, std::string_view("node")).bind(2, ByteView(node.bytes)).run();
}

Result<BootEpoch> MetaDb::boot_epoch() {
    FR_TRY_ASSIGN(const bool row, get_identity_.bind(1, std::string_view("boot_epoch")).step());
    if (!row) return BootEpoch{0};
    const BootEpoch epoch = get_identity_.u64(0);
    get_identity_.reset();
    return epoch;
}

Status MetaDb::set_boot_epoch(BootEpoch epoch) {
    return put_identity_.bind(1, std::string_view("boot_epoch")).bind_u64(2, epoch).run();
}

Result<std::vector<Row>> MetaDb::rows() {
    FR_TRY_ASSIGN(Stmt stmt, db_.prepare("SELECT repo, key, value, hlc, writer, tombstone FROM rows"
                                         " ORDER BY repo, key"));
    std::vector<Row> rows;
    for (;;) {
        FR_TRY_ASSIGN(const bool more, stmt.step());
        if (!more) return rows;
        Row row{stmt.text(0), stmt.text(1), stmt.bytes(2), stmt.u64(3) ^ kSignBit, {},
                stmt.i64(5) != 0};
        if (!read_node(stmt.bytes(4), row.writer)) {
            log::warn("store.row_damaged", {{"repo", row.repo}, {"key", row.key}});
            continue;  // the other owners of the repository still have it
        }
        rows.push_back(std::move(row));
    }
}

Status MetaDb::put_row(const Row& row) {
    return put_row_.bind(1, std::string_view(row.repo))
        .bind(2, std::string_view(row.key))
        .bind(3, ByteView(row.value))
        .bind_u64(4, row.hlc ^ kSignBit)
        .bind(5, ByteView(row.writer.bytes))
        .bind(6, std::int64_t{row.tombstone ? 1 : 0})
        .run();
}

Status MetaDb::erase_row(const RowKey& key) {
    return erase_row_.bind(1, std::string_view(key.repo)).bind(2, std::string_view(key.key)).run();
}

Result<std::vector<BlobRecord>> MetaDb::blobs() {
    FR_TRY_ASSIGN(Stmt stmt,
                  db_.prepare("SELECT digest, size, since, flags FROM blobs ORDER BY digest"));
    std::vector<BlobRecord> records;
    for (;;) {
        FR_TRY_ASSIGN(const bool more, stmt.step());
        if (!more) return records;
        const auto digest = digest_of_key(stmt.bytes(0));
        if (!digest || stmt.u64(1) > kBlobSizeMax) {
            log::warn("store.blob_row_damaged");
            continue;
        }
        records.push_back({*digest, stmt.u64(1), stmt.u64(2), static_cast<unsigned>(stmt.i64(3))});
    }
}

Status MetaDb::put_blob(const BlobRecord& record) {
    const Bytes key = digest_key(record.digest);
    return put_blob_.bind(1, ByteView(key))
        .bind_u64(2, record.size)
        .bind_u64(3, record.since_ms)
        .bind(4, std::int64_t{record.flags})
        .run();
}

Status MetaDb::erase_blob(const Digest& digest) {
    const Bytes key = digest_key(digest);
    return erase_blob_.bind(1, ByteView(key)).run();
}

Result<std::vector<PeerRecord>> MetaDb::peers() {
    FR_TRY_ASSIGN(Stmt stmt, db_.prepare("SELECT node, value FROM peers ORDER BY node"));
    std::vector<PeerRecord> peers;
    for (;;) {
        FR_TRY_ASSIGN(const bool more, stmt.step());
        if (!more) return peers;
        PeerRecord peer{{}, stmt.bytes(1)};
        if (read_node(stmt.bytes(0), peer.node)) peers.push_back(std::move(peer));
    }
}

Status MetaDb::replace_peers(const std::vector<PeerRecord>& peers) {
    FR_TRY(db_.exec("DELETE FROM peers"));
    for (const auto& peer : peers) {
        FR_TRY(put_peer_.bind(1, ByteView(peer.node.bytes)).bind(2, ByteView(peer.value)).run());
    }
    return {};
}

Status MetaDb::copy_to(const std::string& path, const std::string& vfs) {
    FR_TRY_ASSIGN(Db target, Db::open(path, vfs));
    FR_TRY(target.exec("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=OFF"));
    return db_.copy_to(target);
}

Status MetaDb::checkpoint() {
    return db_.exec("PRAGMA wal_checkpoint(TRUNCATE)");
}

}  // namespace fastreg::store
