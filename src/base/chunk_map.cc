#include "base/chunk_map.h"

#include "base/result.h"

namespace fastreg {

ChunkMap::ChunkMap(ChunkIndex count, bool full) : count_(count), words_((count + 63) / 64) {
    if (full) set_all();
}

bool ChunkMap::set(ChunkIndex i) {
    FR_ASSERT(i < count_);
    if (has(i)) return false;
    words_[i / 64] |= 1ULL << (i % 64);
    ++set_;
    return true;
}

bool ChunkMap::clear(ChunkIndex i) {
    if (!has(i)) return false;
    words_[i / 64] &= ~(1ULL << (i % 64));
    --set_;
    return true;
}

void ChunkMap::set_all() {
    for (auto& word : words_) word = ~0ULL;
    if (count_ % 64 != 0) words_.back() = (1ULL << (count_ % 64)) - 1;
    set_ = count_;
}

ChunkIndex ChunkMap::first_missing(ChunkIndex from) const {
    for (ChunkIndex w = from / 64; w < words_.size(); ++w) {
        std::uint64_t missing = ~words_[w];
        if (w == from / 64) missing &= ~0ULL << (from % 64);
        if (missing != 0) {
            const auto i = w * 64 + static_cast<ChunkIndex>(std::countr_zero(missing));
            return i < count_ ? i : count_;
        }
    }
    return count_;
}

ChunkIndex ChunkMap::first_set(ChunkIndex from) const {
    for (ChunkIndex w = from / 64; w < words_.size(); ++w) {
        std::uint64_t present = words_[w];
        if (w == from / 64) present &= ~0ULL << (from % 64);
        if (present != 0) return w * 64 + static_cast<ChunkIndex>(std::countr_zero(present));
    }
    return count_;
}

Bytes ChunkMap::to_bytes() const {
    Bytes bytes((count_ + 7) / 8);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        bytes[i] = static_cast<std::byte>(words_[i / 8] >> (8 * (i % 8)));
    }
    return bytes;
}

bool ChunkMap::from_bytes(ChunkIndex count, ByteView bytes) {
    if (bytes.size() != (std::size_t{count} + 7) / 8) return false;
    if (count % 8 != 0 && (std::to_integer<unsigned>(bytes.back()) >> (count % 8)) != 0) return false;
    count_ = count;
    set_ = 0;
    words_.assign((count + 63) / 64, 0);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        words_[i / 8] |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * (i % 8));
        set_ += static_cast<ChunkIndex>(std::popcount(std::to_integer<unsigned>(bytes[i])));
    }
    return true;
}

}  // namespace fastreg
