// What both databases have in common: how SQLite is set up, and how an older file is brought up to
// date. On the thread that owns the Db.
#pragma once

#include <optional>
#include <span>

#include "base/digest.h"
#include "store/fs.h"
#include "store/sqlite.h"

namespace fastreg::store {

/// Brings a database from version n to n + 1, where n is its index in the table.
using Migration = const char*;

enum class Synchronous { normal, full };

/// Sets the pragmas, refuses a file written by a newer version (Errc::unsupported, both versions
/// named) before changing anything in it, and runs the missing migrations in one transaction.
Status prepare_database(Db& db, Synchronous synchronous, std::span<const Migration> migrations);

/// Refuses as above by the file's header alone; nothing is opened for writing. A file that is not there,
/// or is no database, is left for later to judge. What a log beside the file holds is not seen.
Status check_version(Fs& fs, const std::string& path, std::size_t newest);

/// The key of a digest in a table: the algorithm's number, then the raw bytes.
[[nodiscard]] Bytes digest_key(const Digest& digest);
/// Nothing when a damaged row holds anything else.
[[nodiscard]] std::optional<Digest> digest_of_key(ByteView key);

}  // namespace fastreg::store
