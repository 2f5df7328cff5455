// Chunks arrive in any order, from peers that may lie, twice, or never; what the map says is verified
// must be what the file holds.
#include <cerrno>

#include "tests/store/rig.h"
#include "tests/support/holding_executor.h"

using namespace fastreg;
using namespace fastreg::store;

namespace {

constexpr std::size_t kChunk = 128U << 10U;

bool holds(const Partial& partial, const TestBlob& blob, ChunkIndex i) {
    Bytes data(blob.grid.size_of(i));
    const auto got = partial.file()->pread(data, blob.grid.offset_of(i));
    return got && *got == data.size() && std::ranges::equal(data, blob.chunk(i));
}

}  // namespace

TEST_CASE("chunks in any order become a blob, and its chain is kept") {
    // The whole point: no second pass, and the next holder gets the chain from here.
    Rig rig;
    const auto blob = make_blob(5 * kChunk + 777, 1);
    const auto partial = rig.open_partial(blob);
    REQUIRE(partial);
    CHECK(rig.store->totals().partial_bytes == blob.data.size());
    for (const ChunkIndex i : {3U, 0U, 5U, 1U, 4U}) {
        CHECK(rig.land(*partial, blob, i) == ChunkOutcome::stored);
        CHECK((*partial)->map().has(i));
        CHECK(holds(**partial, blob, i));
    }
    CHECK(rig.finish(*partial, Durability::durable).error().code == Errc::invalid_argument);
    CHECK(rig.land(*partial, blob, 2) == ChunkOutcome::stored);
    REQUIRE(rig.finish(*partial, Durability::durable));
    CHECK(rig.read(blob.digest) == blob.data);
    CHECK(rig.store->totals().partial_bytes == 0);
    CHECK(rig.store->totals().blob_bytes == blob.data.size());
    std::optional<Chain> chain;
    rig.store->chain_of(blob.digest, [&](Result<Chain> answer) { chain = *answer; });
    CHECK(chain == blob.chain);
    CHECK(rig.open_partial(blob).error().code == Errc::already_exists);
}

TEST_CASE("an empty blob and a blob of one chunk are blobs like any other") {
    // The grid gives even nothing a last chunk to check.
    Rig rig;
    for (const std::size_t size : {0U, 1U, 131'072U}) {
        CAPTURE(size);
        const auto blob = make_blob(size, size + 5);
        REQUIRE(rig.pull(blob, Durability::durable));
        CHECK(rig.read(blob.digest) == blob.data);
    }
}

TEST_CASE("a liar is told apart from a damaged line, and nothing of either is kept") {
    // The outcome decides who is quarantined.
    Rig rig;
    const auto blob = make_blob(3 * kChunk, 2);
    const auto partial = rig.open_partial(blob);
    REQUIRE(partial);
    const auto landing = [&] {
        return *ChunkLanding::create(*partial, 1, blob.link(1), blob.link(2));
    };
    std::optional<ChunkOutcome> outcome;
    const auto keep = [&](ChunkOutcome o) { outcome = o; };

    auto wrong = Bytes(blob.chunk(1).begin(), blob.chunk(1).end());
    wrong[70'000] ^= std::byte{1};
    CHECK(rig.land_bytes(landing(), wrong) == ChunkOutcome::bad_link);

    const auto piece = blob.chunk(1).first(1000);
    rig.store->land(landing(), 0, make_block(piece), Xxh128{1, 2}, keep);
    CHECK(outcome == ChunkOutcome::bad_checksum);
    outcome.reset();
    rig.store->land(landing(), 5, make_block(piece), std::nullopt, keep);
    CHECK(outcome == ChunkOutcome::bad_checksum);

    // The checksum is of the piece it came with, first, last or between, never of the chunk so far.
    const auto chunk_two = *ChunkLanding::create(*partial, 2, blob.link(2), {});
    const auto head = blob.chunk(2).first(kChunk - 1000);
    const auto tail = blob.chunk(2).last(1000);
    outcome.reset();
    rig.store->land(chunk_two, 0, make_block(head), xxh3_128(head), keep);
    CHECK_FALSE(outcome);
    rig.store->land(chunk_two, head.size(), make_block(tail), xxh3_128(blob.chunk(2)), keep);
    CHECK(outcome == ChunkOutcome::bad_checksum);
    CHECK_FALSE((*partial)->map().has(2));

    // Longer than the chunk: the next one's place must not be touched.
    const auto greedy = landing();
    outcome.reset();
    rig.store->land(greedy, 0, make_block(blob.chunk(1).first(100'000)), std::nullopt, keep);
    CHECK_FALSE(outcome);
    rig.store->land(greedy, 100'000, make_block(Bytes(kChunk)), std::nullopt, keep);
    CHECK(outcome == ChunkOutcome::bad_checksum);
    outcome.reset();
    rig.store->land(greedy, 100'000, make_block(piece), std::nullopt, keep);
    CHECK_FALSE(outcome);  // told once

    CHECK((*partial)->map().set_count() == 0);
    CHECK_FALSE(ChunkLanding::create(*partial, 3, blob.link(2), {}));
    CHECK_FALSE(ChunkLanding::create(*partial, 1, blob.link(1).first(5), blob.link(2)));
    CHECK(rig.land(*partial, blob, 1) == ChunkOutcome::stored);
    CHECK(holds(**partial, blob, 1));
}

TEST_CASE("a second landing cannot spoil what the first has hashed already") {
    // End-game duplicates: one honest, one lying, block by block in turn.
    Rig rig;
    const auto blob = make_blob(2 * kChunk, 3);
    const auto partial = rig.open_partial(blob);
    REQUIRE(partial);
    const auto honest = *ChunkLanding::create(*partial, 0, {}, blob.link(1));
    auto liar = *ChunkLanding::create(*partial, 0, {}, blob.link(1));
    std::optional<ChunkOutcome> of_honest, of_liar;
    const auto half = kChunk / 2;
    rig.store->land(honest, 0, make_block(blob.chunk(0).first(half)), std::nullopt,
                    [&](ChunkOutcome o) { of_honest = o; });
    rig.store->land(liar, 0, make_block(Bytes(half)), std::nullopt,
                    [&](ChunkOutcome o) { of_liar = o; });
    rig.store->land(honest, half, make_block(blob.chunk(0).last(half)), std::nullopt,
                    [&](ChunkOutcome o) { of_honest = o; });
    CHECK(of_honest == ChunkOutcome::stored);
    CHECK(holds(**partial, blob, 0));
    rig.store->land(liar, half, make_block(Bytes(half)), std::nullopt,
                    [&](ChunkOutcome o) { of_liar = o; });
    CHECK(of_liar == ChunkOutcome::stored);  // it was, though not by this one
    CHECK(holds(**partial, blob, 0));
    liar.reset();
    for (const auto& file : rig.fs.files()) CHECK(file.find("aside-") == std::string::npos);
}

TEST_CASE("the second landing wins when the first one stalls") {
    // A hedge exists for just this.
    Rig rig;
    const auto blob = make_blob(2 * kChunk, 4);
    const auto partial = rig.open_partial(blob);
    REQUIRE(partial);
    const auto slow = *ChunkLanding::create(*partial, 0, {}, blob.link(1));
    std::optional<ChunkOutcome> of_slow;
    rig.store->land(slow, 0, make_block(blob.chunk(0).first(1000)), std::nullopt,
                    [&](ChunkOutcome o) { of_slow = o; });
    CHECK(rig.land(*partial, blob, 0) == ChunkOutcome::stored);
    CHECK(holds(**partial, blob, 0));
    rig.store->land(slow, 1000, make_block(Bytes(1000)), std::nullopt,
                    [&](ChunkOutcome o) { of_slow = o; });
    CHECK(of_slow == ChunkOutcome::stored);
    CHECK(holds(**partial, blob, 0));
    for (const auto& file : rig.fs.files()) CHECK(file.find("aside-") == std::string::npos);
}

TEST_CASE("a verified chunk is never written again") {
    // Its pages may be on their way to a client.
    Rig rig;
    const auto blob = make_blob(2 * kChunk, 5);
    const auto partial = rig.open_partial(blob);
    REQUIRE(partial);
    CHECK(rig.land(*partial, blob, 0) == ChunkOutcome::stored);
    const auto again = *ChunkLanding::create(*partial, 0, {}, blob.link(1));
    rig.fs.start_trace();
    CHECK(rig.land_bytes(again, Bytes(kChunk)) == ChunkOutcome::stored);
    CHECK(rig.fs.take_trace().empty());
    CHECK(holds(**partial, blob, 0));
}

TEST_CASE("two chains cannot be mixed into one blob") {
    // A false chain whose links hold for false bytes must not join chunks of the true one.
    Rig rig;
    const auto blob = make_blob(3 * kChunk, 6);
    auto forged = make_blob(3 * kChunk, 7);
    forged.digest = blob.digest;
    const auto partial = rig.open_partial(blob);
    REQUIRE(partial);
    CHECK(rig.land(*partial, forged, 0) == ChunkOutcome::stored);  // its link holds
    CHECK(rig.land(*partial, blob, 2) == ChunkOutcome::stored);
    CHECK(rig.land(*partial, blob, 1) == ChunkOutcome::conflict);
    CHECK((*partial)->map().set_count() == 2);

    ChunkMap wrong(3);
    wrong.set(0);
    std::optional<Result<std::shared_ptr<Partial>>> renewed;
    const auto old_file = (*partial)->file();
    rig.store->revoke(*partial, wrong, [&](auto answer) { renewed = std::move(answer); });
    REQUIRE(*renewed);
    const auto& fresh = **renewed;
    CHECK((*partial)->closed());
    CHECK(fresh->map().set_count() == 1);
    CHECK(holds(*fresh, blob, 2));
    Bytes seen(kChunk);
    REQUIRE(old_file->pread(seen, 0));
    CHECK(std::ranges::equal(seen, forged.chunk(0)));  // a reader of the old inode is not disturbed
    CHECK(rig.land(*partial, blob, 1) == ChunkOutcome::closed);
    CHECK(rig.land(fresh, blob, 0) == ChunkOutcome::stored);
    CHECK(rig.land(fresh, blob, 1) == ChunkOutcome::stored);
    REQUIRE(rig.finish(fresh, Durability::durable));
    CHECK(rig.read(blob.digest) == blob.data);
}

TEST_CASE("bytes from the origin make the chain as they come") {
    // The node that fetches from upstream shares each chunk before the last one has arrived.
    Rig rig;
    const auto blob = make_blob(4 * kChunk + 9, 18);
    const auto partial = rig.open_partial(blob);
    REQUIRE(partial);
    for (ChunkIndex i = 0; i < 5; ++i) {
        const auto start = (*partial)->link_before(i);
        const auto landing = ChunkLanding::first_hand(*partial, i, start);
        REQUIRE(landing);
        CHECK(rig.land_bytes(*landing, blob.chunk(i)) == ChunkOutcome::stored);
        CHECK(std::ranges::equal((*partial)->link_before(i + 1), blob.link(i + 1)));
    }
    REQUIRE(rig.finish(*partial, Durability::durable));
    CHECK(rig.read(blob.digest) == blob.data);

    // An origin that sends something else is found out at the last link.
    const auto other = make_blob(2 * kChunk, 19);
    const auto wrong = make_blob(2 * kChunk, 20);
    const auto second = rig.open_partial(other);
    REQUIRE(second);
    CHECK_FALSE(ChunkLanding::first_hand(*second, 1, {}));
    CHECK(rig.land_bytes(*ChunkLanding::first_hand(*second, 0, {}), wrong.chunk(0)) ==
          ChunkOutcome::stored);
    const auto last = *ChunkLanding::first_hand(*second, 1, (*second)->link_before(1));
    CHECK(rig.land_bytes(last, wrong.chunk(1)) == ChunkOutcome::bad_link);
}

TEST_CASE("a landing that fell to a conflict has lost its place for good") {
    // It wrote part of the chunk; another one wrote over that part since.
    Rig rig;
    const auto blob = make_blob(3 * kChunk, 8);
    auto forged = make_blob(3 * kChunk, 9);
    forged.digest = blob.digest;
    const auto partial = rig.open_partial(blob);
    REQUIRE(partial);
    CHECK(rig.land(*partial, blob, 0) == ChunkOutcome::stored);
    const auto first = *ChunkLanding::create(*partial, 1, blob.link(1), blob.link(2));
    std::optional<ChunkOutcome> of_first;
    rig.store->land(first, 0, make_block(blob.chunk(1).first(kChunk / 2)), std::nullopt,
                    [&](ChunkOutcome o) { of_first = o; });
    CHECK(rig.land(*partial, forged, 1) == ChunkOutcome::conflict);
    rig.store->land(first, kChunk / 2, make_block(blob.chunk(1).last(kChunk / 2)), std::nullopt,
                    [&](ChunkOutcome o) { of_first = o; });
    CHECK(of_first == ChunkOutcome::conflict);
    CHECK(rig.land(*partial, blob, 1) == ChunkOutcome::stored);
    CHECK(holds(**partial, blob, 1));
}

TEST_CASE("a full disk and a failing one are told as such, and the chunk may be tried again") {
    // ENOSPC must not look like a lying peer.
    for (const auto& [code, told] : {std::pair{ENOSPC, ChunkOutcome::disk_full},
                                     std::pair{EIO, ChunkOutcome::disk_error}}) {
        Rig rig;
        const auto blob = make_blob(2 * kChunk, 10);
        const auto partial = rig.open_partial(blob);
        REQUIRE(partial);
        rig.fs.fail_after(1, code);
        CHECK(rig.land(*partial, blob, 0) == told);
        CHECK((*partial)->map().set_count() == 0);
        CHECK(rig.land(*partial, blob, 0) == ChunkOutcome::stored);
    }
}

TEST_CASE("a stop in the middle costs what was not written down, never a wrong chunk") {
    // Resume: after a clean stop the map is trusted, after a loss of power each chunk is hashed again.
    const auto blob = make_blob(8 * kChunk, 11);
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        CAPTURE(seed);
        Rig rig;
        {
            const auto partial = rig.open_partial(blob);
            REQUIRE(partial);
            for (ChunkIndex i = 0; i < 6; ++i) {
                CHECK(rig.land(*partial, blob, i) == ChunkOutcome::stored);
                if (i == 3) rig.store->tick(Instant{1'000'000'000});
            }
        }
        const bool clean = seed == 0;
        if (clean) {
            rig.close();
        } else {
            rig.power_cut(seed);
        }
        rig.open();
        const auto resumed = rig.open_partial(blob);
        REQUIRE(resumed);
        for (ChunkIndex i = 0; i < 8; ++i) {
            if ((*resumed)->map().has(i)) CHECK(holds(**resumed, blob, i));
        }
        if (clean) CHECK((*resumed)->map().set_count() == 6);
        for (ChunkIndex i = 0; i < 8; ++i) {
            if (!(*resumed)->map().has(i)) CHECK(rig.land(*resumed, blob, i) == ChunkOutcome::stored);
        }
        REQUIRE(rig.finish(*resumed, Durability::durable));
        CHECK(rig.read(blob.digest) == blob.data);
    }
}

TEST_CASE("chunks written down survive the death of the process") {
    // kill -9 loses no page: what the map says is hashed again and found good.
    Rig rig;
    const auto blob = make_blob(4 * kChunk, 12);
    {
        const auto partial = rig.open_partial(blob);
        REQUIRE(partial);
        CHECK(rig.land(*partial, blob, 1) == ChunkOutcome::stored);
        CHECK(rig.land(*partial, blob, 2) == ChunkOutcome::stored);
        rig.store->tick(Instant{1'000'000'000});
        CHECK(rig.store->next_deadline() == Instant{1'250'000'000});
    }
    rig.kill();
    rig.open();
    const auto listed = rig.store->partials();
    REQUIRE(listed.size() == 1);
    CHECK(listed[0].digest == blob.digest);
    CHECK(listed[0].size == blob.data.size());
    CHECK(listed[0].map.set_count() == 2);
    const auto resumed = rig.open_partial(blob);
    REQUIRE(resumed);
    CHECK((*resumed)->map().set_count() == 2);
    CHECK(std::ranges::equal((*resumed)->link_before(2), blob.link(2)));
    CHECK((*resumed)->link_before(4).empty());
}

TEST_CASE("a pulled blob is visible at once, synced behind, and hashed again if that came too late") {
    // Pulls must not wait for the disk, and must not trust it either.
    const auto blob = make_blob(3 * kChunk, 13);
    for (std::uint64_t n = 0; n < 12; ++n) {
        CAPTURE(n);
        Rig rig;
        rig.power_cut_in_finish(rig.filled(blob), n, n);
        rig.open();
        const auto info = rig.store->find(blob.digest);
        if (info && !info->verified) (void)rig.verify(blob.digest);
        rig.check_read(blob);
    }
    Rig rig;
    REQUIRE(rig.pull(blob, Durability::deferred));
    CHECK(rig.store->find(blob.digest)->synced);  // the inline executor was that fast
    CHECK(rig.store->totals().unsynced == 0);
    rig.kill();
    rig.fs.power_cut_all();
    rig.open();
    rig.check_read(blob);
}

TEST_CASE("a pulled blob that cannot be synced is withdrawn") {
    // A sync that failed once is a loss, whatever the next one says.
    Rig rig;
    const auto blob = make_blob(2 * kChunk, 14);
    const auto partial = rig.filled(blob);
    std::optional<WithdrawReason> told;
    rig.store->observe({[&](const Digest&, const BlobInfo&, WithdrawReason why) { told = why; }});
    rig.fs.start_trace();
    std::uint64_t sync_at = 0;
    {
        Rig probe;  // where the background sync comes
        const auto twin = probe.filled(blob);
        probe.fs.start_trace();
        REQUIRE(probe.finish(twin, Durability::deferred));
        const auto trace = probe.fs.take_trace();
        while (trace[sync_at] != "fdatasync " + blob_path(blob.digest)) ++sync_at;
    }
    rig.fs.fail_after(sync_at, EIO);
    REQUIRE(rig.finish(partial, Durability::deferred));
    CHECK(told == WithdrawReason::sync_failed);
    CHECK_FALSE(rig.store->find(blob.digest));
    CHECK(rig.fs.contents(blob_path(blob.digest)).empty());
    CHECK(rig.store->totals().blob_bytes == 0);
}

TEST_CASE("room is promised once") {
    // Two large blobs may not both be told that the last free bytes are theirs.
    Rig rig(false);
    rig.fs.set_capacity(5U << 19U);
    auto options = test_options();
    options.min_free_bytes = 1U << 20U;
    rig.open(std::move(options));
    const auto first = make_blob(1'000'000, 15);
    const auto second = make_blob(900'000, 16);
    REQUIRE(rig.open_partial(first));
    CHECK(rig.open_partial(second).error().code == Errc::no_space);
    CHECK(rig.store->totals().partial_bytes == first.data.size());
    std::optional<Status> dropped;
    rig.store->drop_partial(first.digest, [&](Status s) { dropped = std::move(s); });
    REQUIRE(*dropped);
    CHECK(rig.store->totals().partial_bytes == 0);
    CHECK(rig.open_partial(second));
}

TEST_CASE("a partial blob begins anew when its size turns out to be another") {
    // The first size was a peer's claim.
    Rig rig;
    const auto blob = make_blob(3 * kChunk, 17);
    auto lied = blob;
    lied.data.resize(2 * kChunk);
    REQUIRE(rig.open_partial(lied));
    CHECK(rig.open_partial(blob).error().code == Errc::busy);
    std::optional<Status> dropped;
    rig.store->drop_partial(blob.digest, [&](Status s) { dropped = std::move(s); });
    REQUIRE(*dropped);
    REQUIRE(rig.pull(blob, Durability::durable));
    CHECK(rig.read(blob.digest) == blob.data);
    std::optional<Error> refused;
    rig.store->open_partial(make_blob(1, 1).digest, kBlobSizeMax + 1,
                            [&](auto answer) { refused = answer.error(); });
    CHECK(refused->code == Errc::too_large);
}

TEST_CASE("a resume that is refused for want of room loses nothing, and stays counted") {
    // The slot went and the file stayed: bytes that nobody counted and nobody removed.
    const auto blob = make_blob(8 * kChunk, 18);
    Rig rig;
    (void)rig.filled(blob, 6);
    rig.close();
    const auto capacity = (1ULL << 40U) - *rig.fs.free_space(kDir);
    rig.open();
    const auto dropped = [&rig](const Digest& digest) {
        std::optional<Status> status;
        rig.store->drop_partial(digest, [&](Status s) { status = std::move(s); });
        return status && *status;
    };
    const auto still_here = [&] {
        const auto all = rig.store->partials();
        return all.size() == 1 && all[0].map.set_count() == 6 &&
               rig.store->totals().partial_bytes == blob.data.size();
    };
    rig.fs.set_capacity(capacity + kChunk);  // two chunks are missing
    CHECK(rig.open_partial(blob).error().code == Errc::no_space);
    CHECK(still_here());
    auto other = blob;  // a peer claims another size
    other.data.resize(9 * kChunk);
    CHECK(rig.open_partial(other).error().code == Errc::no_space);
    CHECK(still_here());
    rig.fs.set_capacity(capacity + 4 * kChunk);  // room for what is missing, not for all of it
    const auto resumed = rig.open_partial(blob);
    REQUIRE(resumed);
    CHECK((*resumed)->map().set_count() == 6);
    CHECK(rig.store->totals().partial_bytes == blob.data.size());
    REQUIRE(dropped(blob.digest));
    CHECK(rig.store->totals().partial_bytes == 0);
    for (const auto& file : rig.fs.files()) CHECK(file.find("/partial/") == std::string::npos);
}

TEST_CASE("a chunk that lands while a part is revoked is told as not kept") {
    // It was called stored, and was missing from the file that took the place of the first.
    test::MemoryFs fs;
    test::HoldingExecutor executor;
    log::set_level(log::Level::off);
    const auto store = *Store::open(fs, executor, test_options());
    const auto blob = make_blob(3 * kChunk, 19);
    std::shared_ptr<Partial> partial;
    store->open_partial(blob.digest, blob.data.size(), [&](auto opened) { partial = *opened; });
    REQUIRE(partial);
    const auto land = [&](ChunkIndex i, std::optional<ChunkOutcome>& outcome) {
        const auto landing = *ChunkLanding::create(partial, i, blob.link(i), blob.link(i + 1));
        store->land(landing, 0, make_block(blob.chunk(i)), std::nullopt,
                    [&](ChunkOutcome o) { outcome = o; });
    };
    std::optional<ChunkOutcome> first;
    land(0, first);
    REQUIRE(first == ChunkOutcome::stored);
    executor.hold();
    std::optional<ChunkOutcome> late;
    land(1, late);
    ChunkMap wrong(3);
    wrong.set(0);
    std::shared_ptr<Partial> kept;
    store->revoke(partial, wrong, [&](auto copied) { kept = *copied; });
    executor.let_go();
    CHECK(late == ChunkOutcome::closed);
    REQUIRE(kept);
    CHECK(kept->map().set_count() == 0);
    partial = kept;
    for (ChunkIndex i = 0; i < 3; ++i) {
        std::optional<ChunkOutcome> again;
        land(i, again);
        CHECK(again == ChunkOutcome::stored);
    }
    CHECK(kept->map().full());
}

TEST_CASE("a partial blob that nobody fills is closed, and goes in the end") {
    // Each failed pull held a descriptor and its room for as long as the node ran.
    const auto blob = make_blob(8 * kChunk, 20);
    const auto other = make_blob(8 * kChunk, 21);
    Rig rig;
    std::weak_ptr<Partial> open = rig.filled(blob, 3);
    const auto park = [&](const Digest& digest) { rig.store->park_partial(digest); };
    const auto parked = [&] { return rig.store->partials().size(); };
    park(blob.digest);
    CHECK(open.expired());
    REQUIRE(parked() == 1);
    CHECK(rig.store->partials()[0].map.set_count() == 3);
    CHECK(rig.store->totals().partial_bytes == blob.data.size());

    SUBCASE("a later pull goes on with it, also after a stop") {
        if (rig.store->find(blob.digest)) FAIL("it is not whole");
        rig.close();
        rig.open();
        auto resumed = rig.open_partial(blob);
        REQUIRE(resumed);
        CHECK((*resumed)->map().set_count() == 3);
        rig.store->tick(Instant{1'000'000'000});
        rig.store->tick(Instant{1'000'000'000} + 2h);  // who fills it may take long
        CHECK(parked() == 1);
        for (ChunkIndex i = 3; i < 8; ++i) CHECK(rig.land(*resumed, blob, i) == ChunkOutcome::stored);
        REQUIRE(rig.finish(*resumed, Durability::durable));
        CHECK(rig.read(blob.digest) == blob.data);
        return;
    }
    SUBCASE("one that holds nothing goes at once") {
        REQUIRE(rig.open_partial(other));
        park(other.digest);
        CHECK(parked() == 1);
        CHECK(rig.store->totals().partial_bytes == blob.data.size());
        return;
    }
    rig.store->tick(Instant{1'000'000'000});
    SUBCASE("after an hour") {
        rig.store->tick(Instant{1'000'000'000} + 59min);
        CHECK(parked() == 1);
        rig.store->tick(Instant{1'000'000'000} + 1h);
    }
    SUBCASE("when there is no room for something else") {
        rig.fs.set_capacity((1ULL << 40U) - *rig.fs.free_space(kDir) + 6 * kChunk);
        CHECK(rig.open_partial(other).error().code == Errc::no_space);
        rig.store->tick(Instant{2'000'000'000});
    }
    CHECK(parked() == 0);
    CHECK(rig.store->totals().partial_bytes == 0);
    for (const auto& file : rig.fs.files()) CHECK(file.find("/partial/") == std::string::npos);
}

TEST_CASE("bytes that a peer may still change are checked as the file holds them") {
    // A landing slot of RDMA: its sender can write into it while it is stored. What it showed for a moment
    // proves nothing.
    Rig rig;
    const auto blob = make_blob(2 * kChunk, 3);
    const auto partial = rig.open_partial(blob);
    REQUIRE(partial);
    const auto pool = BlockPool::create(4U << 20U, 1, {}, BlockPool::Pages::at_start);
    const auto land = [&](ByteView bytes, bool change_after_store) {
        Block block = pool->try_take();
        REQUIRE(block.may_change());
        std::ranges::copy(bytes, block.room().begin());
        block.set_filled(bytes.size());
        std::byte* place = block.room().data();
        const auto landing = ChunkLanding::create(*partial, 0, blob.link(0), blob.link(1));
        REQUIRE(landing);
        std::optional<ChunkOutcome> outcome;
        // The disk tells when it was written to: the peer strikes between that and the hash.
        rig.fs.set_on_write(change_after_store ? std::function<void()>([&] { place[5] ^= std::byte{1}; }) : nullptr);
        rig.store->land(*landing, 0, std::move(block), std::nullopt, [&](ChunkOutcome o) { outcome = o; });
        rig.fs.set_on_write(nullptr);
        REQUIRE(outcome);
        return *outcome;
    };
    Bytes bad(blob.chunk(0).begin(), blob.chunk(0).end());
    bad[5] ^= std::byte{1};
    CHECK(land(bad, true) == ChunkOutcome::bad_link);  // good when it would be hashed, bad in the file
    CHECK_FALSE((*partial)->map().has(0));
    CHECK(land(blob.chunk(0), true) == ChunkOutcome::stored);  // bad when it would be hashed, good in the file
    CHECK(holds(**partial, blob, 0));
    CHECK(pool->free_count() == 1);
}
