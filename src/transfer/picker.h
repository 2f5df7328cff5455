// Figures out which chunk of one blob to ask a peer for next. Told what peers have and what is under
// way; asked for the rarest, or for the first in order. A value inside the core.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/chunk_map.h"
#include "base/ids.h"
#include "base/random.h"

namespace fastreg::transfer {

class ChunkPicker {
  public:
    ChunkPicker() = default;
    /// All chunks are open: missing, and asked of nobody.
    explicit ChunkPicker(ChunkIndex count);

    void close(ChunkIndex chunk);
    void reopen(ChunkIndex chunk);
    [[nodiscard]] bool is_open(ChunkIndex chunk) const { return open_.has(chunk); }
    [[nodiscard]] ChunkIndex open_count() const { return open_.set_count(); }

    // What neighbours have.
    void on_copy(ChunkIndex chunk);
    void on_copy_gone(ChunkIndex chunk);
    void on_map(const ChunkMap& has);
    void on_map_gone(const ChunkMap& has);
    [[nodiscard]] unsigned copies(ChunkIndex chunk) const { return copies_[chunk]; }

    /// Half-open range of chunks.
    struct Range {
        ChunkIndex first = 0;
        ChunkIndex end = 0;
    };
    /// Among the open chunks in `range` that `has` holds, one with the fewest copies, ties at random.
    /// Looks at 4,096 open chunks at most, from a random one on: a blob of 262,144 stays cheap.
    [[nodiscard]] std::optional<ChunkIndex> rarest(const ChunkMap& has, Range range, Rng& rng) const;
    /// The first open chunk in `range` that `has` holds.
    [[nodiscard]] std::optional<ChunkIndex> first(const ChunkMap& has, Range range) const;

  private:
    ChunkMap open_;
    std::vector<std::uint16_t> copies_;
};

}  // namespace fastreg::transfer
