// meta.db: the durable truth of a node - who it is, the rows of the repositories it owns, which blobs
// it must keep. Every commit is synced (synchronous=FULL). Owned by the index thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "store/rows.h"
#include "store/schema.h"

namespace fastreg::store {

/// Why a blob has a row. A row without kTombstone and kDoubted vouches for the file: its bytes were
/// hashed and synced before the row was written. No flag at all says that and nothing more.
enum BlobFlag : unsigned {
    kHome = 1,
    kPushed = 2,
    kPinned = 4,
    kTombstone = 8,  // it was deleted; its file must not come back
    kDoubted = 16,   // vouches for no file, nor does a row of cache.db: hash what is there before use
};
/// Why the node wants the blob; the other flags are about its file.
constexpr unsigned kWanted = kHome | kPushed | kPinned;

struct BlobRecord {
    Digest digest;
    std::uint64_t size = 0;
    std::uint64_t since_ms = 0;
    unsigned flags = 0;

    bool operator==(const BlobRecord&) const = default;
};

class MetaDb {
  public:
    /// `check` runs quick_check first. Errors: corrupt, unsupported (newer version), io, no_space.
    [[nodiscard]] static Result<std::unique_ptr<MetaDb>> open(const std::string& path,
                                                              const std::string& vfs,
                                                              bool check);
    /// store/schema.h.
    [[nodiscard]] static Status check_version(Fs& fs, const std::string& path);

    /// Runs `work` in one transaction; its error, or that of the commit, undoes everything.
    Status transaction(const std::function<Status(MetaDb&)>& work);

    [[nodiscard]] Result<std::optional<NodeId>> node();
    Status set_node(const NodeId& node);
    [[nodiscard]] Result<BootEpoch> boot_epoch();
    Status set_boot_epoch(BootEpoch epoch);

    [[nodiscard]] Result<std::vector<Row>> rows();
    /// Keeps the larger (hlc, writer).
    Status put_row(const Row& row);
    Status erase_row(const RowKey& key);

    /// In the order of the digests.
    [[nodiscard]] Result<std::vector<BlobRecord>> blobs();
    Status put_blob(const BlobRecord& record);
    Status erase_blob(const Digest& digest);

    [[nodiscard]] Result<std::vector<PeerRecord>> peers();
    Status replace_peers(const std::vector<PeerRecord>& peers);

    /// A consistent copy, by SQLite's online backup, through the same VFS. Makes `path`, which must not
    /// exist, and does not sync it; after an error it may be there in part.
    Status copy_to(const std::string& path, const std::string& vfs);
    /// Moves the log into the database; the next start then reads one file.
    Status checkpoint();

  private:
    MetaDb() = default;
    Status prepare_all();

    Db db_;  // first: statements go before it
    Stmt get_identity_, put_identity_, put_row_, erase_row_, put_blob_, erase_blob_, put_peer_;
};

}  // namespace fastreg::store
