// What the store does to partial blobs on the disk lanes, and what it notes of them on the loop thread.
#pragma once

#include "base/block_pool.h"
#include "base/hash.h"
#include "store/cache_db.h"
#include "store/layout.h"
#include "store/partial.h"

namespace fastreg::store {

class PartialOps {
  public:
    struct Landed {
        ChunkOutcome outcome;
        bool wrote = false;  // false: stored, but by another landing
    };

    // On the lane of the chunk.
    /// Nothing while the chunk is not whole, or when its landing ended before. `aside_path` is where the
    /// bytes wait if another landing of this chunk came first. `may_change`: a peer may write into `data`
    /// even now, so that only what the file holds can be checked.
    [[nodiscard]] static std::optional<Landed> land(Fs& fs,
                                                    ChunkLanding& landing,
                                                    std::uint64_t offset,
                                                    ByteView data,
                                                    bool may_change,
                                                    const std::optional<Xxh128>& checksum,
                                                    const std::string& aside_path);

    // On the lane of the digest, before the Partial is known to anybody else.
    /// Opens or makes the file, of the full size; `known` are the chunks it is said to hold, each hashed
    /// again when they are in doubt.
    [[nodiscard]] static Result<std::shared_ptr<Partial>> open(Fs& fs,
                                                               const Layout& layout,
                                                               const Digest& digest,
                                                               std::uint64_t size,
                                                               const std::optional<CachedPartial>& known);
    /// The chunks of `keep` in a new file that takes the place of the old one.
    [[nodiscard]] static Result<std::shared_ptr<Partial>> copy(Fs& fs,
                                                               const Layout& layout,
                                                               const CachedPartial& keep,
                                                               File& from,
                                                               const std::string& temporary);

    // On the loop thread.
    /// Sets the bit and the links at the chunk's borders, or says `conflict`.
    [[nodiscard]] static ChunkOutcome record(const ChunkLanding& landing, bool wrote);
    [[nodiscard]] static CachedPartial snapshot(const Partial& partial);
    static void close(Partial& partial) { partial.closed_.store(true); }
    /// Drops chunks from a snapshot, and the links that no chunk vouches for any more.
    static void forget(CachedPartial& partial, const ChunkMap& wrong);

  private:
    static std::optional<Landed> end(Fs& fs, ChunkLanding& landing, ChunkOutcome outcome, bool wrote);
    static Status write(Fs& fs,
                        ChunkLanding& landing,
                        std::uint64_t offset,
                        ByteView data,
                        const std::string& aside_path);
    static Status hash_stored(ChunkLanding& landing, std::uint64_t offset, std::uint64_t length);
    static Status bring_in(ChunkLanding& landing);
    static bool chunk_holds(const CachedPartial& partial, File& file, ChunkIndex i);
    static void adopt(Partial& partial, const CachedPartial& known);
};

}  // namespace fastreg::store
