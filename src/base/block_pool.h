// A fixed set of buffers, allocated and touched once at start (fresh pages cost 0.5-1 s/GB on a
// virtual machine). No free block means no new request: that is the back-pressure, end to end.
// take() from one thread or several; a Block may be dropped on any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

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
    /// `block_size` a multiple of 4096. `on_freed` is called (any thread) when a block comes back
    /// after try_take() had to say no, so that a driver can go on. Null when there is no memory.
    [[nodiscard]] static std::shared_ptr<BlockPool> create(std::size_t block_size, std::size_t count,
                                                           std::function<void()> on_freed = {});
    ~BlockPool();

    /// An empty Block when there is none.
    [[nodiscard]] Block try_take();
    [[nodiscard]] std::size_t block_size() const;
    [[nodiscard]] std::size_t count() const;
    [[nodiscard]] std::size_t free_count() const;

  private:
    friend class Block;
    struct Impl;
    explicit BlockPool(std::unique_ptr<Impl> impl);
    void give_back(std::uint32_t index);
    std::unique_ptr<Impl> impl_;
};

}  // namespace fastreg
