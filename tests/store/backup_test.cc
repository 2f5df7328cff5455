// meta.db.bak: written while the node runs, whole at every moment, and taken when meta.db is damaged.
#include <cerrno>

#include "tests/store/rig.h"

using namespace fastreg;
using namespace fastreg::store;

namespace {

constexpr const char* kBackup = "/data/meta.db.bak";

void put_key(Rig& rig, const std::string& key) {
    rig.store->persist_rows({{"r", key, Bytes(10), 1, {}, false}}, [](const Status& s) { REQUIRE(s); });
}

std::vector<std::string> keys_of(Rig& rig) {
    std::vector<std::string> keys;
    for (const auto& row : rig.store->take_rows()) keys.push_back(row.key);
    return keys;
}

std::size_t backups_in(const std::vector<std::string>& trace) {
    std::size_t count = 0;
    for (const auto& line : trace) count += line.starts_with("rename /data/meta.db.bak.new") ? 1 : 0;
    return count;
}

Options every(Duration span) {
    auto options = test_options();
    options.backup_every = span;
    return options;
}

constexpr Instant at(std::int64_t seconds) {
    return Instant{seconds * 1'000'000'000};
}

/// One key is in the backup, one came after it.
void open_behind_its_backup(Rig& rig) {
    rig.open(every(60s));
    put_key(rig, "a");
    rig.store->tick(at(1));
    rig.store->tick(at(61));
    put_key(rig, "b");
}

}  // namespace

TEST_CASE("meta.db is backed up while the node runs, when it has changed") {
    // A node that is never stopped in order would have none, or one from months ago.
    Rig rig(false);
    rig.open(every(60s));
    rig.store->tick(at(1));
    put_key(rig, "a");
    rig.fs.start_trace();
    rig.store->tick(at(30));
    CHECK(backups_in(rig.fs.take_trace()) == 0);
    CHECK(rig.store->next_deadline() <= at(61));
    rig.fs.start_trace();
    rig.store->tick(at(61));
    rig.store->tick(at(62));
    CHECK(backups_in(rig.fs.take_trace()) == 1);
    rig.fs.start_trace();
    for (int minute = 2; minute < 10; ++minute) rig.store->tick(at(minute * 61));
    CHECK(backups_in(rig.fs.take_trace()) == 0);  // nothing has changed
    put_key(rig, "b");
    rig.fs.start_trace();
    rig.store->tick(at(700));
    CHECK(backups_in(rig.fs.take_trace()) == 1);
    put_key(rig, "after the backup");
    CHECK_FALSE(rig.fs.contents(kBackup).empty());

    rig.kill();
    rig.fs.power_cut_all();
    rig.damage_meta();
    rig.open();
    CHECK(keys_of(rig) == std::vector<std::string>{"a", "b"});
}

TEST_CASE("a backup that fails leaves the one before, and is tried again") {
    // The moment of a full disk is the moment at which it may be needed.
    for (const int code : {EIO, ENOSPC}) {
        bool failed = true;
        for (std::uint64_t n = 0; failed; ++n) {
            CAPTURE(code);
            CAPTURE(n);
            REQUIRE(n < 40);
            Rig rig(false);
            open_behind_its_backup(rig);
            rig.fs.fail_after(n, code);
            failed = !rig.back_up();
            rig.fs.clear_faults();
            put_key(rig, "c");
            if (failed && n % 2 == 0) {
                rig.store->tick(at(122));
                CHECK_FALSE(rig.fs.stat(std::string(kBackup) + ".new"));
            }
            rig.kill();
            rig.fs.power_cut_all();
            rig.damage_meta();
            rig.open();
            const auto kept = keys_of(rig);
            REQUIRE(!kept.empty());
            CHECK(kept[0] == "a");
            if (failed && n % 2 == 0) CHECK(kept.size() == 3);
        }
    }
}

TEST_CASE("power is cut before every single operation of a backup") {
    // One of the two is always whole.
    bool whole = false;
    for (std::uint64_t n = 0; !whole; ++n) {
        REQUIRE(n < 40);
        for (std::uint64_t seed = 0; seed < 5; ++seed) {
            CAPTURE(n);
            CAPTURE(seed);
            Rig rig(false);
            open_behind_its_backup(rig);
            rig.fs.stop_after(n);
            whole = rig.back_up().has_value();
            rig.power_cut(seed * 100 + n);
            rig.damage_meta();
            rig.open();
            const auto kept = keys_of(rig);
            REQUIRE(!kept.empty());
            CHECK(kept[0] == "a");
            if (whole) CHECK(kept.size() == 2);
        }
    }
}
