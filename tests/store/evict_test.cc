// What makes room for what: cached copies that nobody uses, those that were used longest ago first; never a home, a
// push, a pin, or what is being read.
#include <algorithm>

#include "rig.h"
#include "tests/support/holding_executor.h"

using namespace fastreg;
using namespace fastreg::store;

namespace {

constexpr std::size_t kSize = 200'000;

/// Room for five blobs of kSize; the watermarks are 950,000 and 900,000 bytes.
struct Small : Rig {
    Small() : Rig(false) { open(options()); }
    static Options options() {
        auto made = test_options();
        made.max_bytes = 5 * kSize;
        return made;
    }
    TestBlob cached(std::uint64_t seed) {
        auto blob = make_blob(kSize, seed);
        const auto partial = open_partial(blob);
        REQUIRE(partial);
        // The disk in memory keeps the pages of a file as long as the making of its name is not durable.
        REQUIRE(fs.fsync_dir(std::string(kDir) + "/partial"));
        for (ChunkIndex i = 0; i < blob.grid.count(); ++i) REQUIRE(land(*partial, blob, i) == ChunkOutcome::stored);
        REQUIRE(finish(*partial, Durability::deferred));
        return blob;
    }
    [[nodiscard]] bool here(const TestBlob& blob) const { return store->find(blob.digest).has_value(); }
    void set_home(const TestBlob& blob, bool home) {
        std::optional<Status> done;
        store->set_home(blob.digest, blob.data.size(), home, [&](Status status) { done = std::move(status); });
        REQUIRE(*done);
    }
    void observe(Observer with = {}) {
        with.on_withdrawn = [this](const Digest& digest, const BlobInfo& info, WithdrawReason why) {
            CHECK(why == WithdrawReason::evicted);
            CHECK(info.size == kSize);
            gone.push_back(digest);
        };
        store->observe(std::move(with));
    }
    std::vector<Digest> gone;
};

/// Five cached blobs, which fill it, on a disk whose answers can be held back.
struct Full {
    Full() {
        auto opened = Store::open(fs, executor, Small::options());
        REQUIRE(opened);
        store = std::move(*opened);
        for (std::uint64_t seed = 1; seed <= 5; ++seed) {
            const auto blob = make_blob(kSize, seed);
            bool kept = false;
            store->put_small(blob.digest, blob.data, false, Durability::deferred,
                             [&](const Status& status) { kept = status.has_value(); });
            REQUIRE(kept);
        }
    }
    test::MemoryFs fs;
    test::HoldingExecutor executor;
    std::unique_ptr<Store> store;
};

}  // namespace

TEST_CASE("cached copies make room for a blob that is pulled, those used longest ago first") {
    Small rig;
    rig.observe();
    const auto first = rig.cached(1);
    const auto second = rig.cached(2);
    const auto third = rig.cached(3);
    const auto fourth = rig.cached(4);
    rig.store->touch(first.digest);
    const auto fifth = rig.cached(5);
    const auto sixth = rig.cached(6);  // so that it fits, and on, down to the low watermark
    CHECK(rig.gone == std::vector{second.digest, third.digest});
    CHECK(rig.here(first));
    CHECK(rig.read(sixth.digest) == sixth.data);
    CHECK_FALSE(rig.fs.stat(blob_path(second.digest)));
    CHECK(rig.store->totals().used_bytes() == 4 * kSize);
    // A restart knows the same, and in the same order.
    rig.close();
    auto later = Small::options();
    later.wall_ms = [now = std::make_shared<std::uint64_t>(2'000'000)] { return ++*now; };
    rig.open(later);
    rig.observe();
    CHECK_FALSE(rig.here(second));
    const auto seventh = rig.cached(7);
    const auto eighth = rig.cached(8);
    CHECK(rig.gone == std::vector{second.digest, third.digest, fourth.digest, first.digest});
    CHECK(rig.here(fifth));
    CHECK(rig.here(eighth));
}

TEST_CASE("homes, pushes, pins and what is being read stay, whatever is asked for") {
    Small rig;
    rig.observe();
    const auto home = rig.cached(1);
    rig.set_home(home, true);
    const auto pushed = make_blob(kSize, 2);
    REQUIRE(rig.push(pushed));
    const auto pinned = rig.cached(3);
    std::optional<Status> done;
    rig.store->set_pinned(pinned.digest, kSize, true, [&](Status status) { done = std::move(status); });
    REQUIRE(*done);
    const auto read = rig.cached(4);
    auto reading = rig.store->open_blob(read.digest);
    REQUIRE(reading);
    const auto loose = rig.cached(5);

    const auto more = make_blob(2 * kSize, 6);
    const auto refused = rig.open_partial(more);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == Errc::no_space);
    CHECK(refused.error().what.find("what is pinned and what is being read does not make room") != std::string::npos);
    CHECK(rig.gone == std::vector{loose.digest});  // it was tried

    reading->reset();
    CHECK(rig.open_partial(more));
    CHECK(rig.gone == std::vector{loose.digest, read.digest});
    for (const auto* blob : {&home, &pushed, &pinned}) CHECK(rig.read(blob->digest) == blob->data);
}

TEST_CASE("who is asked may keep a copy") {
    // A peer is sent chunks of it, and no file is open between two of them.
    Small rig;
    std::optional<Digest> wanted;
    Observer observer;
    observer.may_evict = [&](const Digest& digest) { return digest != wanted; };
    rig.observe(std::move(observer));
    const auto first = rig.cached(1);
    wanted = first.digest;
    const auto second = rig.cached(2);
    for (std::uint64_t seed = 3; seed <= 6; ++seed) (void)rig.cached(seed);
    CHECK(rig.here(first));
    CHECK(rig.gone.front() == second.digest);
}

TEST_CASE("a push finds room as it comes, block by block and in order, though copies go one after the other") {
    Small rig;
    for (std::uint64_t seed = 1; seed <= 5; ++seed) (void)rig.cached(seed);
    const auto pushed = make_blob(3 * kSize, 9);
    REQUIRE(rig.push(pushed));
    CHECK(rig.read(pushed.digest) == pushed.data);
    CHECK(rig.store->totals().used_bytes() <= 5 * kSize);
    std::optional<Status> room;
    rig.store->ask_room(2 * kSize, [&](Status status) { room = std::move(status); });
    CHECK(*room);
    rig.store->ask_room(2 * kSize + 1, [&](Status status) { room = std::move(status); });
    CHECK(room->error().code == Errc::no_space);
}

TEST_CASE("blocks of a push that wait for room are written in the order they came") {
    Full full;
    auto& executor = full.executor;
    auto& store = full.store;
    const auto pushed = make_blob(kSize, 7);
    std::shared_ptr<UploadFile> upload;
    store->begin_upload([&](Result<std::shared_ptr<UploadFile>> begun) { upload = *begun; });
    executor.hold();
    std::vector<std::size_t> written;
    constexpr std::size_t kPiece = 50'000;
    for (std::size_t at = 0; at < kSize; at += kPiece) {  // all of them at once: none has room yet
        store->append(upload, make_block(ByteView(pushed.data).subspan(at, kPiece)), [&, at](const Status& status) {
            REQUIRE(status);
            written.push_back(at);
        });
    }
    CHECK(written.empty());
    executor.let_go();
    CHECK(written == std::vector<std::size_t>{0, kPiece, 2 * kPiece, 3 * kPiece});
    std::optional<Result<BlobInfo>> info;
    store->commit_upload(upload, pushed.digest, true, Durability::durable,
                         [&](Result<BlobInfo> placed) { info = std::move(placed); });
    REQUIRE(*info);
}

TEST_CASE("a store fuller than its high watermark comes down to the low one by itself") {
    Small rig;
    rig.observe();
    for (std::uint64_t seed = 1; seed <= 4; ++seed) (void)rig.cached(seed);
    rig.store->tick(Instant{1'000'000'000});
    CHECK(rig.gone.empty());  // 80 percent
    const auto pushed = make_blob(kSize * 9 / 10, 5);
    REQUIRE(rig.push(pushed));
    rig.store->tick(Instant{20'000'000'000});
    CHECK(rig.gone.size() == 1);  // 98 percent
    rig.store->tick(Instant{40'000'000'000});
    CHECK(rig.gone.size() == 1);
}

TEST_CASE("a file system that others fill costs cached copies, and what is free again is seen before any goes") {
    Small rig;
    rig.observe();
    for (std::uint64_t seed = 1; seed <= 3; ++seed) (void)rig.cached(seed);
    const auto used = (1ULL << 40U) - *rig.fs.free_space(kDir);
    rig.fs.set_capacity(used + 100'000);
    const auto next = make_blob(kSize, 5);
    REQUIRE(rig.pull(next, Durability::deferred));
    const auto gone = rig.gone.size();
    CHECK(gone >= 1);
    CHECK(gone <= 2);
    CHECK(rig.read(next.digest) == next.data);
    rig.fs.set_capacity(1ULL << 40U);
    REQUIRE(rig.cached(6).data.size() == kSize);
    CHECK(rig.gone.size() == gone);
}

TEST_CASE("a copy that was a home once goes like any other, and no row waits for its bytes") {
    Small rig;
    rig.observe();
    const auto former = rig.cached(1);
    rig.set_home(former, true);
    rig.set_home(former, false);
    for (std::uint64_t seed = 2; seed <= 6; ++seed) (void)rig.cached(seed);
    CHECK(rig.gone.front() == former.digest);
    rig.kill();
    rig.open(Small::options());
    CHECK(rig.store->homes().empty());
    CHECK_FALSE(rig.here(former));
}

TEST_CASE("a stop anywhere while copies make room leaves each of them whole or gone") {
    for (std::uint64_t n = 0; n < 40; ++n) {
        Small rig;
        std::vector<TestBlob> blobs;
        for (std::uint64_t seed = 1; seed <= 5; ++seed) blobs.push_back(rig.cached(seed));
        rig.set_home(blobs[0], true);
        rig.set_home(blobs[1], true);
        rig.set_home(blobs[1], false);
        rig.fs.stop_after(n);
        (void)rig.pull(make_blob(2 * kSize, 9), Durability::deferred);
        rig.power_cut(n);
        rig.open(Small::options());
        for (const auto& blob : blobs) {
            if (rig.here(blob)) (void)rig.verify(blob.digest);
            rig.check_read(blob);
        }
        CHECK(rig.read(blobs[0].digest) == blobs[0].data);
    }
}

TEST_CASE("what will not fit whatever goes is refused, and costs no copy") {
    // A peer, or a client's Content-Length, may name any size: one such request emptied the cache.
    Small rig;
    rig.observe();
    for (std::uint64_t seed = 1; seed <= 4; ++seed) (void)rig.cached(seed);
    auto huge = make_blob(1, 9);
    huge.data.resize(6 * kSize);
    CHECK(rig.open_partial(huge).error().code == Errc::no_space);
    std::optional<Status> room;
    rig.store->ask_room(1ULL << 40U, [&](Status status) { room = std::move(status); });
    CHECK(room->error().code == Errc::no_space);
    CHECK(rig.gone.empty());
}

TEST_CASE("all who wait for room at once get it, when enough may go") {
    // The layers of an image are pulled together: room was made for the largest alone.
    Full full;
    auto& executor = full.executor;
    auto& store = full.store;
    executor.hold();
    int opened_partials = 0;
    for (std::uint64_t seed = 11; seed <= 14; ++seed) {
        store->open_partial(make_blob(kSize, seed).digest, kSize, [&](const Result<std::shared_ptr<Partial>>& partial) {
            opened_partials += partial ? 1 : 0;
        });
    }
    executor.let_go();
    CHECK(opened_partials == 4);
    CHECK(store->totals().used_bytes() <= 5 * kSize);
}

TEST_CASE("a file system filled past min-free is made up for at once") {
    Small rig;
    rig.observe();
    for (std::uint64_t seed = 1; seed <= 5; ++seed) (void)rig.cached(seed);
    rig.close();
    auto options = Small::options();
    options.min_free_bytes = 2 * kSize;
    rig.open(options);
    rig.observe();
    const auto used = (1ULL << 40U) - *rig.fs.free_space(kDir);
    rig.fs.set_capacity(used + kSize);  // one blob's room below min-free
    const auto pulled = rig.pull(make_blob(kSize, 6), Durability::deferred);
    if (!pulled) FAIL(describe(pulled.error()));
    CHECK(rig.gone.size() >= 2);
}

TEST_CASE("files whose rows were lost make no room: they may be the only copies of pushes") {
    Small rig;
    const auto pushed = make_blob(kSize, 1);
    REQUIRE(rig.push(pushed));
    rig.close();
    rig.damage_meta();
    REQUIRE(rig.fs.unlink(std::string(kDir) + "/meta.db.bak"));
    rig.open(Small::options());
    rig.observe();
    for (int i = 0; i < 4; ++i) rig.store->tick(Instant{(i + 1) * 1'000'000'000LL});  // it is hashed
    for (std::uint64_t seed = 2; seed <= 7; ++seed) (void)rig.cached(seed);
    CHECK(rig.read(pushed.digest) == pushed.data);
    rig.kill();
    rig.open(Small::options());  // and so it stays
    rig.observe();
    for (int i = 0; i < 4; ++i) rig.store->tick(Instant{(i + 1) * 1'000'000'000LL});
    for (std::uint64_t seed = 12; seed <= 17; ++seed) (void)rig.cached(seed);
    CHECK(rig.read(pushed.digest) == pushed.data);
}

TEST_CASE("a stop while lost rows are made up for does not make cache of the files") {
    int stopped = 0;
    for (std::uint64_t n = 0; n < 90; n += 2) {
        Small rig;
        const auto pushed = make_blob(kSize, 1);
        REQUIRE(rig.push(pushed));
        rig.close();
        rig.damage_meta();
        REQUIRE(rig.fs.unlink(std::string(kDir) + "/meta.db.bak"));
        rig.fs.stop_after(n);
        stopped += rig.try_open(Small::options()) ? 0 : 1;
        rig.store.reset();
        rig.fs.clear_faults();  // the process dies, the machine does not
        rig.open(Small::options());
        rig.observe();
        for (int i = 0; i < 4; ++i) rig.store->tick(Instant{(i + 1) * 1'000'000'000LL});
        for (std::uint64_t seed = 2; seed <= 7; ++seed) (void)rig.cached(seed);
        INFO(n);
        CHECK(rig.read(pushed.digest) == pushed.data);
    }
    CHECK(stopped > 10);
}
