#include "base/block_pool.h"

#include <sys/mman.h>

#include <mutex>
#include <utility>
#include <vector>

#include "base/result.h"

namespace fastreg {

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

    ~Impl() {
        if (memory != nullptr) munmap(memory, block_size * count);
    }
};

std::shared_ptr<BlockPool> BlockPool::create(std::size_t block_size, std::size_t count,
                                             std::function<void()> on_freed) {
    FR_ASSERT(block_size > 0 && block_size % 4096 == 0);
    FR_ASSERT(count > 0 && count <= UINT32_MAX);
    auto impl = std::make_unique<Impl>();
    impl->block_size = block_size;
    impl->count = count;
    impl->on_freed = std::move(on_freed);
    void* memory = mmap(nullptr, block_size * count, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
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
    }
    block.pool_ = shared_from_this();
    block.data_ = impl_->memory + block.index_ * impl_->block_size;
    block.capacity_ = impl_->block_size;
    return block;
}

std::size_t BlockPool::block_size() const {
    return impl_->block_size;
}

std::size_t BlockPool::count() const {
    return impl_->count;
}

std::size_t BlockPool::free_count() const {
    const std::lock_guard lock(impl_->mutex);
    return impl_->free.size();
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
