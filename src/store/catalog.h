// "Do we have it?", answered from memory. Owned by the loop thread.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/digest.h"

namespace fastreg::store {

/// What is known of one complete blob.
struct BlobInfo {
    std::uint64_t size = 0;
    bool verified = false;  // its bytes were hashed and nothing since gives a reason to doubt them;
                            // while false, call Store::verify before the first byte is served
    bool synced = false;    // bytes and name survive a loss of power
    bool pushed = false;    // came from a client of this node, or was marked so
    bool home = false;      // this node is one of its homes: never cache
    bool pinned = false;
    std::uint64_t last_use_ms = 0;  // wall clock, for the order of eviction only

    bool operator==(const BlobInfo&) const = default;
};

struct BlobEntry {
    Digest digest;
    BlobInfo info;
};

class Catalog {
  public:
    [[nodiscard]] std::optional<BlobInfo> find(const Digest& digest) const;
    /// Adds or replaces.
    void put(const Digest& digest, const BlobInfo& info);
    /// False when it was not there.
    bool remove(const Digest& digest);
    /// Nullptr when it is not there; its size must not be changed through this.
    [[nodiscard]] BlobInfo* edit(const Digest& digest);

    [[nodiscard]] std::size_t count() const { return blobs_.size(); }
    [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
    /// In the order of the digests.
    [[nodiscard]] std::vector<BlobEntry> list() const;

  private:
    std::unordered_map<Digest, BlobInfo> blobs_;
    std::uint64_t bytes_ = 0;
};

}  // namespace fastreg::store
