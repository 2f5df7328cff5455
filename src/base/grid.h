// The chunk grid: how a blob is cut, a pure function of its size (docs/PROTOCOL.md, "Grid").
// chunk size = clamp(bit_ceil(ceil(size / 1024)), 128 KiB, 4 MiB). A value.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "base/ids.h"

namespace fastreg {

inline constexpr std::uint64_t kChunkSizeMin = 128ULL << 10U;
inline constexpr std::uint64_t kChunkSizeMax = 4ULL << 20U;
/// Larger blobs are refused everywhere.
inline constexpr std::uint64_t kBlobSizeMax = 1ULL << 40U;

[[nodiscard]] constexpr std::uint64_t chunk_size_for(std::uint64_t blob_size) {
    return std::clamp(std::bit_ceil((blob_size + 1023) / 1024), kChunkSizeMin, kChunkSizeMax);
}

/// An empty blob has one empty chunk, so that every blob has a last chunk to check.
class ChunkGrid {
  public:
    constexpr ChunkGrid() = default;
    /// `blob_size` is at most kBlobSizeMax.
    constexpr explicit ChunkGrid(std::uint64_t blob_size)
        : size_(blob_size), chunk_size_(chunk_size_for(blob_size)) {}

    [[nodiscard]] constexpr std::uint64_t blob_size() const { return size_; }
    [[nodiscard]] constexpr std::uint64_t chunk_size() const { return chunk_size_; }
    [[nodiscard]] constexpr ChunkIndex count() const {
        return size_ == 0 ? 1 : static_cast<ChunkIndex>((size_ + chunk_size_ - 1) / chunk_size_);
    }
    [[nodiscard]] constexpr std::uint64_t offset_of(ChunkIndex i) const { return i * chunk_size_; }
    [[nodiscard]] constexpr std::uint64_t size_of(ChunkIndex i) const {
        return std::min(chunk_size_, size_ - offset_of(i));
    }
    [[nodiscard]] constexpr bool is_last(ChunkIndex i) const { return i + 1 == count(); }
    [[nodiscard]] constexpr ChunkIndex index_at(std::uint64_t offset) const {
        return static_cast<ChunkIndex>(offset / chunk_size_);
    }

  private:
    std::uint64_t size_ = 0;
    std::uint64_t chunk_size_ = kChunkSizeMin;
};

}  // namespace fastreg
