#include "base/block_pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

#include "base/result.h"

namespace fastreg {
namespace {

/// Blocks given back to the kernel under one hold of the lock.
constexpr std::size_t kReleasedAtOnce = 16;

}  // namespace

Block::Block(Block&& other) noexcept {
    *this = std::move(other);
}

Block& Block::operator=(Block&& other) noexcept {
    if (this == &other) return *this;
    reset();
    pool_ = std::move(other.pool_);
    data_ = std::exchange(other.data_, nullptr);
    capacity_ = std::exchange(other.capacity_, 0);
    size_ = std::exchange(other.size_, 0);
    index_ = other.index_;
    return *this;
}

void Block::set_filled(std::size_t size) {
    FR_ASSERT(size <= capacity_);
    size_ = size;
}

void Block::reset() {
    if (data_ == nullptr) return;
    data_ = nullptr;
    capacity_ = size_ = 0;
    const auto pool = std::move(pool_);  // the last block may be what keeps the pool alive
    pool->give_back(index_);
}

struct BlockPool::Impl {
    std::size_t block_size = 0;
    std::size_t count = 0;
    std::byte* memory = nullptr;
    std::function<void()> on_freed;

    mutable std::mutex mutex;
    std::vector<std::uint32_t> free;  // the last one back is the first one out: its pages are warm
    bool somebody_waits = false;
    Pages pages = Pages::on_use;
    std::vector<bool> touched;    // by block: it may hold memory
    std::size_t touched_count = 0;
    std::size_t most_in_use = 0;  // at once, since release_unused() last acted
    Instant look_at{};

    ~Impl() {
        if (memory != nullptr) munmap(memory, block_size * count);
    }
};

bool Block::may_change() const {
    return pool_ && pool_->impl_->pages == BlockPool::Pages::at_start;
}

std::shared_ptr<BlockPool> BlockPool::create(std::size_t block_size, std::size_t count,
                                             std::function<void()> on_freed,
                                             Pages pages) {
    FR_ASSERT(block_size > 0 && block_size % 4096 == 0);
    FR_ASSERT(count > 0 && count <= UINT32_MAX);
    auto impl = std::make_unique<Impl>();
    impl->block_size = block_size;
    impl->count = count;
    impl->on_freed = std::move(on_freed);
    impl->pages = pages;
    impl->touched.assign(count, pages == Pages::at_start);
    impl->touched_count = pages == Pages::at_start ? count : 0;
    // A device that was told of a page before its first write would read the zero page for ever (Linux before 6.2).
    void* memory = mmap(nullptr, block_size * count, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | (pages == Pages::at_start ? MAP_POPULATE : 0), -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    impl->memory = static_cast<std::byte*>(memory);
    impl->free.reserve(count);
    for (std::size_t i = count; i > 0; --i) impl->free.push_back(static_cast<std::uint32_t>(i - 1));
    return std::shared_ptr<BlockPool>(new BlockPool(std::move(impl)));
}

BlockPool::BlockPool(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
BlockPool::~BlockPool() = default;

Block BlockPool::try_take() {
    Block block;
    {
        const std::lock_guard lock(impl_->mutex);
        if (impl_->free.empty()) {
            impl_->somebody_waits = true;
            return block;
        }
        block.index_ = impl_->free.back();
        impl_->free.pop_back();
        impl_->most_in_use = std::max(impl_->most_in_use, impl_->count - impl_->free.size());
        if (!impl_->touched[block.index_]) {
            impl_->touched[block.index_] = true;
            ++impl_->touched_count;
        }
    }
    block.pool_ = shared_from_this();
    block.data_ = impl_->memory + block.index_ * impl_->block_size;
    block.capacity_ = impl_->block_size;
    return block;
}

std::size_t BlockPool::block_size() const {
    return impl_->block_size;
}

std::span<std::byte> BlockPool::memory() const {
    return {impl_->memory, impl_->block_size * impl_->count};
}

std::size_t BlockPool::count() const {
    return impl_->count;
}

std::size_t BlockPool::free_count() const {
    const std::lock_guard lock(impl_->mutex);
    return impl_->free.size();
}

std::size_t BlockPool::release_unused(Instant now) {
    const std::lock_guard lock(impl_->mutex);
    if (impl_->pages == Pages::at_start || now < impl_->look_at) return impl_->touched_count;
    // Those at the bottom of the pile have been idle the longest.
    std::size_t released = 0;
    for (const std::uint32_t index : impl_->free) {
        if (impl_->touched_count <= impl_->most_in_use || released == kReleasedAtOnce) break;
        if (!impl_->touched[index]) continue;
        if (madvise(impl_->memory + index * impl_->block_size, impl_->block_size, MADV_DONTNEED) != 0) break;
        impl_->touched[index] = false;
        --impl_->touched_count;
        ++released;
    }
    if (released < kReleasedAtOnce) {
        impl_->most_in_use = impl_->count - impl_->free.size();
        impl_->look_at = now + kQuiet;
    }
    return impl_->touched_count;
}

void BlockPool::give_back(std::uint32_t index) {
    bool wake = false;
    {
        const std::lock_guard lock(impl_->mutex);
        impl_->free.push_back(index);
        wake = std::exchange(impl_->somebody_waits, false);
    }
    if (wake && impl_->on_freed) impl_->on_freed();
}

}  // namespace fastreg
