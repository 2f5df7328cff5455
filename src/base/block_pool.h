// A fixed set of buffers. No free block means no new request: that is the back-pressure, end to end.
// The memory is the kernel's to give at a block's first use, and the block used last is given out first,
// so that a node holds what it needed, not what it was allowed; release_unused() gives it back.
// take() from one thread or several; a Block may be dropped on any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "base/instant.h"

namespace fastreg {

class BlockPool;

/// A move-only lease of one buffer; goes back to its pool when it is destroyed.
class Block {
  public:
    Block() = default;
    ~Block() { reset(); }
    Block(Block&& other) noexcept;
    Block& operator=(Block&& other) noexcept;
    Block(const Block&) = delete;
    Block& operator=(const Block&) = delete;

    [[nodiscard]] explicit operator bool() const { return data_ != nullptr; }
    /// The whole capacity.
    [[nodiscard]] std::span<std::byte> room() const { return {data_, capacity_}; }
    /// The bytes that were filled in.
    [[nodiscard]] std::span<std::byte> filled() const { return {data_, size_}; }
    void set_filled(std::size_t size);
    [[nodiscard]] std::size_t size() const { return size_; }
    /// A device may write into it on a peer's word, even now: what was read from it once may read differently
    /// the next time. Store it first, then check what was stored.
    [[nodiscard]] bool may_change() const;
    void reset();

  private:
    friend class BlockPool;
    std::shared_ptr<BlockPool> pool_;
    std::byte* data_ = nullptr;
    std::size_t capacity_ = 0;
    std::size_t size_ = 0;
    std::uint32_t index_ = 0;
};

class BlockPool : public std::enable_shared_from_this<BlockPool> {
  public:
    enum class Pages : std::uint8_t {
        on_use,    // given at a block's first use; may go back
        at_start,  // all there from the start, and kept: what a device is told of must not move
    };

    /// `block_size` a multiple of 4096. `on_freed` is called (any thread) when a block comes back
    /// after try_take() had to say no, so that a driver can go on. Null when there is no memory.
    [[nodiscard]] static std::shared_ptr<BlockPool> create(std::size_t block_size, std::size_t count,
                                                           std::function<void()> on_freed = {},
                                                           Pages pages = Pages::on_use);
    ~BlockPool();

    /// An empty Block when there is none.
    [[nodiscard]] Block try_take();
    [[nodiscard]] std::size_t block_size() const;
    /// All blocks, one after the other: to register them with a device.
    [[nodiscard]] std::span<std::byte> memory() const;
    [[nodiscard]] std::size_t count() const;
    [[nodiscard]] std::size_t free_count() const;
    /// Gives the kernel back the memory of blocks that were not needed for a while: as many as exceed the
    /// most that were in use at once since it last did. May be called as often as one likes, from any
    /// thread: it acts every kQuiet, on a few blocks at a time. Returns how many blocks hold memory.
    static constexpr Duration kQuiet = 10s;
    std::size_t release_unused(Instant now);

  private:
    friend class Block;
    struct Impl;
    explicit BlockPool(std::unique_ptr<Impl> impl);
    void give_back(std::uint32_t index);
    std::unique_ptr<Impl> impl_;
};

}  // namespace fastreg
