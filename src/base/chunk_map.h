// Which chunks of one blob somebody has: a bit a chunk. A value; owned by one thread.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"

namespace fastreg {

class ChunkMap {
  public:
    ChunkMap() = default;
    explicit ChunkMap(ChunkIndex count, bool full = false);

    [[nodiscard]] ChunkIndex count() const { return count_; }
    [[nodiscard]] ChunkIndex set_count() const { return set_; }
    [[nodiscard]] bool full() const { return set_ == count_; }
    [[nodiscard]] bool has(ChunkIndex i) const {
        return i < count_ && ((words_[i / 64] >> (i % 64)) & 1U) != 0;
    }
    /// True when the bit was not set before.
    bool set(ChunkIndex i);
    bool clear(ChunkIndex i);
    void set_all();
    /// The first index at or after `from` that is not set; count() when there is none.
    [[nodiscard]] ChunkIndex first_missing(ChunkIndex from = 0) const;
    [[nodiscard]] ChunkIndex first_set(ChunkIndex from = 0) const;

    /// One bit a chunk, lowest index in the lowest bit; (count + 7) / 8 bytes.
    [[nodiscard]] Bytes to_bytes() const;
    /// False when the length is wrong or a bit past the end is set.
    [[nodiscard]] bool from_bytes(ChunkIndex count, ByteView bytes);

    bool operator==(const ChunkMap&) const = default;

  private:
    ChunkIndex count_ = 0;
    ChunkIndex set_ = 0;
    std::vector<std::uint64_t> words_;
};

}  // namespace fastreg
