// What a start makes of what the last stop left behind.
#include <cerrno>

#include "store/cache_db.h"
#include "store/meta_db.h"
#include "store/vfs.h"
#include <map>

#include "tests/store/rig.h"

using namespace fastreg;
using namespace fastreg::store;

namespace {

void set_user_version(Fs& fs, const std::string& path, int version) {
    Vfs vfs(fs);
    auto db = Db::open(path, vfs.name());
    REQUIRE(db);
    REQUIRE(db->exec("PRAGMA locking_mode=EXCLUSIVE"));
    REQUIRE(db->exec(("PRAGMA user_version=" + std::to_string(version)).c_str()));
    REQUIRE(db->exec("PRAGMA wal_checkpoint(TRUNCATE)"));
}

Row row(std::string repo, std::string key, HlcTime hlc, std::string_view value, bool tombstone = false) {
    Row r{std::move(repo), std::move(key), {}, hlc, {}, tombstone};
    r.value.assign(as_bytes(value).begin(), as_bytes(value).end());
    r.writer.bytes[0] = std::byte{7};
    return r;
}

Status persist(Rig& rig, std::vector<Row> rows) {
    std::optional<Status> outcome;
    rig.store->persist_rows(std::move(rows), [&](Status s) { outcome = std::move(s); });
    REQUIRE(outcome);
    return *outcome;
}

void overwrite(Fs& fs, const std::string& path, std::uint64_t at, std::size_t length) {
    const auto file = fs.open(path, OpenMode::write);
    REQUIRE(file);
    REQUIRE((*file)->pwrite(Bytes(length, std::byte{0x5a}), at));
}

}  // namespace

TEST_CASE("a node keeps its id, and every start has a larger epoch") {
    // What an older epoch said is void; an epoch must never come twice, however the node stopped.
    Rig rig;
    const auto first = rig.store->identity();
    CHECK(first.node.known());
    CHECK(first.boot_epoch == 1);
    CHECK(as_text(rig.fs.contents("/data/node_id")) == first.node.str() + "\n");
    rig.close();
    rig.open();
    CHECK(rig.store->identity().node == first.node);
    CHECK(rig.store->identity().boot_epoch == 2);
    rig.kill();
    rig.fs.power_cut_all();
    rig.open(test_options(99));
    CHECK(rig.store->identity().node == first.node);
    CHECK(rig.store->identity().boot_epoch == 3);
}

TEST_CASE("rows, homes and peers come back") {
    // The rows are the truth about tags; a lost one is a tag that goes back in time.
    Rig rig;
    const auto a = row("library/alpine", "tag/latest", 5, "one");
    const auto b = row("library/alpine", "tag/old", 1ULL << 63U, "gone", true);
    REQUIRE(persist(rig, {a, b}));
    REQUIRE(persist(rig, {row("library/alpine", "tag/latest", 4, "older: passed over")}));
    REQUIRE(persist(rig, {row("library/alpine", "tag/old", 5, "older though it looks larger")}));
    PeerRecord peer{{}, Bytes(40, std::byte{1})};
    peer.node.bytes[3] = std::byte{9};
    rig.store->save_peers({peer}, [](const Status& s) { CHECK(s); });
    const auto blob = make_blob(100, 1);
    REQUIRE(rig.pull(blob, Durability::deferred));
    rig.store->set_home(blob.digest, 100, true, [](const Status& s) { CHECK(s); });
    CHECK(rig.store->find(blob.digest)->home);
    CHECK(rig.store->find(blob.digest)->synced);
    rig.kill();
    rig.fs.power_cut_all();

    rig.open();
    CHECK(rig.store->take_rows() == std::vector<Row>{a, b});
    CHECK(rig.store->take_rows().empty());
    CHECK(rig.store->take_peers() == std::vector<PeerRecord>{peer});
    REQUIRE(rig.store->homes().size() == 1);
    CHECK(rig.store->homes()[0].digest == blob.digest);
    CHECK(rig.store->find(blob.digest)->home);
    CHECK(rig.read(blob.digest) == blob.data);
    rig.store->set_home(blob.digest, 100, false, [](const Status& s) { CHECK(s); });
    rig.store->erase_rows({{"library/alpine", "tag/old"}}, [](const Status& s) { CHECK(s); });
    rig.close();
    rig.open();
    CHECK(rig.store->homes().empty());
    CHECK(rig.store->take_rows() == std::vector<Row>{a});
}

TEST_CASE("a row that is too long for the database is refused, and the next one is not") {
    // Bad input ends in an answer.
    Rig rig;
    const auto huge = persist(rig, {row("r", "huge", 1, std::string(65U << 20U, 'x'))});
    REQUIRE_FALSE(huge);
    CHECK(huge.error().code == Errc::too_large);
    CHECK(persist(rig, {row("r", "small", 1, "x")}));
    rig.close();
    rig.open();
    CHECK(rig.store->take_rows().size() == 1);
}

TEST_CASE("a start goes on behind a file that it cannot look at") {
    // One bad sector would keep a node with ten thousand good blobs from serving any.
    Rig rig;
    const auto bad = make_blob(5000, 2);
    const auto good = make_blob(6000, 3);
    REQUIRE(rig.push(bad));
    REQUIRE(rig.push(good));
    rig.store->set_home(bad.digest, 5000, true, [](const Status& s) { CHECK(s); });
    rig.close();
    SUBCASE("for a while") {
        rig.fs.fail_stat(blob_path(bad.digest), EIO);
        rig.open();
        CHECK(rig.store->find(good.digest)->verified);
        REQUIRE(rig.store->find(bad.digest));
        CHECK(rig.store->find(bad.digest)->size == 5000);
        CHECK(rig.store->find(bad.digest)->home);
        CHECK_FALSE(rig.store->find(bad.digest)->verified);
        rig.fs.clear_faults();
        std::optional<Result<VerifyReport>> report;
        rig.store->verify(bad.digest, [&](const Result<VerifyReport>& r) { report = r; });
        REQUIRE(report);
        REQUIRE(*report);
        CHECK((*report)->good);
        CHECK(rig.store->find(bad.digest)->verified);
    }
    SUBCASE("that is gone since it was listed") {
        rig.fs.fail_stat(blob_path(bad.digest), ENOENT);
        rig.open();
        CHECK(rig.store->find(good.digest)->verified);
        CHECK_FALSE(rig.store->find(bad.digest));
        REQUIRE(rig.store->homes().size() == 1);  // wanted back
        CHECK(rig.store->homes()[0].digest == bad.digest);
    }
}

TEST_CASE("a home whose file is gone is still listed, so that it can be fetched again") {
    // Row without file: heal, never forget.
    Rig rig;
    const auto blob = make_blob(5000, 2);
    REQUIRE(rig.push(blob));
    rig.store->set_home(blob.digest, 5000, true, [](const Status& s) { CHECK(s); });
    rig.close();
    REQUIRE(rig.fs.unlink(blob_path(blob.digest)));
    rig.open();
    CHECK_FALSE(rig.store->find(blob.digest));
    REQUIRE(rig.store->homes().size() == 1);
    CHECK(rig.store->homes()[0].size == 5000);
    REQUIRE(rig.pull(blob, Durability::deferred));
    CHECK(rig.store->find(blob.digest)->home);
    CHECK(rig.store->find(blob.digest)->pushed);
    rig.kill();
    rig.fs.power_cut_all();  // a row says "synced", so even a deferred one was
    rig.open();
    CHECK(rig.read(blob.digest) == blob.data);
}

TEST_CASE("a second process is refused and told who is there") {
    // Two writers of one directory would destroy it.
    Rig rig;
    const auto second = Store::open(rig.fs, rig.executor, test_options());
    REQUIRE_FALSE(second);
    CHECK(second.error().code == Errc::busy);
    CHECK(second.error().what.find("/data") != std::string::npos);
    CHECK(second.error().what.find("process 1") != std::string::npos);
    const auto blob = make_blob(10, 3);
    CHECK(rig.push(blob));
    rig.close();
    CHECK(rig.try_open());
}

TEST_CASE("databases of a newer version are refused, both versions named") {
    // A downgrade must not misread what it does not know.
    const std::pair<const char*, int> databases[] = {{"/data/meta.db", 1}, {"/data/cache.db", 2}};
    for (const auto& [name, newest] : databases) {
        Rig rig;
        rig.close();
        set_user_version(rig.fs, name, 7);
        std::map<std::string, Bytes> before;  // what a newer version wrote stays as it is
        for (const char* file : {"meta.db", "cache.db", "lock", "node_id", "meta.db.bak"}) {
            before[file] = rig.fs.contents(std::string(kDir) + "/" + file);
        }
        const auto files = rig.fs.files();
        const auto operations = rig.fs.operations();
        const auto refused = rig.try_open();
        REQUIRE_FALSE(refused);
        CHECK(rig.fs.operations() == operations);
        CHECK(rig.fs.files() == files);
        for (const auto& [file, bytes] : before) {
            CHECK(rig.fs.contents(std::string(kDir) + "/" + file) == bytes);
        }
        CHECK(refused.error().code == Errc::unsupported);
        CHECK(refused.error().what.find(name) != std::string::npos);
        CHECK(refused.error().what.find("version 7") != std::string::npos);
        CHECK(refused.error().what.find("up to " + std::to_string(newest)) != std::string::npos);
        set_user_version(rig.fs, name, newest);
        CHECK(rig.try_open());
    }
}

TEST_CASE("a cache.db of an older version is brought up to date, and its chunk maps are checked") {
    // Version 1 did not say which maps were in doubt.
    Rig rig;
    const auto blob = make_blob(300'000, 17);
    {
        const auto partial = rig.open_partial(blob);
        REQUIRE(partial);
        REQUIRE(rig.land(*partial, blob, 0) == ChunkOutcome::stored);
        REQUIRE(rig.land(*partial, blob, 1) == ChunkOutcome::stored);
        rig.close();
    }
    {
        Vfs vfs(rig.fs);
        auto db = Db::open("/data/cache.db", vfs.name());
        REQUIRE(db);
        REQUIRE(db->exec("PRAGMA locking_mode=EXCLUSIVE; ALTER TABLE partials DROP COLUMN doubted;"
                         "PRAGMA user_version=1; PRAGMA wal_checkpoint(TRUNCATE)"));
    }
    const std::string path = "/data/partial/sha256-" + blob.digest.hex();
    REQUIRE(rig.fs.flip_bit(path, 5, 5));
    rig.open();
    const auto partial = rig.open_partial(blob);
    REQUIRE(partial);
    CHECK_FALSE((*partial)->map().has(0));
    CHECK((*partial)->map().has(1));
}

TEST_CASE("a damaged cache.db is rebuilt from the files") {
    // It only ever saved work: nothing may be lost, and nothing served unhashed.
    for (const bool missing : {false, true}) {
        Rig rig;
        const auto pushed = make_blob(300'000, 4);
        const auto pulled = make_blob(400'000, 5);
        REQUIRE(rig.push(pushed));
        REQUIRE(rig.pull(pulled, Durability::deferred));
        rig.close();
        if (missing) {
            REQUIRE(rig.fs.unlink("/data/cache.db"));
        } else {
            overwrite(rig.fs, "/data/cache.db", 0, 3000);
        }
        rig.open();
        CHECK(rig.store->find(pushed.digest)->verified);  // meta.db vouches for it
        CHECK(rig.store->find(pushed.digest)->pushed);
        CHECK_FALSE(rig.store->find(pulled.digest)->verified);
        CHECK(rig.store->totals().unverified == 1);
        CHECK(rig.store->totals().blob_bytes == 700'000);
        rig.store->tick(Instant{1});  // hashes one in the background
        CHECK(rig.store->find(pulled.digest)->verified);
        CHECK(rig.store->totals().unverified == 0);
        std::optional<Chain> chain;
        rig.store->chain_of(pushed.digest, [&](Result<Chain> answer) { chain = *answer; });
        CHECK(chain == pushed.chain);
        CHECK(rig.fs.contents("/data/cache.db.bad").empty() == missing);
    }
}

TEST_CASE("a damaged meta.db is restored from its backup") {
    // An older truth under the same name, with epochs that cannot repeat.
    Rig rig;
    const auto node = rig.store->identity().node;
    const auto a = row("r", "tag/a", 5, "one");
    REQUIRE(persist(rig, {a}));
    rig.close();
    overwrite(rig.fs, "/data/meta.db", 0, 2000);
    rig.open();
    CHECK(rig.store->identity().node == node);
    CHECK(rig.store->identity().boot_epoch > 100);
    CHECK(rig.store->take_rows() == std::vector<Row>{a});
    CHECK_FALSE(rig.fs.contents("/data/meta.db.bad").empty());

    // Without a backup the node is a new one.
    rig.close();
    overwrite(rig.fs, "/data/meta.db", 0, 2000);
    REQUIRE(rig.fs.unlink("/data/meta.db.bak"));
    rig.open(test_options(1234));
    CHECK(rig.store->identity().node != node);
    CHECK(rig.store->identity().boot_epoch == 1);
    CHECK(rig.store->take_rows().empty());
}

TEST_CASE("unknown files are hashed before they are served, and bad ones go") {
    // Somebody may have copied files in, or a database may be older than they are.
    Rig rig;
    const auto good = make_blob(70'000, 6);
    const auto bad = make_blob(70'000, 7);
    rig.close();
    for (const auto* blob : {&good, &bad}) {
        auto file = rig.fs.open(blob_path(blob->digest), OpenMode::create_new);
        REQUIRE(file);
        REQUIRE((*file)->pwrite(blob->data, 0));
    }
    REQUIRE(rig.fs.flip_bit(blob_path(bad.digest), 65'000, 0));
    auto stranger = rig.fs.open("/data/blobs/sha256/00/README", OpenMode::create_new);
    REQUIRE(stranger);
    rig.open();
    CHECK(rig.store->totals().unverified == 2);
    CHECK_FALSE(rig.read(good.digest));
    for (int i = 1; i < 4; ++i) rig.store->tick(Instant{i});
    CHECK(rig.read(good.digest) == good.data);
    CHECK_FALSE(rig.store->find(bad.digest));
    CHECK(rig.fs.contents(blob_path(bad.digest)).empty());
    CHECK(rig.store->totals().withdrawn == 1);
    CHECK(rig.store->find(good.digest)->synced);
    CHECK(rig.fs.stat("/data/blobs/sha256/00/README"));
}

TEST_CASE("stale temporaries go, and nothing else") {
    // They are reserved room that nobody will ever give back.
    Rig rig;
    std::shared_ptr<UploadFile> upload;
    rig.store->begin_upload([&](auto begun) { upload = *begun; });
    rig.store->append(upload, make_block(Bytes(1000)), [](const Status& s) { REQUIRE(s); });
    rig.kill();
    auto foreign = rig.fs.open("/data/partial/notes.txt", OpenMode::create_new);
    REQUIRE(foreign);
    rig.open();
    std::size_t in_partial = 0;
    for (const auto& file : rig.fs.files()) {
        if (file.starts_with("/data/partial/")) ++in_partial;
    }
    CHECK(in_partial == 1);
    CHECK(rig.store->totals().used_bytes() == 0);
}

TEST_CASE("power is cut before every single operation of a removal") {
    // Deleted means deleted: after the answer the blob does not come back.
    const auto blob = make_blob(200'000, 8);
    bool finished = false;
    for (std::uint64_t n = 0; !finished; ++n) {
        CAPTURE(n);
        REQUIRE(n < 40);
        Rig rig;
        REQUIRE(rig.push(blob));
        rig.fs.stop_after(n);
        const auto removed = rig.remove(blob.digest);
        finished = removed.has_value() && n > 8;
        rig.power_cut(n);
        rig.open();
        if (removed) CHECK_FALSE(rig.store->find(blob.digest));
        if (rig.store->find(blob.digest)) CHECK(rig.read(blob.digest) == blob.data);
        REQUIRE(rig.push(blob));
        CHECK(rig.read(blob.digest) == blob.data);
        rig.kill();
        rig.fs.power_cut_all();
        rig.open();
        CHECK(rig.read(blob.digest) == blob.data);
    }
}

TEST_CASE("readers of a removed blob finish") {
    // A pull in progress must not break because of a clean-up.
    Rig rig;
    const auto blob = make_blob(200'000, 9);
    REQUIRE(rig.push(blob));
    const auto file = rig.store->open_blob(blob.digest);
    REQUIRE(file);
    REQUIRE(rig.remove(blob.digest));
    CHECK_FALSE(rig.store->find(blob.digest));
    CHECK_FALSE(rig.store->open_blob(blob.digest));
    Bytes data(200'000);
    REQUIRE((*file)->pread(data, 0));
    CHECK(data == blob.data);
    CHECK(rig.remove(blob.digest));  // fine when it is not there
}

TEST_CASE("removed, pulled again without a sync, and the power goes") {
    // The old row "synced" may come back with the WAL of cache.db cut short: it must not vouch for the
    // new file.
    const auto blob = make_blob(300'000, 10);
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
        CAPTURE(seed);
        Rig rig;
        REQUIRE(rig.pull(blob, Durability::deferred));
        REQUIRE(rig.remove(blob.digest));
        rig.fs.stop_after(seed % 20 + 3);
        (void)rig.pull(blob, Durability::deferred);
        rig.power_cut(seed);
        rig.open();
        rig.check_read(blob);
    }
}

TEST_CASE("an old row does not vouch for a new file") {
    // Pushed, found bad, pulled again behind the push's row, and the power goes before the sync.
    const auto blob = make_blob(300'000, 14);
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
        CAPTURE(seed);
        Rig rig;
        REQUIRE(rig.push(blob));
        REQUIRE(rig.fs.flip_bit(blob_path(blob.digest), 5, 5));
        CHECK(rig.found_bad(blob.digest));
        rig.power_cut_in_finish(rig.filled(blob), 1 + seed % 4, seed);
        rig.open();
        rig.check_read(blob);
    }
}

TEST_CASE("every single operation of a start fails in turn, and the next start is well") {
    // A start that fails half-way must leave nothing that the next one trips over.
    const auto blob = make_blob(200'000, 11);
    Rig rig;
    REQUIRE(rig.push(blob));
    auto epoch = rig.store->identity().boot_epoch;
    for (const int code : {EIO, ENOSPC}) {
        for (std::uint64_t n = 0; n < 40; ++n) {
            CAPTURE(code);
            CAPTURE(n);
            rig.kill();
            rig.fs.fail_after(n, code);
            (void)rig.try_open();
            rig.store.reset();
            rig.fs.clear_faults();
            rig.open();
            CHECK(rig.store->identity().boot_epoch > epoch);
            epoch = rig.store->identity().boot_epoch;
            CHECK(rig.read(blob.digest) == blob.data);
        }
    }
}

TEST_CASE("power is cut before every operation of the very first start") {
    // The layout itself must be durable before anything is promised on it.
    const auto blob = make_blob(1000, 12);
    for (std::uint64_t n = 0; n < 620; n += n < 500 ? 37 : 1) {
        CAPTURE(n);
        Rig rig(false);
        rig.fs.stop_after(n);
        (void)rig.try_open();
        rig.power_cut(n);
        rig.open();
        REQUIRE(rig.push(blob));
        rig.kill();
        rig.fs.power_cut_all();
        rig.open();
        CHECK(rig.read(blob.digest) == blob.data);
    }
}

TEST_CASE("use times are kept across a clean stop") {
    // The order of eviction.
    Rig rig;
    const auto blob = make_blob(100, 13);
    REQUIRE(rig.push(blob));
    rig.store->touch(blob.digest);
    rig.store->touch(make_blob(5, 5).digest);  // not here: nothing happens
    const auto used = rig.store->find(blob.digest)->last_use_ms;
    rig.close();
    rig.open();
    CHECK(rig.store->find(blob.digest)->last_use_ms == used);
}
