// Landing slots: memory of this node that one peer at a time may write into, and the one way back. A slot
// that was granted is free again only when the peer's terminal message for it was received on the same queue
// pair, or when that queue pair was destroyed - never by a timer. The types hold that: a Grant gives its slot
// up for a Terminal or a QueueGone, and only a link can make those. One thread, the rdma thread; the Block
// that a landed slot becomes may be dropped on any thread.
//
//   free -> Grant -> (Terminal)  landed Block -> free
//                 -> (QueueGone) held 100 ms  -> free
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/block_pool.h"
#include "base/ids.h"
#include "base/instant.h"
#include "base/result.h"
#include "transport/rdma/verbs.h"

namespace fastreg::transport::rdma {

class Link;
class Requester;
class LandingPool;

/// The peer said, on `conn`, how the request of this slot ended: it writes no more into it.
class Terminal {
  private:
    friend class Requester;
    friend class Grant;
    friend struct SlotTest;
    Terminal(ConnId conn, std::uint32_t generation) : conn_(conn), generation_(generation) {}
    ConnId conn_;
    std::uint32_t generation_;
};

/// The queue pair of `conn` was destroyed: nobody writes through it any more.
class QueueGone {
  private:
    friend class Link;
    friend class LandingPool;
    friend struct SlotTest;
    explicit QueueGone(ConnId conn) : conn_(conn) {}
    ConnId conn_;
};

/// A slot that the peer of one connection may write into. Move-only; has to be given up through one of the
/// two proofs, and a program that forgets one ends there (FR_ASSERT) instead of giving the memory out again.
class Grant {
  public:
    Grant() = default;
    ~Grant() { FR_ASSERT(!block_); }
    Grant(Grant&&) noexcept = default;
    Grant& operator=(Grant&& other) noexcept;
    Grant(const Grant&) = delete;
    Grant& operator=(const Grant&) = delete;

    [[nodiscard]] explicit operator bool() const { return static_cast<bool>(block_); }
    [[nodiscard]] ConnId conn() const { return conn_; }
    [[nodiscard]] std::uint32_t generation() const { return generation_; }
    [[nodiscard]] const std::byte* data() const { return block_.room().data(); }
    [[nodiscard]] std::size_t size() const { return block_.room().size(); }

    /// The slot with the bytes that landed in it; dropping it frees the slot.
    [[nodiscard]] Block give_up(const Terminal& proof, std::size_t bytes) &&;

  private:
    friend class LandingPool;
    Block block_;
    ConnId conn_ = 0;
    std::uint32_t generation_ = 0;
};

class LandingPool {
  public:
    /// After the destruction of a queue pair: an extra for writes a device has under way to memory. The
    /// proof is the destruction (protocols.md 9).
    static constexpr Duration kHold = 100ms;

    /// Null when there is no memory.
    [[nodiscard]] static std::unique_ptr<LandingPool> create(std::size_t slots, std::size_t slot_size,
                                                             std::function<void()> on_freed = {});
    ~LandingPool();

    [[nodiscard]] std::span<std::byte> memory() const { return blocks_->memory(); }
    /// Nothing when no slot is free, or half of them wait for queue pairs to go.
    [[nodiscard]] std::optional<Grant> grant(ConnId conn);
    /// For a request whose end will not come: the slot waits for its queue pair's destruction.
    void quarantine(Grant grant);
    void on_queue_gone(const QueueGone& proof, Instant now);
    /// Frees what was held long enough.
    void on_deadline(Instant now);
    [[nodiscard]] Instant next_deadline() const;

    [[nodiscard]] std::size_t count() const { return blocks_->count(); }
    [[nodiscard]] std::size_t free() const { return blocks_->free_count(); }
    [[nodiscard]] std::size_t quarantined() const { return quarantined_.size(); }

  private:
    struct Held {
        Grant grant;
        Instant until = Instant::never();  // never: its queue pair lives
    };
    explicit LandingPool(std::shared_ptr<BlockPool> blocks) : blocks_(std::move(blocks)) {}
    std::shared_ptr<BlockPool> blocks_;
    std::uint32_t generations_ = 0;
    std::vector<Held> quarantined_;
};

}  // namespace fastreg::transport::rdma
