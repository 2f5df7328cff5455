#include "transport/rdma/sources.h"

#include <algorithm>

namespace fastreg::transport::rdma {

std::unique_ptr<SourcePool> SourcePool::create(std::size_t slots, std::size_t slot_size) {
    auto blocks = BlockPool::create(slot_size, slots, {}, BlockPool::Pages::at_start);
    if (!blocks) return nullptr;
    return std::unique_ptr<SourcePool>(new SourcePool(std::move(blocks)));
}

SourcePool::SourcePool(std::shared_ptr<BlockPool> blocks) : blocks_(std::move(blocks)), slots_(blocks_->count()) {}

std::span<std::byte> SourcePool::room(Slot slot) const {
    return memory().subspan(slot * blocks_->block_size(), blocks_->block_size());
}

std::optional<SourcePool::Lease> SourcePool::acquire(const SourceKey& key) {
    if (const auto found = by_key_.find(key); found != by_key_.end()) {
        Place& place = slots_[found->second];
        ++place.users;
        place.used = ++clock_;
        return Lease{found->second, place.ready ? State::ready : State::loading};
    }
    std::optional<Slot> oldest;
    for (Slot i = 0; i < slots_.size(); ++i) {
        if (slots_[i].users == 0 && (!oldest || slots_[i].used < slots_[*oldest].used)) oldest = i;
    }
    if (!oldest) return std::nullopt;
    Place& place = slots_[*oldest];
    if (place.key) by_key_.erase(*place.key);
    place = {key, false, 1, ++clock_};
    by_key_.emplace(key, *oldest);
    return Lease{*oldest, State::load};
}

void SourcePool::loaded(Slot slot) { slots_[slot].ready = true; }

void SourcePool::failed(Slot slot) {
    Place& place = slots_[slot];
    if (place.key) by_key_.erase(*place.key);
    place.key.reset();
}

void SourcePool::release(Slot slot) {
    FR_ASSERT(slots_[slot].users > 0);
    --slots_[slot].users;
}

std::size_t SourcePool::in_use() const {
    return static_cast<std::size_t>(std::ranges::count_if(slots_, [](const Place& p) { return p.users > 0; }));
}

}  // namespace fastreg::transport::rdma
