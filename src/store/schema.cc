#include "store/schema.h"

#include <string>

namespace fastreg::store {
namespace {

Result<std::int64_t> user_version(Db& db) {
    FR_TRY_ASSIGN(Stmt stmt, db.prepare("PRAGMA user_version"));
    FR_TRY_ASSIGN(const bool row, stmt.step());
    return row ? stmt.i64(0) : 0;
}

Status use_wal(Db& db) {
    FR_TRY_ASSIGN(Stmt stmt, db.prepare("PRAGMA journal_mode=WAL"));
    FR_TRY_ASSIGN(const bool row, stmt.step());
    if (!row || stmt.text(0) != "wal") {
        return fail(Errc::io, "cannot keep a write-ahead log for " + db.path());
    }
    return {};
}

}  // namespace

Status prepare_database(Db& db, Synchronous synchronous, std::span<const Migration> migrations) {
    // Exclusive before the first access: the WAL index then lives on the heap.
    FR_TRY(db.exec("PRAGMA locking_mode=EXCLUSIVE; PRAGMA temp_store=MEMORY; PRAGMA mmap_size=0;"
                   "PRAGMA cell_size_check=ON"));
    FR_TRY_ASSIGN(const std::int64_t version, user_version(db));
    const auto newest = static_cast<std::int64_t>(migrations.size());
    if (version > newest || version < 0) {
        return fail(Errc::unsupported,
                    db.path() + " has schema version " + std::to_string(version) +
                        ", and this fastreg (" FR_VERSION ") knows versions up to " +
                        std::to_string(newest) +
                        "; start the newer fastreg that wrote it, or use another data directory");
    }
    FR_TRY(use_wal(db));
    FR_TRY(db.exec(synchronous == Synchronous::full ? "PRAGMA synchronous=FULL"
                                                    : "PRAGMA synchronous=NORMAL"));
    FR_TRY(db.exec("PRAGMA journal_size_limit=67108864"));
    if (version == newest) return {};

    FR_TRY_ASSIGN(auto transaction, Transaction::begin(db));
    for (auto step = version; step < newest; ++step) {
        FR_TRY(db.exec(migrations[static_cast<std::size_t>(step)]));
    }
    FR_TRY(db.exec(("PRAGMA user_version=" + std::to_string(newest)).c_str()));
    return transaction.commit();
}

Bytes digest_key(const Digest& digest) {
    Bytes key;
    key.reserve(1 + digest_size(digest.alg));
    key.push_back(static_cast<std::byte>(digest.alg));
    const ByteView raw = digest.bytes();
    key.insert(key.end(), raw.begin(), raw.end());
    return key;
}

std::optional<Digest> digest_of_key(ByteView key) {
    if (key.empty()) return std::nullopt;
    const auto alg = static_cast<HashAlg>(key[0]);
    if (alg != HashAlg::sha256 && alg != HashAlg::sha512) return std::nullopt;
    if (key.size() != 1 + digest_size(alg)) return std::nullopt;
    const auto digest = Digest::from_bytes(alg, key.subspan(1));
    if (!digest) return std::nullopt;
    return *digest;
}

}  // namespace fastreg::store
