// Source slots: a chunk is read once for all who ask, and leaves when nobody sends it.
#include <doctest/doctest.h>

#include "base/hash.h"
#include "transport/rdma/sources.h"

namespace fastreg::transport::rdma {
namespace {

SourceKey key(std::uint64_t chunk, std::uint64_t inode = 1) {
    return {digest_of(HashAlg::sha256, as_bytes("b")), chunk * 4096, 4096, {1, inode, 100, 5}};
}

TEST_CASE("a chunk is loaded once, and found by all who ask while it is and after") {
    auto pool = SourcePool::create(8, 4096);
    const auto first = pool->acquire(key(1));
    REQUIRE(first);
    CHECK(first->state == SourcePool::State::load);
    const auto second = pool->acquire(key(1));
    CHECK(second->slot == first->slot);
    CHECK(second->state == SourcePool::State::loading);
    pool->loaded(first->slot);
    const auto third = pool->acquire(key(1));
    CHECK(third->slot == first->slot);
    CHECK(third->state == SourcePool::State::ready);
    CHECK(pool->in_use() == 1);
    for (int i = 0; i < 3; ++i) pool->release(first->slot);
    CHECK(pool->in_use() == 0);
    CHECK(pool->acquire(key(1))->state == SourcePool::State::ready);
}

TEST_CASE("a repaired blob is read anew") {
    // The bytes of the damaged file must not be sent for those of the new one.
    auto pool = SourcePool::create(8, 4096);
    const auto old = pool->acquire(key(1, 1));
    pool->loaded(old->slot);
    const auto repaired = pool->acquire(key(1, 2));
    CHECK(repaired->state == SourcePool::State::load);
    CHECK(repaired->slot != old->slot);
}

TEST_CASE("a repaired blob that got the number of the file before it is read anew, too") {
    // File systems give the number of a removed file to the next one; when it was made tells them apart.
    auto pool = SourcePool::create(8, 4096);
    pool->loaded(pool->acquire(key(1))->slot);
    SourceKey repaired = key(1);
    ++repaired.file.born_ns;
    CHECK(pool->acquire(repaired)->state == SourcePool::State::load);
}

TEST_CASE("the same place with another length is another chunk") {
    // A peer that lies about the size of a blob must not spoil the chunk of those that do not.
    auto pool = SourcePool::create(8, 4096);
    SourceKey lie = key(1);
    lie.length = 7;
    pool->loaded(pool->acquire(lie)->slot);
    CHECK(pool->acquire(key(1))->state == SourcePool::State::load);
}

TEST_CASE("what is in use stays, the least recently used goes") {
    auto pool = SourcePool::create(8, 4096);
    std::vector<SourcePool::Slot> slots;
    for (std::uint64_t i = 0; i < 8; ++i) {
        slots.push_back(pool->acquire(key(i))->slot);
        pool->loaded(slots.back());
    }
    CHECK_FALSE(pool->acquire(key(100)));  // all in use
    for (std::uint64_t i = 0; i < 8; ++i) {
        if (i != 3) pool->release(slots[i]);
    }
    CHECK(pool->acquire(key(0))->state == SourcePool::State::ready);  // used again: now the youngest
    CHECK(pool->acquire(key(100))->slot == slots[1]);
    CHECK(pool->acquire(key(3))->state == SourcePool::State::ready);
    CHECK(pool->acquire(key(1))->state == SourcePool::State::load);  // it had to leave
}

TEST_CASE("a chunk that could not be read is not found again") {
    auto pool = SourcePool::create(8, 4096);
    const auto first = pool->acquire(key(1));
    (void)pool->acquire(key(1));  // waits for it
    pool->failed(first->slot);
    CHECK(pool->acquire(key(1))->state == SourcePool::State::load);
    CHECK(pool->acquire(key(1))->slot != first->slot);  // two still hold the failed one
    pool->release(first->slot);
    pool->release(first->slot);
    CHECK(pool->in_use() == 1);
}

}  // namespace
}  // namespace fastreg::transport::rdma
