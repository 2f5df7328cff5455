// The digest chain: a blob's own hash, cut at the chunk grid, so that every chunk is proven
// cryptographically in any order (docs/PROTOCOL.md, "Chain").
//
// S_0 is the hash's initial value, S_i its internal state after the first i chunks. Chunk i is valid
// iff compressing it from S_i yields S_i+1; the last one, padded, must yield the digest. When all
// links hold the blob is proven: each byte is hashed once and the OCI digest is the only root.
// Values; any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/digest.h"
#include "base/grid.h"

namespace fastreg {

/// 32 bytes for sha256, 64 for sha512: as wide as the digest. Big-endian words, as in the digest.
[[nodiscard]] constexpr std::size_t link_size(HashAlg alg) { return digest_size(alg); }

/// The interior states S_1 .. S_(n-1) of a blob of n chunks; a claim until its last link holds.
class Chain {
  public:
    Chain() = default;
    /// `links` holds (grid.count() - 1) states of link_size(alg) bytes; anything else is an error.
    [[nodiscard]] static Result<Chain> from_bytes(HashAlg alg, const ChunkGrid& grid, Bytes links);

    [[nodiscard]] HashAlg alg() const { return alg_; }
    [[nodiscard]] ByteView bytes() const { return links_; }
    /// S_i for 0 < i < n; empty for 0 and n, where the hash's own value and the digest stand.
    [[nodiscard]] ByteView state_before(ChunkIndex i) const;
    bool operator==(const Chain&) const = default;

  private:
    HashAlg alg_ = HashAlg::sha256;
    Bytes links_;
};

/// Hashes one chunk from its start state. Feed it in order, in pieces of any size, then ask.
class ChunkHasher {
  public:
    /// `start` is S_i; ignored (may be empty) for chunk 0, which starts from the hash's own value.
    ChunkHasher(const Digest& digest, const ChunkGrid& grid, ChunkIndex index, ByteView start);
    ~ChunkHasher();
    ChunkHasher(ChunkHasher&&) noexcept;
    ChunkHasher& operator=(ChunkHasher&&) noexcept;

    void update(ByteView data);
    /// Bytes fed so far.
    [[nodiscard]] std::uint64_t fed() const;
    /// True when the whole chunk was fed and it ends at `end` = S_(i+1), or, for the last chunk,
    /// when the padded result is the digest (`end` is ignored there). Call once.
    [[nodiscard]] bool holds(ByteView end);
    /// S_(i+1) as these bytes have it, for who makes the chain: the whole chunk was fed, and it is not
    /// the last one.
    [[nodiscard]] Bytes reached() const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

/// Whether `data` is chunk `index`, as far as this chain says: all of ChunkHasher in one call. `chain`
/// is of this digest's algorithm and this grid.
[[nodiscard]] bool chunk_holds(const Digest& digest, const ChunkGrid& grid, const Chain& chain,
                               ChunkIndex index, ByteView data);

/// Hashes a stream of unknown length once and keeps the states at chunk boundaries as it goes: at most
/// 1,025 until the blob passes 4 GiB (every other one is dropped when the grid grows coarser).
class ChainBuilder {
  public:
    explicit ChainBuilder(HashAlg alg = HashAlg::sha256);
    ~ChainBuilder();
    ChainBuilder(ChainBuilder&&) noexcept;
    ChainBuilder& operator=(ChainBuilder&&) noexcept;

    void update(ByteView data);
    [[nodiscard]] std::uint64_t size() const;

    struct Result {
        Digest digest;
        ChunkGrid grid;
        Chain chain;
    };
    /// Call once.
    [[nodiscard]] Result finish();

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace fastreg
