#include "store/schema.h"

#include <array>
#include <cerrno>
#include <string>

namespace fastreg::store {
namespace {

Result<std::int64_t> user_version(Db& db) {
    FR_TRY_ASSIGN(Stmt stmt, db.prepare("PRAGMA user_version"));
    FR_TRY_ASSIGN(const bool row, stmt.step());
    return row ? stmt.i64(0) : 0;
}

Status refuse_newer(const std::string& path, std::int64_t version, std::int64_t newest) {
    if (version >= 0 && version <= newest) return {};
    return fail(Errc::unsupported,
                path + " has schema version " + std::to_string(version) +
                    ", and this fastreg (" FR_VERSION ") knows versions up to " + std::to_string(newest) +
                    "; start the newer fastreg that wrote it, or use another data directory");
}

Status use_wal(Db& db) {
    FR_TRY_ASSIGN(Stmt stmt, db.prepare("PRAGMA journal_mode=WAL"));
    FR_TRY_ASSIGN(const bool row, stmt.step());
    if (!row || stmt.text(0) != "wal") {
        return fail(Errc::io, "cannot keep a write-ahead log for " + db.path(), EIO);
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
    FR_TRY(refuse_newer(db.path(), version, newest));
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

Status check_version(Fs& fs, const std::string& path, std::size_t newest) {
    // https://www.sqlite.org/fileformat.html: the magic string is at 0, user_version at 60, big-endian.
    constexpr std::string_view kMagic("SQLite format 3\0", 16);
    constexpr std::size_t kUserVersionAt = 60;
    const auto file = fs.open(path, OpenMode::read);
    if (!file) return {};
    std::array<std::byte, kUserVersionAt + 4> header{};
    const auto got = (*file)->pread(header, 0);
    if (!got || *got != header.size() || as_text(header).substr(0, kMagic.size()) != kMagic) return {};
    std::uint32_t version = 0;
    for (std::size_t i = kUserVersionAt; i < header.size(); ++i) {
        version = version << 8U | std::to_integer<std::uint32_t>(header[i]);
    }
    return refuse_newer(path, static_cast<std::int32_t>(version), static_cast<std::int64_t>(newest));
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
