// A blob that is still arriving, and the landing of one of its chunks. Made by the loop thread through
// Store; what other threads may touch says so.
#pragma once

#include <atomic>
#include <memory>
#include <optional>

#include "base/chain.h"
#include "base/chunk_map.h"
#include "base/digest.h"
#include "base/grid.h"
#include "store/fs.h"

namespace fastreg::store {

/// How the landing of a chunk ended.
enum class ChunkOutcome {
    stored,        // written, and its link holds (or another landing of it had done so before)
    bad_checksum,  // a block's XXH3-128 differs, or a block is out of order or too long: the sender's fault
    bad_link,      // the bytes do not lead from the start link to the end link
    conflict,      // the link holds, but a neighbour was verified with another state at the shared
                   // border: two chains were mixed, and Store::revoke must drop one of them
    closed,        // the partial was finished, dropped or revoked meanwhile
    disk_full,
    disk_error,
};
[[nodiscard]] std::string_view name_of(ChunkOutcome outcome);

/// Sparse file of the blob's full size plus the map of verified chunks.
class Partial {
  public:
    Partial(const Digest& digest, std::uint64_t size, std::shared_ptr<File> file);

    [[nodiscard]] const Digest& digest() const { return digest_; }
    [[nodiscard]] const ChunkGrid& grid() const { return grid_; }
    [[nodiscard]] std::uint64_t size() const { return grid_.blob_size(); }
    /// Any thread; the same inode before and after the blob is finished. Only verified chunks hold
    /// bytes worth reading.
    [[nodiscard]] const std::shared_ptr<File>& file() const { return file_; }

    /// Loop thread. The chunks whose link holds.
    [[nodiscard]] const ChunkMap& map() const { return map_; }
    /// Loop thread. The state before chunk i as verified chunks agree on it; empty when none does.
    [[nodiscard]] ByteView link_before(ChunkIndex i) const;
    /// Loop thread. Complete, and therefore proven, once map().full().
    [[nodiscard]] Result<Chain> chain() const;
    /// Loop thread. Finished, dropped or revoked: nothing may land in it any more.
    [[nodiscard]] bool closed() const { return closed_.load(std::memory_order_relaxed); }

  private:
    friend class ChunkLanding;
    friend class PartialOps;

    /// spoiled: it was verified under a chain that disagrees; who began before that has lost its place,
    /// who comes now writes aside.
    enum class ChunkState : std::uint8_t { empty, landing, verified, spoiled };
    [[nodiscard]] std::atomic<ChunkState>& state(ChunkIndex i) { return states_[i]; }

    Digest digest_;
    ChunkGrid grid_;
    std::size_t link_size_;
    std::shared_ptr<File> file_;
    std::unique_ptr<std::atomic<ChunkState>[]> states_;  // written on the lane of the chunk
    std::atomic<std::uint64_t> unsynced_bytes_{0};
    std::atomic<bool> closed_{false};
    // The loop thread's own.
    ChunkMap map_;
    ChunkMap borders_;  // which of links_ are known
    Bytes links_;       // S_1 .. S_(n-1)
};

/// One chunk on its way into a Partial, from one sender. Drop the last reference to give it up.
class ChunkLanding {
  public:
    /// Loop thread. `start` is S_i (ignored for chunk 0), `end` is S_(i+1) (ignored for the last one).
    /// Errc::invalid_argument when an index or a length is wrong.
    [[nodiscard]] static Result<std::shared_ptr<ChunkLanding>> create(
        std::shared_ptr<Partial> partial, ChunkIndex index, ByteView start, ByteView end);
    /// Loop thread. Bytes first hand from the origin, whose chain is still being made: nothing is compared
    /// but, for the last chunk, the digest. After `stored` the end link is
    /// partial()->link_before(index + 1). `start` as in create().
    [[nodiscard]] static Result<std::shared_ptr<ChunkLanding>> first_hand(
        std::shared_ptr<Partial> partial, ChunkIndex index, ByteView start);
    ~ChunkLanding();
    ChunkLanding(const ChunkLanding&) = delete;
    ChunkLanding& operator=(const ChunkLanding&) = delete;

    [[nodiscard]] const std::shared_ptr<Partial>& partial() const { return partial_; }
    [[nodiscard]] ChunkIndex index() const { return index_; }

  private:
    friend class PartialOps;
    ChunkLanding(std::shared_ptr<Partial> partial,
                 ChunkIndex index,
                 ByteView start,
                 ByteView end,
                 bool first_hand);
    static Status check(const Partial& partial, ChunkIndex index, ByteView start);
    static Status check_link(const Partial& partial, ByteView link);

    std::shared_ptr<Partial> partial_;
    ChunkIndex index_;
    Bytes start_;
    Bytes end_;  // of a first-hand landing: found by its lane
    bool first_hand_ = false;
    // The lane's own.
    ChunkHasher hasher_;
    bool owns_chunk_ = false;
    bool ended_ = false;
    std::shared_ptr<File> aside_;  // another landing is writing this chunk: these bytes wait here
    std::string aside_path_;
};

}  // namespace fastreg::store
