#include "transport/rdma/slots.h"

#include <algorithm>
#include <utility>

namespace fastreg::transport::rdma {
namespace {

/// Of all slots: with more in quarantine peers are failing faster than their queue pairs go away. One peer alone
/// cannot bring that about: it is granted a quarter at the most (Requester::slots_max).
constexpr std::size_t kQuarantineShare = 2;

}  // namespace

Grant& Grant::operator=(Grant&& other) noexcept {
    FR_ASSERT(!block_);
    block_ = std::move(other.block_);
    conn_ = other.conn_;
    generation_ = other.generation_;
    return *this;
}

Block Grant::give_up(const Terminal& proof, std::size_t bytes) && {
    FR_ASSERT(block_ && proof.conn_ == conn_ && proof.generation_ == generation_);
    block_.set_filled(bytes);
    return std::move(block_);
}

std::unique_ptr<LandingPool> LandingPool::create(std::size_t slots, std::size_t slot_size,
                                                 std::function<void()> on_freed) {
    auto blocks = BlockPool::create(slot_size, slots, std::move(on_freed), BlockPool::Pages::at_start);
    if (!blocks) return nullptr;
    return std::unique_ptr<LandingPool>(new LandingPool(std::move(blocks)));
}

LandingPool::~LandingPool() {
    // The queue pairs are gone, or their process is about to be.
    for (Held& held : quarantined_) held.grant.block_.reset();
}

std::optional<Grant> LandingPool::grant(ConnId conn) {
    if (quarantined_.size() * kQuarantineShare >= blocks_->count()) return std::nullopt;
    Grant grant;
    grant.block_ = blocks_->try_take();
    if (!grant.block_) return std::nullopt;
    grant.conn_ = conn;
    grant.generation_ = ++generations_;
    return grant;
}

void LandingPool::quarantine(Grant grant) { quarantined_.push_back({std::move(grant), Instant::never()}); }

void LandingPool::on_queue_gone(const QueueGone& proof, Instant now) {
    for (Held& held : quarantined_) {
        if (held.grant.conn_ == proof.conn_ && held.until == Instant::never()) held.until = now + kHold;
    }
}

void LandingPool::on_deadline(Instant now) {
    std::erase_if(quarantined_, [&](Held& held) {
        if (held.until > now) return false;
        held.grant.block_.reset();
        return true;
    });
}

Instant LandingPool::next_deadline() const {
    Instant next = Instant::never();
    for (const Held& held : quarantined_) next = std::min(next, held.until);
    return next;
}

}  // namespace fastreg::transport::rdma
