// The registered memory that chunks are sent from, and what stays in it: a chunk is read once for all peers
// that ask, and leaves when its place is needed and nobody sends it any more (least recently used first).
// Which slot holds what; the bytes are read by others. One thread, the rdma thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/block_pool.h"
#include "base/digest.h"
#include "base/ids.h"

namespace fastreg::transport::rdma {

/// Two files of one name and number are told apart by when they were made (0 where the file system keeps no time).
struct FileIdentity {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    std::int64_t born_s = 0;
    std::uint32_t born_ns = 0;
    auto operator<=>(const FileIdentity&) const = default;
};

/// The file is part of it: a blob that was found damaged is repaired in a new file. So is the place: a peer
/// that names another size of the blob means other bytes by the same chunk.
struct SourceKey {
    Digest digest;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    FileIdentity file;
    auto operator<=>(const SourceKey&) const = default;
};

class SourcePool {
  public:
    using Slot = std::size_t;
    enum class State : std::uint8_t {
        load,     // new: the caller fills it, then says loaded() or failed()
        loading,  // somebody fills it
        ready,
    };
    struct Lease {
        Slot slot = 0;
        State state = State::load;
    };

    /// Null when there is no memory.
    [[nodiscard]] static std::unique_ptr<SourcePool> create(std::size_t slots, std::size_t slot_size);

    [[nodiscard]] std::span<std::byte> memory() const { return blocks_->memory(); }
    [[nodiscard]] std::span<std::byte> room(Slot slot) const;
    /// Counts the caller as a user of the slot until release(); nothing when all slots are in use.
    [[nodiscard]] std::optional<Lease> acquire(const SourceKey& key);
    /// One more user: who fills a slot keeps it, whatever becomes of those that asked.
    void retain(Slot slot) { ++slots_[slot].users; }
    void loaded(Slot slot);
    /// Nobody finds it any more; those that waited release() it.
    void failed(Slot slot);
    void release(Slot slot);

    [[nodiscard]] std::size_t count() const { return slots_.size(); }
    [[nodiscard]] std::size_t in_use() const;

  private:
    struct Place {
        std::optional<SourceKey> key;
        bool ready = false;
        std::size_t users = 0;
        std::uint64_t used = 0;  // when, by a counter
    };
    explicit SourcePool(std::shared_ptr<BlockPool> blocks);
    std::shared_ptr<BlockPool> blocks_;
    std::vector<Place> slots_;
    std::map<SourceKey, Slot> by_key_;
    std::uint64_t clock_ = 0;
};

}  // namespace fastreg::transport::rdma
