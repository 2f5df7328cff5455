// SQLite with owners: a connection, a statement, a transaction. Errors come back as Result. One thread
// at a time owns a Db and all that hangs on it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace fastreg::store {

class Stmt {
  public:
    Stmt() = default;
    ~Stmt();
    Stmt(Stmt&& other) noexcept;
    Stmt& operator=(Stmt&& other) noexcept;
    Stmt(const Stmt&) = delete;
    Stmt& operator=(const Stmt&) = delete;

    // Parameters count from 1. Text and bytes must live until the next run() or the end of the reading.
    // What is too long (64 MiB) makes the next step fail.
    Stmt& bind(int index, std::int64_t value);
    Stmt& bind_u64(int index, std::uint64_t value);  // kept as the same 64 bits
    Stmt& bind(int index, std::string_view text);
    Stmt& bind(int index, ByteView bytes);

    /// True when there is a row to read; after false or an error it can be bound and run again.
    [[nodiscard]] Result<bool> step();
    /// For statements without rows.
    Status run();
    void reset();

    // Columns count from 0; a wrong type reads as 0 or empty, never as a crash.
    [[nodiscard]] std::int64_t i64(int column) const;
    [[nodiscard]] std::uint64_t u64(int column) const;
    [[nodiscard]] std::string text(int column) const;
    [[nodiscard]] Bytes bytes(int column) const;

  private:
    friend class Db;
    explicit Stmt(sqlite3_stmt* stmt) : stmt_(stmt) {}
    [[nodiscard]] tl::unexpected<Error> error() const;
    sqlite3_stmt* stmt_ = nullptr;
    bool bind_failed_ = false;
};

class Db {
  public:
    Db() = default;
    ~Db();
    Db(Db&& other) noexcept;
    Db& operator=(Db&& other) noexcept;
    Db(const Db&) = delete;
    Db& operator=(const Db&) = delete;

    /// `vfs` is the name of a registered Vfs. Makes the file when it is missing.
    [[nodiscard]] static Result<Db> open(const std::string& path, const std::string& vfs);
    Status exec(const char* sql);
    [[nodiscard]] Result<Stmt> prepare(std::string_view sql);
    /// Runs `PRAGMA quick_check`; Errc::corrupt with its first complaint.
    Status quick_check();
    /// Copies the whole database page by page into `target`, which is replaced.
    Status copy_to(Db& target);
    [[nodiscard]] explicit operator bool() const { return db_ != nullptr; }
    [[nodiscard]] const std::string& path() const { return path_; }
    /// The failure of the last call on this connection.
    [[nodiscard]] tl::unexpected<Error> error(std::string_view doing) const;

  private:
    sqlite3* db_ = nullptr;
    std::string path_;
};

/// BEGIN IMMEDIATE now, ROLLBACK when it is dropped without commit().
class Transaction {
  public:
    [[nodiscard]] static Result<Transaction> begin(Db& db);
    ~Transaction();
    Transaction(Transaction&& other) noexcept;
    Transaction& operator=(Transaction&&) = delete;
    Transaction(const Transaction&) = delete;
    Transaction& operator=(const Transaction&) = delete;
    Status commit();

  private:
    explicit Transaction(Db& db) : db_(&db) {}
    Db* db_;
};

}  // namespace fastreg::store
