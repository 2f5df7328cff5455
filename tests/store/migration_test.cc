// An older database is brought up to date in one piece, or is left as it was.
#include "store/schema.h"
#include "store/vfs.h"
#include "tests/store/rig.h"

using namespace fastreg;
using namespace fastreg::store;

namespace {

// A made-up history: a table, a column that rows of before must get, a table that is filled from the first.
constexpr Migration kSteps[] = {
    "CREATE TABLE tags(name TEXT PRIMARY KEY, digest TEXT NOT NULL) WITHOUT ROWID;",
    "ALTER TABLE tags ADD COLUMN pushed INTEGER NOT NULL DEFAULT 7;",
    "CREATE TABLE repos(name TEXT PRIMARY KEY) WITHOUT ROWID;"
    "INSERT INTO repos SELECT name || '/repo' FROM tags;",
};
constexpr std::span<const Migration> kAll(kSteps);
constexpr std::int64_t kRows = 300;  // several pages

/// One column of one row; the query must have a row.
std::int64_t number(Db& db, std::string_view sql) {
    auto stmt = db.prepare(sql);
    if (!stmt) FAIL(describe(stmt.error()));
    const auto row = stmt->step();
    REQUIRE(row);
    REQUIRE(*row);
    return stmt->i64(0);
}

std::int64_t version_of(Db& db) { return number(db, "PRAGMA user_version"); }

struct Disk {
    test::MemoryFs fs;
    Vfs vfs{fs};
    const std::string path = "/data/meta.db";

    Disk() { REQUIRE(fs.mkdirs("/data")); }

    /// As a release that knows `steps` opens it.
    [[nodiscard]] Result<Db> open(std::span<const Migration> steps) {
        FR_TRY_ASSIGN(Db db, Db::open(path, vfs.name()));
        FR_TRY(prepare_database(db, Synchronous::full, steps));
        return db;
    }
    /// A database of the first release, with rows, closed in order and on the disk.
    void fill() {
        {
            auto db = open(kAll.first(1));
            REQUIRE(db);
            const std::string digest = "sha256:" + std::string(64, 'a');
            for (std::int64_t i = 0; i < kRows; ++i) {
                const std::string name = "t" + std::to_string(i);
                REQUIRE(db->exec(("INSERT INTO tags VALUES('" + name + "', '" + digest + "')").c_str()));
            }
        }
        for (const char* folder : {"/", "/data"}) REQUIRE(fs.fsync_dir(folder));
    }
    /// It is the old one with every row, or the new one with every row, and nothing between.
    std::int64_t check_whole() {
        auto db = Db::open(path, vfs.name());
        if (!db) FAIL(describe(db.error()));
        REQUIRE(db->exec("PRAGMA locking_mode=EXCLUSIVE"));
        REQUIRE(db->quick_check());
        const std::int64_t version = version_of(*db);
        CHECK((version == 1 || version == 3));
        CHECK(number(*db, "SELECT count(*) FROM tags") == kRows);
        CHECK(number(*db, "SELECT count(*) FROM pragma_table_info('tags')") == (version == 1 ? 2 : 3));
        CHECK(number(*db, "SELECT count(*) FROM sqlite_master WHERE name = 'repos'") == (version == 1 ? 0 : 1));
        return version;
    }
};

}  // namespace

TEST_CASE("a database of any earlier version is brought up to date with its rows") {
    // An upgrade must not cost a tag, whichever release wrote the file.
    for (std::size_t from = 0; from <= kAll.size(); ++from) {
        CAPTURE(from);
        Disk disk;
        if (from > 0) disk.fill();
        if (from > 1) REQUIRE(disk.open(kAll.first(from)));
        auto db = disk.open(kAll);
        if (!db) FAIL(describe(db.error()));
        CHECK(version_of(*db) == 3);
        CHECK(number(*db, "SELECT count(*) FROM tags WHERE pushed = 7") == (from > 0 ? kRows : 0));
        CHECK(number(*db, "SELECT count(*) FROM repos") == (from > 0 ? kRows : 0));
    }
}

TEST_CASE("a step that fails leaves the earlier version, and the release of before goes on with it") {
    // The steps before the broken one must not stay: the old release knows nothing of them.
    constexpr Migration kBroken[] = {kSteps[0], kSteps[1], "CREATE TABLE tags(name TEXT);"};
    Disk disk;
    disk.fill();
    const auto db = disk.open(kBroken);
    REQUIRE(!db);
    CHECK(db.error().what.find("tags already exists") != std::string::npos);
    CHECK(disk.check_whole() == 1);
    CHECK(disk.open(kAll.first(1)));
    CHECK(disk.open(kAll));
    CHECK(disk.check_whole() == 3);
}

TEST_CASE("whichever single operation of a migration fails, the database is the old one or the new one") {
    // A full or failing disk in the middle of an upgrade; the next start tries again.
    for (std::uint64_t n = 0;; ++n) {
        CAPTURE(n);
        Disk disk;
        disk.fill();
        disk.fs.fail_after(n, n % 2 == 0 ? EIO : ENOSPC);
        const auto before = disk.fs.operations();
        const bool done = disk.open(kAll).has_value();
        const bool struck = disk.fs.operations() - before > n;
        disk.fs.clear_faults();
        const auto version = disk.check_whole();
        if (done) CHECK(version == 3);
        CHECK(disk.open(kAll));
        CHECK(disk.check_whole() == 3);
        if (struck) continue;
        CHECK(n > 5);  // some did strike
        break;
    }
}

TEST_CASE("power is cut before every single operation of a migration, and nothing is lost or half done") {
    for (std::uint64_t n = 0;; ++n) {
        for (std::uint64_t seed = 1; seed <= 8; ++seed) {
            CAPTURE(n);
            CAPTURE(seed);
            Disk disk;
            disk.fill();
            disk.fs.stop_after(n);
            const bool done = disk.open(kAll).has_value();
            Rng rng(seed);
            disk.fs.power_cut(rng);
            const auto version = disk.check_whole();
            if (done) CHECK(version == 3);
            CHECK(disk.open(kAll));
            CHECK(disk.check_whole() == 3);
            if (done && seed == 8) {
                CHECK(n > 5);
                return;
            }
        }
    }
}
