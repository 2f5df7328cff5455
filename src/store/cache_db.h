// cache.db: what spares the node work after a restart - which complete files were hashed, their chains,
// the chunk maps of partial ones, use times. Everything in it can be made again from the files, so a
// damaged one is put aside and a loss of power may take its last commits (synchronous=NORMAL). Owned
// by the index thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/chain.h"
#include "base/chunk_map.h"
#include "store/schema.h"

namespace fastreg::store {

/// A row means: these bytes were hashed when they were stored. Only when they were synced as well does it
/// vouch for the file that a start finds under the name.
struct CachedBlob {
    Digest digest;
    std::uint64_t size = 0;  // bytes
    bool synced = false;
    std::uint64_t last_use_ms = 0;

    bool operator==(const CachedBlob&) const = default;
};

struct CachedPartial {
    Digest digest;
    std::uint64_t size = 0;
    ChunkMap map;
    ChunkMap borders;  // bit i: the state before chunk i is known
    Bytes links;       // (count - 1) states, zero where unknown
    bool doubted = false;  // its chunks are hashed before they count: a stop may have taken their bytes
};

class CacheDb {
  public:
    /// `check` runs quick_check first. Errors: corrupt, unsupported (newer version), io, no_space.
    [[nodiscard]] static Result<std::unique_ptr<CacheDb>> open(const std::string& path,
                                                               const std::string& vfs,
                                                               bool check);
    /// store/schema.h.
    [[nodiscard]] static Status check_version(Fs& fs, const std::string& path);

    /// Runs `work` in one transaction; its error, or that of the commit, undoes everything. What was
    /// committed is durable only after checkpoint().
    Status transaction(const std::function<Status(CacheDb&)>& work);

    /// In the order of the digests; damaged rows are left out.
    [[nodiscard]] Result<std::vector<CachedBlob>> blobs();
    Status put_blob(const CachedBlob& blob);
    Status set_synced(const Digest& digest);
    Status set_last_use(const Digest& digest, std::uint64_t at_ms);
    /// With its chain.
    Status erase_blob(const Digest& digest);

    /// The raw links; the caller checks them against the grid.
    [[nodiscard]] Result<std::optional<Bytes>> chain(const Digest& digest);
    Status put_chain(const Digest& digest, ByteView links);

    [[nodiscard]] Result<std::vector<CachedPartial>> partials();
    Status put_partial(const CachedPartial& partial);
    Status erase_partial(const Digest& digest);
    /// After an unclean stop: doubts every row, until put_partial() writes it anew.
    Status doubt_partials();

    /// Moves the log into the database and syncs both: what was committed is durable after it.
    Status checkpoint();

  private:
    CacheDb() = default;
    Status prepare_all();

    Db db_;  // first: statements go before it
    Stmt put_blob_, set_synced_, set_last_use_, erase_blob_;
    Stmt get_chain_, put_chain_, erase_chain_, put_partial_, erase_partial_;
};

}  // namespace fastreg::store
