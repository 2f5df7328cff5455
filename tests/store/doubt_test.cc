// Rows and files that do not belong together: a row must never vouch for bytes that were not hashed and
// synced before it was written, whatever failed, was killed, or lost its power in between.
#include <cerrno>
#include <map>

#include "tests/store/rig.h"

using namespace fastreg;
using namespace fastreg::store;

namespace {

void set_home(Rig& rig, const Digest& digest, std::uint64_t size, bool home = true) {
    rig.store->set_home(digest, size, home, [](const Status& s) { CHECK(s); });
}

void put_file(Rig& rig, const std::string& path, ByteView data) {
    const auto file = rig.fs.open(path, OpenMode::create);
    REQUIRE(file);
    REQUIRE((*file)->pwrite(data, 0));
}

}  // namespace

TEST_CASE("what was found bad does not come back, whichever single operation fails") {
    // Damage and failing operations keep company; a disk that lies once must not be believed again.
    const auto blob = make_blob(200'000, 1);
    for (const bool pushed : {true, false}) {
        for (const int code : {EIO, ENOSPC}) {
            for (std::uint64_t n = 0; n < 20; ++n) {
                CAPTURE(pushed);
                CAPTURE(code);
                CAPTURE(n);
                Rig rig;
                REQUIRE(rig.push(blob, pushed, Durability::deferred));
                rig.close();
                rig.open();
                REQUIRE(rig.fs.flip_bit(blob_path(blob.digest), 7, 1));
                rig.fs.fail_after(n, code);
                REQUIRE(rig.found_bad(blob.digest));
                rig.fs.clear_faults();
                CHECK_FALSE(rig.store->find(blob.digest));
                rig.power_cut(n);
                rig.open();
                rig.check_read(blob);
                REQUIRE(rig.push(blob));
                CHECK(rig.read(blob.digest) == blob.data);
            }
        }
    }
}

TEST_CASE("power is cut before every single operation of a withdrawal") {
    // Told means kept: once the check has answered, the bad bytes are gone for good.
    const auto blob = make_blob(200'000, 2);
    for (const bool pushed : {true, false}) {
        for (std::uint64_t n = 0; n < 20; ++n) {
            for (std::uint64_t seed = 0; seed < 4; ++seed) {
                CAPTURE(pushed);
                CAPTURE(n);
                CAPTURE(seed);
                Rig rig;
                REQUIRE(rig.push(blob, pushed, Durability::deferred));
                rig.close();
                rig.open();
                REQUIRE(rig.fs.flip_bit(blob_path(blob.digest), 7, 1));
                const auto before = rig.fs.operations();
                rig.fs.stop_after(n);
                const bool found_bad = rig.found_bad(blob.digest);  // no: the disk stopped first
                const bool answered = found_bad && rig.fs.operations() <= before + n;
                rig.power_cut(seed * 100 + n);
                rig.open();
                if (answered) rig.check_read(blob);
            }
        }
    }
}

TEST_CASE("a home that was withdrawn is still a home") {
    // Its bytes are wanted back; only the word of its row for the file is not worth anything.
    Rig rig;
    const auto blob = make_blob(9000, 3);
    REQUIRE(rig.push(blob));
    set_home(rig, blob.digest, 9000);
    REQUIRE(rig.fs.flip_bit(blob_path(blob.digest), 7, 1));
    REQUIRE(rig.found_bad(blob.digest));
    rig.kill();
    rig.fs.power_cut_all();
    rig.open();
    CHECK_FALSE(rig.store->find(blob.digest));
    REQUIRE(rig.store->homes().size() == 1);
    REQUIRE(rig.pull(blob, Durability::deferred));
    rig.kill();
    rig.fs.power_cut_all();
    rig.open();
    CHECK(rig.store->find(blob.digest)->home);
    CHECK(rig.store->find(blob.digest)->pushed);
    CHECK(rig.read(blob.digest) == blob.data);
}

TEST_CASE("a file that could not be read is hashed before its row is believed again") {
    // A sector that failed may read as zeros tomorrow.
    Rig rig;
    const auto blob = make_blob(9000, 4);
    REQUIRE(rig.push(blob));
    rig.fs.fail_read_after(1, EIO);  // the opening counts too
    CHECK_FALSE(rig.verify(blob.digest));
    rig.fs.clear_faults();
    CHECK_FALSE(rig.store->find(blob.digest));
    REQUIRE(rig.fs.flip_bit(blob_path(blob.digest), 7, 1));
    rig.close();
    rig.open();
    CHECK_FALSE(rig.read(blob.digest));
    rig.store->tick(Instant{1});
    CHECK_FALSE(rig.store->find(blob.digest));
}

TEST_CASE("a doubt that was unfounded is forgotten") {
    // Otherwise every later start would hash the same files.
    Rig rig;
    const auto blob = make_blob(9000, 5);
    REQUIRE(rig.push(blob));
    rig.fs.fail_read_after(1, EIO);
    CHECK_FALSE(rig.verify(blob.digest));
    rig.fs.clear_faults();
    rig.close();
    rig.open();
    CHECK(rig.store->totals().unverified == 1);
    rig.store->tick(Instant{1});
    CHECK(rig.read(blob.digest) == blob.data);
    rig.kill();
    rig.fs.power_cut_all();
    rig.open();
    CHECK(rig.store->totals().unverified == 0);
    CHECK(rig.store->find(blob.digest)->pushed);
    CHECK(rig.read(blob.digest) == blob.data);
}

TEST_CASE("removed, killed, pulled again without a sync, and the power goes") {
    // The removal of the row was never synced: the process after the kill must do it.
    const auto blob = make_blob(300'000, 6);
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
        CAPTURE(seed);
        Rig rig;
        REQUIRE(rig.pull(blob, Durability::deferred));
        rig.close();
        rig.open();
        REQUIRE(rig.remove(blob.digest));
        rig.kill();
        rig.open();
        rig.power_cut_in_finish(rig.filled(blob), 1 + seed % 5, seed);
        rig.open();
        rig.check_read(blob);
    }
}

TEST_CASE("chunks in doubt after a loss of power stay in doubt through an orderly stop") {
    // The map was kept and the bytes were not; nobody looked in between.
    const auto blob = make_blob(300'000, 7);
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        CAPTURE(seed);
        Rig rig;
        {
            const auto partial = rig.open_partial(blob);
            REQUIRE(partial);
            rig.close();  // file and row are durable, without chunks
        }
        rig.open();
        {
            const auto partial = rig.filled(blob, 2);
            rig.store->tick(Instant{1});
        }
        rig.power_cut(seed);
        rig.open();
        rig.close();
        rig.open();
        REQUIRE(rig.pull(blob, Durability::durable));
        CHECK(rig.read(blob.digest) == blob.data);
    }
}

TEST_CASE("a home row does not vouch for a file that nobody hashed") {
    // The mesh may make a node the home of a file that somebody copied in.
    for (const bool from_row : {false, true}) {
        CAPTURE(from_row);
        Rig rig;
        const auto blob = make_blob(70'000, 8);
        if (from_row) {  // pulled, and the power goes before its sync
            const auto partial = rig.open_partial(blob);
            REQUIRE(partial);
            REQUIRE(rig.land(*partial, blob, 0) == ChunkOutcome::stored);
            rig.fs.fail_after(1, EIO);
            (void)rig.finish(*partial, Durability::deferred);
            rig.close();
        } else {
            rig.close();
        }
        put_file(rig, blob_path(blob.digest), blob.data);
        REQUIRE(rig.fs.flip_bit(blob_path(blob.digest), 65'000, 0));
        rig.open();
        CHECK_FALSE(rig.read(blob.digest));
        set_home(rig, blob.digest, 70'000);
        rig.close();
        rig.open();
        CHECK_FALSE(rig.read(blob.digest));
        CHECK(rig.store->homes().size() == 1);
        rig.store->tick(Instant{1});
        CHECK_FALSE(rig.store->find(blob.digest));
    }
}

TEST_CASE("a home row that came before its file does not vouch for it") {
    // Whoever puts a file there is not known; only what the store placed itself counts.
    Rig rig;
    const auto blob = make_blob(70'000, 9);
    set_home(rig, blob.digest, 70'000);
    rig.close();
    put_file(rig, blob_path(blob.digest), Bytes(70'000));
    rig.open();
    CHECK_FALSE(rig.read(blob.digest));
    CHECK(rig.store->homes().size() == 1);
}

TEST_CASE("a row that does not fit its file is void, also after an orderly stop") {
    // Found at an unclean start, forgotten at the stop, believed at the next: so it must be written down.
    for (const bool pushed : {true, false}) {
        CAPTURE(pushed);
        Rig rig;
        const auto blob = make_blob(70'000, 10);
        REQUIRE(rig.push(blob, pushed, Durability::deferred));
        rig.close();
        {
            const auto file = rig.fs.open(blob_path(blob.digest), OpenMode::write);
            REQUIRE((*file)->truncate(60'000));
        }
        rig.open();
        rig.kill();
        rig.open();
        CHECK_FALSE(rig.read(blob.digest));
        rig.close();
        {
            const auto file = rig.fs.open(blob_path(blob.digest), OpenMode::write);
            REQUIRE((*file)->truncate(70'000));
        }
        rig.open();
        CHECK_FALSE(rig.read(blob.digest));
    }
}

TEST_CASE("a file of another size is found at the next start, and wanted back with the size of its row") {
    // After an orderly stop it was served as it was, cut short, for ever. After a crash the size of the file was
    // believed: the node asked its peers for that many bytes and blamed those who had the right ones.
    for (const bool orderly : {true, false}) {
        for (const std::uint64_t size : {0U, 1000U, 69'999U, 70'001U}) {
            for (const int starts : {1, 2}) {
                CAPTURE(orderly);
                CAPTURE(size);
                CAPTURE(starts);
                Rig rig;
                const auto home = make_blob(70'000, 11);
                const auto copy = make_blob(70'000, 12);
                REQUIRE(rig.push(home));
                set_home(rig, home.digest, 70'000);
                REQUIRE(rig.pull(copy, Durability::deferred));
                if (orderly) rig.close();
                rig.kill();
                for (const auto* blob : {&home, &copy}) {
                    const auto file = rig.fs.open(blob_path(blob->digest), OpenMode::write);
                    REQUIRE((*file)->truncate(size));
                }
                for (int start = 1; start < starts; ++start) {
                    rig.open();
                    rig.kill();
                }
                rig.open();
                CHECK_FALSE(rig.read(home.digest));
                CHECK_FALSE(rig.read(copy.digest));
                std::map<Digest, BlobInfo> withdrawn;
                rig.store->observe({[&](const Digest& digest, const BlobInfo& info, WithdrawReason) {
                    withdrawn[digest] = info;
                }});
                for (int i = 1; i < 4; ++i) rig.store->tick(Instant{i});
                CHECK_FALSE(rig.store->find(home.digest));
                CHECK_FALSE(rig.store->find(copy.digest));
                CHECK(withdrawn[home.digest].home);
                CHECK(withdrawn[home.digest].size == 70'000);
                CHECK(rig.store->homes().front().size == 70'000);
                REQUIRE(rig.pull(home, Durability::durable));
                rig.close();
                rig.open();
                CHECK(rig.read(home.digest) == home.data);
            }
        }
    }
}

TEST_CASE("a reader that finds the file gone, cut or grown has the blob withdrawn, whichever operation fails") {
    // Else every later reader would find the same.
    const auto blob = make_blob(70'000, 15);
    for (const int what : {0, 1, 2}) {
        for (std::uint64_t n = 0; n < 8; ++n) {
            CAPTURE(what);
            CAPTURE(n);
            Rig rig;
            REQUIRE(rig.push(blob));
            set_home(rig, blob.digest, 70'000);
            const auto check_file = [&] {
                std::optional<bool> here;
                rig.store->check_file(blob.digest, [&](bool h) { here = h; });
                REQUIRE(here);
                return *here;
            };
            CHECK(check_file());
            if (what == 0) {
                REQUIRE(rig.fs.unlink(blob_path(blob.digest)));
            } else {
                const auto file = rig.fs.open(blob_path(blob.digest), OpenMode::write);
                REQUIRE((*file)->truncate(what == 1 ? 1000 : 80'000));
            }
            std::optional<BlobInfo> told;
            rig.store->observe({[&](const Digest&, const BlobInfo& info, WithdrawReason why) {
                told = info;
                CHECK((why == WithdrawReason::missing) == (what == 0));
            }});
            rig.fs.fail_after(n, EIO);
            CHECK_FALSE(check_file());
            CHECK_FALSE(check_file());  // fine when it is not here
            rig.fs.clear_faults();
            REQUIRE(told);
            CHECK(told->home);
            CHECK(told->size == 70'000);
            rig.power_cut(n);
            rig.open();
            rig.check_read(blob);
            rig.store->tick(Instant{1});
            // What was unlinked by hand and not synced may be back, whole.
            if (!rig.store->find(blob.digest)) REQUIRE(rig.pull(blob, Durability::durable));
            CHECK(rig.read(blob.digest) == blob.data);
            CHECK(rig.store->find(blob.digest)->home);
        }
    }
}

TEST_CASE("a check tells a blob whose file is gone from one that is not here") {
    // It was counted among the good ones, while the log said that it was withdrawn.
    Rig rig;
    const auto blob = make_blob(70'000, 16);
    REQUIRE(rig.push(blob));
    REQUIRE(rig.fs.unlink(blob_path(blob.digest)));
    const auto first = rig.verify(blob.digest);
    REQUIRE_FALSE(first);
    CHECK(first.error().code == Errc::corrupt);
    CHECK_FALSE(rig.store->find(blob.digest));
    CHECK(rig.store->totals().withdrawn == 1);
    CHECK(rig.verify(blob.digest).error().code == Errc::not_found);
}

TEST_CASE("a size that was only claimed does not outlive the hash of the file") {
    // A member that asks for a copy names its size. Written into the row, a wrong one would have made every
    // start doubt a good file.
    Rig rig;
    const auto blob = make_blob(70'000, 13);
    REQUIRE(rig.pull(blob, Durability::deferred));
    set_home(rig, blob.digest, 5);
    rig.close();
    rig.open();
    CHECK(rig.store->totals().unverified == 0);
    CHECK(rig.store->homes().front().size == 70'000);
    const auto late = make_blob(60'000, 14);
    set_home(rig, late.digest, 5);  // before its bytes
    rig.close();
    put_file(rig, blob_path(late.digest), late.data);
    rig.open();
    CHECK_FALSE(rig.read(late.digest));
    rig.store->tick(Instant{1});
    CHECK(rig.read(late.digest) == late.data);
    rig.close();
    rig.open();
    CHECK(rig.store->totals().unverified == 0);
    CHECK(rig.read(late.digest) == late.data);
}

TEST_CASE("an older meta.db does not delete what was pushed since") {
    // The backup has the tombstone of a removal; the blob came back after it and was acknowledged.
    Rig rig;
    const auto blob = make_blob(9000, 11);
    REQUIRE(rig.push(blob));
    bool left = false;  // the unlink failed: the tombstone stays
    for (std::uint64_t n = 0; n < 10 && !left; ++n) {
        rig.fs.fail_after(n, EIO);
        left = !rig.remove(blob.digest) && !rig.store->find(blob.digest);
        rig.fs.clear_faults();
        if (!left) REQUIRE(rig.push(blob));
    }
    REQUIRE(left);
    REQUIRE(rig.back_up());
    REQUIRE(rig.push(blob));
    rig.kill();
    rig.damage_meta();
    rig.fs.power_cut_all();
    rig.open();
    REQUIRE(rig.store->find(blob.digest));
    rig.store->tick(Instant{1});
    CHECK(rig.read(blob.digest) == blob.data);
    rig.kill();
    rig.fs.power_cut_all();
    rig.open();
    rig.store->tick(Instant{1});
    CHECK(rig.read(blob.digest) == blob.data);
}

TEST_CASE("an older meta.db does not vouch for a newer file") {
    // Its row is of a file that was removed; another of the same name came, and was not synced.
    const auto blob = make_blob(300'000, 12);
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
        CAPTURE(seed);
        Rig rig;
        REQUIRE(rig.push(blob));
        REQUIRE(rig.back_up());
        REQUIRE(rig.remove(blob.digest));
        rig.close();
        REQUIRE(rig.fs.unlink("/data/meta.db.bak"));
        rig.open();
        REQUIRE(rig.push(blob));
        REQUIRE(rig.back_up());
        REQUIRE(rig.remove(blob.digest));
        rig.kill();
        rig.open();
        rig.power_cut_in_finish(rig.filled(blob), 1 + seed % 5, seed);
        rig.damage_meta();
        rig.open();
        rig.check_read(blob);
    }
}

TEST_CASE("a removal that failed but reached the disk does not take the push after it") {
    // The sync reported an error and the bytes were out all the same: that row must be written over
    // before anything is promised.
    const auto blob = make_blob(9000, 13);
    bool failed = false;
    for (std::uint64_t n = 0; n < 8; ++n) {
        CAPTURE(n);
        Rig rig;
        REQUIRE(rig.push(blob));
        rig.fs.keep_on_failed_sync();
        rig.fs.fail_after(n, EIO);
        const auto removed = rig.remove(blob.digest);
        rig.fs.clear_faults();
        if (!removed && rig.store->find(blob.digest)) failed = true;
        REQUIRE(rig.push(blob));
        rig.kill();
        rig.fs.power_cut_all();
        rig.open();
        REQUIRE(rig.store->find(blob.digest));
        CHECK(rig.read(blob.digest) == blob.data);
    }
    CHECK(failed);
}

TEST_CASE("a cache.db that missed a write makes the next start a careful one") {
    // Its rows are about a moment that is over.
    Rig rig;
    const auto blob = make_blob(300'000, 15);
    REQUIRE(rig.push(blob));
    rig.store->touch(blob.digest);
    rig.fs.fail_after(0, EIO, true);
    rig.store->tick(Instant{1});
    rig.fs.clear_faults();
    rig.close();
    CHECK(rig.fs.stat("/data/running").has_value());
    rig.open();
    CHECK(rig.read(blob.digest) == blob.data);
    rig.close();
    CHECK_FALSE(rig.fs.stat("/data/running"));
}

TEST_CASE("thousands of removals are settled, and their digests need no more care") {
    // The memory of what rows might still say is bounded; what it forgets must be on the disk.
    Rig rig;
    const auto blob = make_blob(3000, 16);
    REQUIRE(rig.pull(blob, Durability::deferred));
    REQUIRE(rig.remove(blob.digest));
    for (std::uint64_t i = 0; i < 4200; ++i) {
        const auto other = make_blob(20, 1000 + i);
        rig.store->put_small(other.digest, other.data, false, Durability::deferred,
                             [](const Status& s) { REQUIRE(s); });
        REQUIRE(rig.remove(other.digest));
    }
    rig.store->tick(Instant{1});
    const auto partial = rig.open_partial(blob);
    REQUIRE(partial);
    REQUIRE(rig.land(*partial, blob, 0) == ChunkOutcome::stored);
    rig.fs.stop_after(1);  // nothing but the rename
    CHECK(rig.finish(*partial, Durability::deferred));  // it did not wait for a sync
    rig.kill();
    rig.fs.power_cut_all();
    rig.open();
    rig.check_read(blob);
}
