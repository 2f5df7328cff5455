// What crosses threads: mailboxes, workers and blocks. Run under the thread sanitizer too.
#include <doctest/doctest.h>
#include <sys/mman.h>

#include <atomic>
#include <memory>
#include <set>
#include <thread>

#include "base/block_pool.h"
#include "base/mailbox.h"
#include "base/worker.h"

using namespace fastreg;

TEST_CASE("a mailbox keeps the order of each sender and loses nothing") {
    // A completion that is lost is a transfer that hangs.
    std::atomic<int> wakes{0};
    Mailbox<std::pair<int, int>> mailbox([&] { ++wakes; });
    constexpr int kEach = 20'000;
    std::vector<int> next(3, 0);
    std::size_t received = 0;
    {
        std::vector<Thread> senders;
        for (int s = 0; s < 3; ++s) {
            senders.emplace_back("sender", [&mailbox, s] {
                for (int i = 0; i < kEach; ++i) mailbox.post({s, i});
            });
        }
        while (received < 3 * kEach) {
            const auto items = mailbox.take();
            if (items.empty()) std::this_thread::yield();
            for (const auto& [sender, number] : items) {
                if (number != next[static_cast<std::size_t>(sender)]++) FAIL("out of order");
            }
            received += items.size();
        }
    }
    CHECK(received == 3 * kEach);
    CHECK(mailbox.take().empty());
    CHECK(wakes > 0);
}

TEST_CASE("a mailbox wakes its owner once a batch") {
    // One wake-up for a hundred posts is what makes batches cheap; none would be a hang.
    int wakes = 0;
    Mailbox<std::unique_ptr<int>> mailbox([&] { ++wakes; });
    for (int i = 0; i < 100; ++i) mailbox.post(std::make_unique<int>(i));
    CHECK(wakes == 1);
    CHECK(mailbox.take().size() == 100);
    mailbox.post(nullptr);
    CHECK(wakes == 2);
}

TEST_CASE("a mailbox may be posted to from its own wake-up") {
    // The wake-up runs outside the lock: a driver may answer from there.
    Mailbox<int> mailbox;
    bool again = true;
    mailbox.set_wake([&] {
        if (std::exchange(again, false)) mailbox.post(2);
    });
    mailbox.post(1);
    CHECK(mailbox.take() == std::vector<int>{1, 2});
}

TEST_CASE("a worker runs its jobs in order and all of them before it goes") {
    // Jobs still queued at the end are writes that were promised.
    std::vector<int> ran;
    std::thread::id other;
    {
        Worker worker("test-worker-with-a-long-name");
        worker.post([&] { other = std::this_thread::get_id(); });
        for (int i = 0; i < 1000; ++i) worker.post([&ran, i] { ran.push_back(i); });
        worker.post([&] { worker.post([&] { ran.push_back(1000); }); });
    }
    REQUIRE(ran.size() == 1001);
    for (int i = 0; i <= 1000; ++i) CHECK(ran[static_cast<std::size_t>(i)] == i);
    CHECK(other != std::this_thread::get_id());
    CHECK(processor_count() >= 1);
}

TEST_CASE("assigning a thread waits for the one before") {
    // A thread that is forgotten would end the program.
    std::atomic<bool> first_ended{false};
    Thread thread("first", [&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        first_ended = true;
    });
    thread = Thread("second", [] {});
    CHECK(first_ended);
    Thread moved = std::move(thread);
    moved.join();
    moved.join();
}

TEST_CASE("blocks are distinct, whole and come back") {
    // Two owners of one block would be two blobs in one buffer.
    const auto pool = BlockPool::create(8192, 4);
    REQUIRE(pool);
    CHECK(pool->block_size() == 8192);
    CHECK(pool->count() == 4);
    std::set<std::byte*> places;
    std::vector<Block> blocks;
    while (Block block = pool->try_take()) {
        CHECK(block.room().size() == 8192);
        CHECK(block.size() == 0);
        std::ranges::fill(block.room(), static_cast<std::byte>(blocks.size()));
        block.set_filled(100);
        places.insert(block.room().data());
        blocks.push_back(std::move(block));
        CHECK_FALSE(block);  // NOLINT: a moved-from block is empty
    }
    CHECK(blocks.size() == 4);
    CHECK(places.size() == 4);
    for (std::size_t i = 0; i < 4; ++i) {
        CHECK(blocks[i].filled().size() == 100);
        CHECK(blocks[i].room().back() == static_cast<std::byte>(i));
    }
    CHECK(pool->free_count() == 0);
    blocks[1] = std::move(blocks[2]);  // drops what it held
    CHECK(pool->free_count() == 1);
    blocks.clear();
    CHECK(pool->free_count() == 4);
    Block fresh = pool->try_take();
    CHECK(fresh.size() == 0);
    fresh.reset();
    fresh.reset();
    CHECK(pool->free_count() == 4);
}

TEST_CASE("a freed block is announced to who was refused, once") {
    // No news would stall the stream that waits; news for nothing would wake the loop per chunk.
    int news = 0;
    const auto pool = BlockPool::create(4096, 2, [&] { ++news; });
    Block a = pool->try_take();
    a.reset();
    CHECK(news == 0);
    a = pool->try_take();
    Block b = pool->try_take();
    CHECK_FALSE(pool->try_take());
    CHECK_FALSE(pool->try_take());
    a.reset();
    b.reset();
    CHECK(news == 1);
}

TEST_CASE("a block keeps its pool alive") {
    // A disk worker may finish after the node that owned the pool.
    auto pool = BlockPool::create(4096, 1);
    Block block = pool->try_take();
    const std::weak_ptr<BlockPool> watch = pool;
    pool.reset();
    CHECK_FALSE(watch.expired());
    block.room()[4095] = std::byte{1};
    block.reset();
    CHECK(watch.expired());
}

namespace {

/// Whether the kernel has given memory to the first page of the block.
bool in_memory(const std::byte* block) {
    unsigned char page = 0;
    REQUIRE(mincore(const_cast<std::byte*>(block), 4096, &page) == 0);
    return (page & 1U) != 0;
}

}  // namespace

TEST_CASE("a pool holds memory for the blocks that were used, and gives it back after a quiet time") {
    // A node that only gossips must not hold the 64 MiB its pools may grow to.
    const auto pool = BlockPool::create(4096, 64);
    const Instant begin{1'000'000};
    CHECK(pool->release_unused(begin) == 0);
    std::vector<Block> blocks;
    std::vector<const std::byte*> places;
    for (int i = 0; i < 40; ++i) {
        blocks.push_back(pool->try_take());
        places.push_back(blocks.back().room().data());
        CHECK_FALSE(in_memory(places.back()));
        blocks.back().room()[0] = std::byte{7};
        CHECK(in_memory(places.back()));
    }
    blocks.resize(4);
    Instant now = begin + BlockPool::kQuiet;
    CHECK(pool->release_unused(now) == 40);  // 40 were in use at once a moment ago
    CHECK(pool->release_unused(now + 1s) == 40);
    now = now + BlockPool::kQuiet;
    CHECK(pool->release_unused(now) == 24);
    CHECK(pool->release_unused(now) == 8);  // a few at a time: takers wait meanwhile
    CHECK(pool->release_unused(now) == 4);
    for (std::size_t i = 0; i < places.size(); ++i) CHECK(in_memory(places[i]) == (i < 4));
    CHECK(blocks[3].room()[0] == std::byte{7});
    while (Block block = pool->try_take()) blocks.push_back(std::move(block));
    CHECK(blocks.size() == 64);
}

TEST_CASE("a pool for a device has all its memory from the start and keeps it") {
    // What a network card was told of must not move under it.
    const auto pool = BlockPool::create(4096, 8, {}, BlockPool::Pages::at_start);
    Block block = pool->try_take();
    const std::byte* place = block.room().data();
    CHECK(in_memory(place));
    block.reset();
    for (int i = 1; i < 5; ++i) CHECK(pool->release_unused(Instant{} + BlockPool::kQuiet * i) == 8);
    CHECK(in_memory(place));
}

TEST_CASE("blocks may be dropped on other threads") {
    // Taken by the loop, dropped by io threads and disk workers.
    std::atomic<int> news{0};
    const auto pool = BlockPool::create(4096, 8, [&] { ++news; });
    {
        Worker a("drop-a");
        Worker b("drop-b");
        for (int i = 0; i < 5000;) {
            Block block = pool->try_take();
            if (!block) {
                std::this_thread::yield();
                continue;
            }
            auto shared = std::make_shared<Block>(std::move(block));
            (i % 2 == 0 ? a : b).post([shared] { shared->reset(); });
            ++i;
        }
    }
    CHECK(pool->free_count() == 8);
}
