// Landing slots: granted, landed, quarantined; never free while a peer may write into them.
#include <doctest/doctest.h>

#include "transport/rdma/slots.h"

namespace fastreg::transport::rdma {

/// Makes the proofs that only links can make.
struct SlotTest {
    static Terminal terminal(const Grant& grant) { return {grant.conn(), grant.generation()}; }
    static QueueGone gone(ConnId conn) { return QueueGone(conn); }
};

namespace {

constexpr std::size_t kSlot = 4096;

TEST_CASE("a granted slot has no way back but a proof") {
    // The bug of every system that freed a slot by a timer: a late write into somebody else's chunk.
    static_assert(!std::is_copy_constructible_v<Grant>);
    static_assert(!std::is_constructible_v<Terminal, ConnId, std::uint32_t>);
    static_assert(!std::is_constructible_v<QueueGone, ConnId>);
    auto pool = LandingPool::create(16, kSlot);
    REQUIRE(pool);
    auto grant = pool->grant(1);
    REQUIRE(grant);
    CHECK(pool->free() == 15);
    const std::byte* place = grant->data();
    Block landed = std::move(*grant).give_up(SlotTest::terminal(*grant), 100);
    CHECK(landed.filled().data() == place);
    CHECK(landed.size() == 100);
    CHECK(landed.may_change());
    CHECK(pool->free() == 15);  // whoever has the bytes has the slot
    landed.reset();
    CHECK(pool->free() == 16);
}

TEST_CASE("two grants of one slot have two generations") {
    // A DONE of an earlier request must not be taken for the end of a later one.
    auto pool = LandingPool::create(16, kSlot);
    auto first = pool->grant(1);
    const auto generation = first->generation();
    const std::byte* place = first->data();
    std::move(*first).give_up(SlotTest::terminal(*first), 0).reset();
    auto second = pool->grant(1);
    CHECK(second->data() == place);
    CHECK(second->generation() != generation);
    std::move(*second).give_up(SlotTest::terminal(*second), 0).reset();
}

TEST_CASE("a quarantined slot waits for its own queue pair, and then a little more") {
    // Time alone frees nothing; the destruction of another connection neither.
    auto pool = LandingPool::create(16, kSlot);
    pool->quarantine(*pool->grant(1));
    pool->quarantine(*pool->grant(2));
    CHECK(pool->quarantined() == 2);
    pool->on_deadline(Instant{} + 1000h);
    CHECK(pool->quarantined() == 2);
    CHECK(pool->next_deadline() == Instant::never());

    const Instant at{5'000'000'000};
    pool->on_queue_gone(SlotTest::gone(2), at);
    CHECK(pool->next_deadline() == at + LandingPool::kHold);
    pool->on_deadline(at + LandingPool::kHold - 1ms);
    CHECK(pool->quarantined() == 2);
    pool->on_deadline(at + LandingPool::kHold);
    CHECK(pool->quarantined() == 1);
    CHECK(pool->free() == 15);
}

TEST_CASE("with half of the slots in quarantine no more are granted") {
    // Peers that fail must not take all memory that RDMA has.
    auto pool = LandingPool::create(16, kSlot);
    for (int i = 0; i < 8; ++i) pool->quarantine(*pool->grant(1));
    CHECK_FALSE(pool->grant(2));
    pool->on_queue_gone(SlotTest::gone(1), Instant{});
    pool->on_deadline(Instant{} + 1s);
    auto again = pool->grant(2);
    REQUIRE(again);
    pool->quarantine(std::move(*again));
}

TEST_CASE("an empty pool says so, and tells when a slot is free again") {
    int freed = 0;
    auto pool = LandingPool::create(2, kSlot, [&] { ++freed; });
    auto a = pool->grant(1);
    auto b = pool->grant(1);
    CHECK_FALSE(pool->grant(1));
    Block landed = std::move(*a).give_up(SlotTest::terminal(*a), 1);
    CHECK(freed == 0);
    landed.reset();
    CHECK(freed == 1);
    std::move(*b).give_up(SlotTest::terminal(*b), 1).reset();
}

}  // namespace
}  // namespace fastreg::transport::rdma
