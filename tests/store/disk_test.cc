// The same stories on the disk of the machine, with threads; and the disk in memory on its own, since
// all the other tests believe it.
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <filesystem>

#include "base/mailbox.h"
#include "store/posix_fs.h"
#include "store/threaded_executor.h"
#include "tests/store/rig.h"

using namespace fastreg;
using namespace fastreg::store;

namespace {

/// A directory that goes with the test.
class TempDir {
  public:
    TempDir() {
        const char* base = std::getenv("TMPDIR");
        path_ = std::string(base == nullptr ? "/tmp" : base) + "/fastreg-store-XXXXXX";
        REQUIRE(::mkdtemp(path_.data()) != nullptr);
    }
    ~TempDir() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    TempDir(const TempDir&) = delete;
    TempDir& operator=(const TempDir&) = delete;
    [[nodiscard]] const std::string& path() const { return path_; }

  private:
    std::string path_;
};

/// A loop thread that is this thread.
class Loop {
  public:
    void post(std::function<void()> job) { mailbox_.post(std::move(job)); }
    template <class Until>
    void run(Until until) {
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
        while (!until()) {
            for (auto& job : mailbox_.take()) job();
            REQUIRE(std::chrono::steady_clock::now() < deadline);
            ::usleep(100);
        }
    }

  private:
    Mailbox<std::function<void()>> mailbox_;
};

Options options_in(const std::string& dir) {
    Options options;
    options.dir = dir;
    return options;
}

}  // namespace

TEST_CASE("two file systems, one behaviour") {
    // The fake is only worth something if it answers as the real one does.
    TempDir temp;
    PosixFs posix;
    test::MemoryFs memory;
    REQUIRE(memory.mkdirs(temp.path()));
    for (Fs* fs : {static_cast<Fs*>(&posix), static_cast<Fs*>(&memory)}) {
        CAPTURE(fs == &posix);
        const auto dir = temp.path() + "/a/b";
        REQUIRE(fs->mkdirs(dir));
        REQUIRE(fs->mkdirs(dir));
        CHECK(fs->open(dir + "/x", OpenMode::read).error().code == Errc::not_found);
        CHECK(fs->open(dir + "/x", OpenMode::write).error().code == Errc::not_found);
        auto file = fs->open(dir + "/x", OpenMode::create_new);
        REQUIRE(file);
        CHECK(fs->open(dir + "/x", OpenMode::create_new).error().code == Errc::already_exists);
        REQUIRE((*file)->pwrite(Bytes(10, std::byte{1}), 5));
        CHECK((*file)->size() == 15U);
        Bytes read(100);
        CHECK((*file)->pread(read, 3) == 12U);
        CHECK(read[1] == std::byte{0});
        CHECK(read[2] == std::byte{1});
        CHECK((*file)->pread(read, 50) == 0U);
        REQUIRE((*file)->truncate(8));
        REQUIRE((*file)->truncate(20));
        CHECK((*file)->pread(read, 0) == 20U);
        CHECK(read[7] == std::byte{1});
        CHECK(read[8] == std::byte{0});
        REQUIRE((*file)->fdatasync());
        REQUIRE(fs->rename(dir + "/x", temp.path() + "/a/y"));
        CHECK(fs->rename(dir + "/x", temp.path() + "/a/z").error().code == Errc::not_found);
        REQUIRE(fs->fsync_dir(dir));
        const auto entries = fs->list(temp.path() + "/a");
        REQUIRE(entries);
        REQUIRE(entries->size() == 2);
        CHECK((*entries)[0].name == "b");
        CHECK((*entries)[0].is_directory);
        CHECK((*entries)[1].name == "y");
        CHECK_FALSE((*entries)[1].is_directory);
        CHECK(fs->stat(temp.path() + "/a/y")->size == 20);
        CHECK(fs->stat(dir)->is_directory);
        CHECK(fs->stat(dir + "/none").error().code == Errc::not_found);
        CHECK(fs->mkdirs(temp.path() + "/a/y").error().code == Errc::already_exists);
        {
            const auto reader = fs->open(temp.path() + "/a/y", OpenMode::read);
            REQUIRE(reader);
            CHECK_FALSE((*reader)->pwrite(Bytes(1), 0));
            REQUIRE(fs->unlink(temp.path() + "/a/y"));
            CHECK((*reader)->pread(read, 0) == 20U);  // the inode outlives its name
        }
        CHECK(fs->unlink(temp.path() + "/a/y").error().code == Errc::not_found);
        CHECK(*fs->free_space(temp.path()) > 0);
        auto lock = fs->lock(temp.path() + "/lock");
        REQUIRE(lock);
        CHECK(fs->lock(temp.path() + "/lock").error().code == Errc::busy);
        lock->reset();
        CHECK(fs->lock(temp.path() + "/lock"));
    }
    CHECK((*posix.open(temp.path() + "/lock", OpenMode::read))->native_handle() >= 0);
    CHECK((*memory.open(temp.path() + "/lock", OpenMode::read))->native_handle() == -1);
}

TEST_CASE("the disk in memory forgets what was not synced") {
    // If it were too kind, no test of the store could fail.
    test::MemoryFs fs;
    REQUIRE(fs.mkdirs("/d"));
    REQUIRE(fs.fsync_dir("/"));
    const auto write = [&](const char* path, bool sync_file, bool sync_dir) {
        auto file = fs.open(path, OpenMode::create_new);
        REQUIRE(file);
        REQUIRE((*file)->pwrite(Bytes(1000, std::byte{1}), 0));
        if (sync_file) REQUIRE((*file)->fdatasync());
        if (sync_dir) REQUIRE(fs.fsync_dir("/d"));
    };
    write("/d/both", true, true);
    write("/d/name", false, true);
    write("/d/bytes", true, false);
    auto open_before = fs.open("/d/both", OpenMode::read);
    fs.power_cut_all();
    CHECK(fs.files() == std::vector<std::string>{"/d/both 1000", "/d/name 0"});
    Bytes data(10);
    CHECK_FALSE((*open_before)->pread(data, 0));

    // A failed sync loses the bytes for good, though a later one says yes.
    auto file = fs.open("/d/both", OpenMode::write);
    REQUIRE((*file)->pwrite(Bytes(1000, std::byte{2}), 0));
    fs.fail_after(0, EIO);
    CHECK_FALSE((*file)->fdatasync());
    CHECK((*file)->fdatasync());
    CHECK(fs.contents("/d/both")[0] == std::byte{2});
    fs.power_cut_all();
    CHECK(fs.contents("/d/both")[0] == std::byte{1});

    // A rename is one step: afterwards there is exactly one name.
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        REQUIRE(fs.rename(fs.stat("/d/both") ? "/d/both" : "/d/moved",
                          fs.stat("/d/both") ? "/d/moved" : "/d/both"));
        Rng rng(seed);
        fs.power_cut(rng);
        CHECK(fs.stat("/d/both").has_value() != fs.stat("/d/moved").has_value());
    }
    fs.set_capacity(8192);
    auto full = fs.open("/d/full", OpenMode::create_new);
    const auto refused = (*full)->pwrite(Bytes(100'000), 0);
    CHECK(refused.error().code == Errc::no_space);
    CHECK(refused.error().os_errno == ENOSPC);
}

TEST_CASE("a store on the disk of the machine, with threads") {
    // Everything at once: many chunks on several lanes, pushes, rows; then a clean stop and a restart.
    log::set_level(log::Level::off);
    TempDir temp;
    PosixFs fs;
    Loop loop;
    const auto pulled = make_blob(40 * 131'072 + 5, 21);
    std::vector<TestBlob> pushed;
    for (std::uint64_t i = 0; i < 8; ++i) pushed.push_back(make_blob(200'000 + i, 30 + i));
    NodeId node;
    {
        ThreadedExecutor executor(3, [&](std::function<void()> job) { loop.post(std::move(job)); });
        auto opened = Store::open(fs, executor, options_in(temp.path() + "/data"));
        if (!opened) FAIL(describe(opened.error()));
        const auto store = std::move(*opened);
        node = store->identity().node;
        CHECK(Store::open(fs, executor, options_in(temp.path() + "/data")).error().code == Errc::busy);

        int left = 1 + static_cast<int>(pushed.size()) + 10;
        std::shared_ptr<Partial> partial;
        store->open_partial(pulled.digest, pulled.data.size(), [&](auto p) { partial = *p; });
        loop.run([&] { return partial != nullptr; });
        CHECK(partial->file()->native_handle() >= 0);
        for (ChunkIndex i = 0; i < pulled.grid.count(); ++i) {
            const auto landing =
                *ChunkLanding::create(partial, i, pulled.link(i), pulled.link(i + 1));
            const auto chunk = pulled.chunk(i);
            const auto half = chunk.size() / 2;
            const auto on_chunk = [&](ChunkOutcome outcome) {
                CHECK(outcome == ChunkOutcome::stored);
                if (!partial->map().full()) return;
                store->finish_partial(partial, Durability::deferred, [&](const Status& s) {
                    CHECK(s);
                    --left;
                });
            };
            store->land(landing, 0, make_block(chunk.first(half)), xxh3_128(chunk.first(half)),
                        on_chunk);
            store->land(landing, half, make_block(chunk.subspan(half)), std::nullopt, on_chunk);
            loop.run([] { return true; });
            if (i % 16 == 15) {
                store->tick(Instant{i * 100'000'000});
                loop.run([&] { return partial->map().set_count() > i - 8; });
            }
        }
        for (const auto& blob : pushed) {
            store->begin_upload([&](Result<std::shared_ptr<UploadFile>> begun) {
                REQUIRE(begun);
                const auto upload = *begun;
                store->append(upload, make_block(blob.data), [](const Status& s) { CHECK(s); });
                store->commit_upload(upload, blob.digest, true, Durability::durable,
                                     [&](const Result<BlobInfo>& info) {
                                         CHECK(info);
                                         --left;
                                     });
            });
        }
        for (int i = 0; i < 10; ++i) {
            store->persist_rows({{"r", "k" + std::to_string(i), Bytes(50), 1, {}, false}},
                                [&](const Status& s) {
                                    CHECK(s);
                                    --left;
                                });
        }
        loop.run([&] { return left == 0; });
        std::optional<Status> closed;
        store->close([&](Status s) { closed = std::move(s); });
        loop.run([&] { return closed.has_value(); });
        CHECK(*closed);
    }
    InlineExecutor executor;
    auto again = Store::open(fs, executor, options_in(temp.path() + "/data"));
    if (!again) FAIL(describe(again.error()));
    CHECK((*again)->identity().node == node);
    CHECK((*again)->take_rows().size() == 10);
    CHECK((*again)->totals().blobs == 9);
    CHECK((*again)->totals().unverified == 0);
    for (const auto& entry : (*again)->list()) {
        CHECK(entry.info.synced);
        (*again)->verify(entry.digest, [](const Result<VerifyReport>& r) {
            REQUIRE(r);
            CHECK(r->good);
        });
    }
}

TEST_CASE("a store may go while its work is under way") {
    // An abrupt stop: callbacks of a store that is gone must not run, and its jobs must not crash.
    log::set_level(log::Level::off);
    TempDir temp;
    PosixFs fs;
    Loop loop;
    ThreadedExecutor executor(2, [&](std::function<void()> job) { loop.post(std::move(job)); });
    for (int round = 0; round < 5; ++round) {
        auto opened = Store::open(fs, executor, options_in(temp.path()));
        while (!opened && opened.error().code == Errc::busy) {  // the last job still holds the lock
            loop.run([] { return true; });
            opened = Store::open(fs, executor, options_in(temp.path()));
        }
        if (!opened) FAIL(describe(opened.error()));
        const auto blob = make_blob(1000, static_cast<std::uint64_t>(round));
        (*opened)->put_small(blob.digest, blob.data, true, Durability::durable,
                             [](const Status&) { FAIL("the store is gone"); });
        (*opened)->persist_rows({{"r", "k", {}, 1, {}, false}},
                                [](const Status&) { FAIL("the store is gone"); });
        opened->reset();
    }
    loop.run([] { return true; });
}

TEST_CASE("fifty thousand blobs are known well within five seconds") {
    // Restart to ready; the listing of a warm directory is most of it.
    log::set_level(log::Level::off);
    test::MemoryFs fs;
    InlineExecutor executor;
    {
        auto store = Store::open(fs, executor, test_options());
        REQUIRE(store);
        std::optional<Status> closed;
        (*store)->close([&](Status s) { closed = std::move(s); });
        REQUIRE(*closed);
    }
    Rng rng(5);
    for (int i = 0; i < 50'000; ++i) {
        Bytes raw(32);
        for (auto& byte : raw) byte = static_cast<std::byte>(rng.next());
        REQUIRE(fs.open(blob_path(*Digest::from_bytes(HashAlg::sha256, raw)), OpenMode::create_new));
    }
    const auto begin = std::clock();  // processor time: the machine may have other things to do
    const auto store = Store::open(fs, executor, test_options());
    REQUIRE(store);
    CHECK((*store)->totals().blobs == 50'000);
    CHECK((*store)->list().size() == 50'000);
    CHECK((std::clock() - begin) / CLOCKS_PER_SEC < 5);
}
