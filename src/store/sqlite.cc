#include "store/sqlite.h"

#include <sqlite3.h>

#include <cerrno>
#include <utility>

namespace fastreg::store {
namespace {

Errc errc_of_sqlite(int code) {
    switch (code & 0xff) {
        case SQLITE_FULL: return Errc::no_space;
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB: return Errc::corrupt;
        case SQLITE_BUSY:
        case SQLITE_LOCKED: return Errc::busy;
        case SQLITE_READONLY:
        case SQLITE_PERM:
        case SQLITE_AUTH: return Errc::permission_denied;
        case SQLITE_IOERR:
        case SQLITE_CANTOPEN: return Errc::io;
        case SQLITE_TOOBIG: return Errc::too_large;
        default: return Errc::internal;
    }
}

/// In the words of a disk, for an error that the disk did not give.
int errno_of_sqlite(int code) {
    switch (errc_of_sqlite(code)) {
        case Errc::no_space: return ENOSPC;
        case Errc::corrupt: return EUCLEAN;
        case Errc::busy: return EBUSY;
        case Errc::permission_denied: return EACCES;
        case Errc::too_large: return EFBIG;
        default: return EIO;
    }
}

tl::unexpected<Error> error_of(sqlite3* db, std::string_view doing, const std::string& path) {
    const int code = db == nullptr ? SQLITE_NOMEM : sqlite3_extended_errcode(db);
    const char* words = db == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(db);
    const int system = db == nullptr ? 0 : sqlite3_system_errno(db);
    return fail(errc_of_sqlite(code), "cannot " + std::string(doing) + " " + path + ": " + words +
                                   " (SQLite " + std::to_string(code) + ")",
                system != 0 ? system : errno_of_sqlite(code));
}

}  // namespace

Stmt::~Stmt() {
    sqlite3_finalize(stmt_);
}
Stmt::Stmt(Stmt&& other) noexcept
    : stmt_(std::exchange(other.stmt_, nullptr)), bind_failed_(other.bind_failed_) {}
Stmt& Stmt::operator=(Stmt&& other) noexcept {
    std::swap(stmt_, other.stmt_);
    return *this;
}

Stmt& Stmt::bind(int index, std::int64_t value) {
    FR_ASSERT(sqlite3_bind_int64(stmt_, index, value) == SQLITE_OK);
    return *this;
}
Stmt& Stmt::bind_u64(int index, std::uint64_t value) {
    return bind(index, static_cast<std::int64_t>(value));
}
Stmt& Stmt::bind(int index, std::string_view text) {
    const char* data = text.empty() ? "" : text.data();
    if (sqlite3_bind_text64(stmt_, index, data, text.size(), SQLITE_STATIC, SQLITE_UTF8) != SQLITE_OK) {
        bind_failed_ = true;
    }
    return *this;
}
Stmt& Stmt::bind(int index, ByteView bytes) {
    const void* data = bytes.empty() ? static_cast<const void*>("") : bytes.data();
    if (sqlite3_bind_blob64(stmt_, index, data, bytes.size(), SQLITE_STATIC) != SQLITE_OK) {
        bind_failed_ = true;
    }
    return *this;
}

Result<bool> Stmt::step() {
    if (std::exchange(bind_failed_, false)) {
        return fail(Errc::too_large, "a value for the database is over 64 MiB");
    }
    const int code = sqlite3_step(stmt_);
    if (code == SQLITE_ROW) return true;
    if (code == SQLITE_DONE) {
        sqlite3_reset(stmt_);
        return false;
    }
    auto failure = error();
    sqlite3_reset(stmt_);
    return failure;
}

tl::unexpected<Error> Stmt::error() const {
    sqlite3* db = sqlite3_db_handle(stmt_);
    const char* path = sqlite3_db_filename(db, "main");
    return error_of(db, "use", path == nullptr ? "a database" : path);
}

Status Stmt::run() {
    FR_TRY_ASSIGN(const bool row, step());
    if (row) reset();
    return {};
}

void Stmt::reset() {
    sqlite3_reset(stmt_);
}

std::int64_t Stmt::i64(int column) const {
    return sqlite3_column_int64(stmt_, column);
}
std::uint64_t Stmt::u64(int column) const {
    return static_cast<std::uint64_t>(i64(column));
}
std::string Stmt::text(int column) const {
    const Bytes raw = bytes(column);
    return std::string(as_text(raw));
}
Bytes Stmt::bytes(int column) const {
    const auto* data = static_cast<const std::byte*>(sqlite3_column_blob(stmt_, column));
    const auto size = static_cast<std::size_t>(sqlite3_column_bytes(stmt_, column));
    if (data == nullptr) return {};
    return {data, data + size};
}

Db::~Db() {
    sqlite3_close_v2(db_);
}
Db::Db(Db&& other) noexcept
    : db_(std::exchange(other.db_, nullptr)), path_(std::move(other.path_)) {}
Db& Db::operator=(Db&& other) noexcept {
    std::swap(db_, other.db_);
    std::swap(path_, other.path_);
    return *this;
}

Result<Db> Db::open(const std::string& path, const std::string& vfs) {
    Db db;
    db.path_ = path;
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(path.c_str(), &db.db_, flags, vfs.c_str()) != SQLITE_OK) {
        return db.error("open");
    }
    sqlite3_extended_result_codes(db.db_, 1);
    // A damaged or hostile file must not be able to run anything, nor to ask for much memory.
    sqlite3_db_config(db.db_, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
    sqlite3_db_config(db.db_, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
    sqlite3_db_config(db.db_, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, nullptr);
    sqlite3_db_config(db.db_, SQLITE_DBCONFIG_ENABLE_VIEW, 0, nullptr);
    // A checkpoint is asked for by name: closing after a failure must not write.
    sqlite3_db_config(db.db_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
    sqlite3_limit(db.db_, SQLITE_LIMIT_LENGTH, 64 << 20);
    return db;
}

Status Db::exec(const char* sql) {
    if (sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) != SQLITE_OK) return error("use");
    return {};
}

Result<Stmt> Db::prepare(std::string_view sql) {
    sqlite3_stmt* stmt = nullptr;
    if (sqlite3_prepare_v3(db_, sql.data(), static_cast<int>(sql.size()),
                           SQLITE_PREPARE_PERSISTENT, &stmt, nullptr) != SQLITE_OK) {
        return error("use");
    }
    return Stmt(stmt);
}

Status Db::quick_check() {
    FR_TRY_ASSIGN(Stmt check, prepare("PRAGMA quick_check(1)"));
    FR_TRY_ASSIGN(const bool row, check.step());
    if (!row || check.text(0) != "ok") {
        return fail(Errc::corrupt, path_ + " is damaged: " + (row ? check.text(0) : "no answer"));
    }
    return {};
}

Status Db::copy_to(Db& target) {
    sqlite3_backup* backup = sqlite3_backup_init(target.db_, "main", db_, "main");
    if (backup == nullptr) return target.error("copy a database to");
    const int code = sqlite3_backup_step(backup, -1);
    sqlite3_backup_finish(backup);
    if (code != SQLITE_DONE) return target.error("copy a database to");
    return {};
}

tl::unexpected<Error> Db::error(std::string_view doing) const {
    return error_of(db_, doing, path_);
}

Result<Transaction> Transaction::begin(Db& db) {
    FR_TRY(db.exec("BEGIN IMMEDIATE"));
    return Transaction(db);
}
Transaction::Transaction(Transaction&& other) noexcept : db_(std::exchange(other.db_, nullptr)) {}
Transaction::~Transaction() {
    if (db_ != nullptr) (void)db_->exec("ROLLBACK");  // fails when SQLite rolled back by itself
}
Status Transaction::commit() {
    FR_TRY(db_->exec("COMMIT"));
    db_ = nullptr;
    return {};
}

}  // namespace fastreg::store
