// Lists of tags come from owners that each have a part and each cut their answer somewhere else.
#include "net.h"

using namespace fastreg;
using namespace fastreg::repo;
using namespace fastreg::repo::test;

namespace {

/// Reads a whole prefix in pages of `limit`.
std::vector<std::string> pages(Net& net, std::uint64_t n, const std::string& prefix, std::size_t limit) {
    std::vector<std::string> keys;
    std::string after;
    for (int guard = 0; guard < 2000; ++guard) {
        const auto done = net.get(n, "app", Query::prefix(prefix, after, limit));
        REQUIRE(done.rows.has_value());
        REQUIRE(done.rows->size() <= limit);
        for (const auto& row : *done.rows) keys.push_back(row.key);
        if (!done.more) return keys;
        REQUIRE_FALSE(done.rows->empty());
        after = done.rows->back().key;
    }
    FAIL("the pages never end");
    return keys;
}

}  // namespace

TEST_CASE("pages of a list are right however the rows are spread over the owners") {
    // A wrong merge shows a deleted tag, or hides one behind another owner's cut.
    for (std::uint64_t seed = 1; seed <= 25; ++seed) {
        CAPTURE(seed);
        Net net(seed);
        for (std::uint64_t n = 0; n < 3; ++n) net.start(n);
        std::map<std::string, std::pair<std::string, bool>> model;  // key -> value, live
        const auto count = 20 + net.rng.below(seed % 5 == 0 ? 400 : 60);
        const auto size = static_cast<std::size_t>(seed % 5 == 0 ? 1500 : 10);
        for (std::uint64_t i = 0; i < count; ++i) {
            const auto key = (net.rng.chance(0.9) ? "t/" : "u/") + std::to_string(net.rng.below(500));
            HlcTime hlc = (1'699'999'990'000ULL << 16U);
            const auto versions = 1 + net.rng.below(4);
            for (std::uint64_t v = 0; v < versions; ++v) {
                Row row{"app", key, {}, ++hlc + 16 * i, node_id(v % 3), net.rng.chance(0.3)};
                std::string value = std::to_string(i) + "." + std::to_string(v);
                value.resize(size, ' ');
                if (!row.tombstone) row.value = bytes(value);
                // Acknowledged: on two of three. Older versions may be anywhere.
                const auto missing = v + 1 == versions ? net.rng.below(3) : 3 + net.rng.below(3);
                for (std::uint64_t n = 0; n < 3; ++n) {
                    const bool gets = v + 1 == versions ? n != missing : n == missing - 3;
                    auto& disk = net.at(n).disk;
                    const auto place = disk.find({"app", key});
                    if (!gets) continue;
                    if (place == disk.end() || row.newer_than(place->second)) disk[{"app", key}] = row;
                }
                auto& known = model[key];
                known = {row.tombstone ? "" : value, !row.tombstone};
                if (v + 1 < versions) continue;
                // The model keeps the last version only when it beats what the key had before.
                for (std::uint64_t n = 0; n < 3; ++n) {
                    const auto place = net.at(n).disk.find({"app", key});
                    if (place == net.at(n).disk.end() || !place->second.newer_than(row)) continue;
                    FAIL("the generator must stamp upwards");
                }
            }
        }
        for (std::uint64_t n = 0; n < 3; ++n) net.kill(n);
        for (std::uint64_t n = 0; n < 3; ++n) {
            net.start(n);
        }
        // No time for the owners to become equal: reads alone must get it right.
        std::vector<std::string> want;
        for (const auto& [key, known] : model) {
            if (key.starts_with("t/") && known.second) want.push_back(key);
        }
        for (const std::size_t limit : {std::size_t{1}, std::size_t{7}, std::size_t{1000}}) {
            if (limit == 1 && want.size() > 100) continue;
            CHECK(pages(net, net.rng.below(3), "t/", limit) == want);
        }
        const auto all = net.get(0, "app", Query::prefix("t/", "", 1000));
        REQUIRE(all.rows.has_value());
        for (const auto& row : *all.rows) CHECK(as_text(row.value) == model[row.key].first);
    }
}

TEST_CASE("a list asked of a stranger goes over the wire in as many rounds as it needs") {
    Net net(77);
    for (std::uint64_t n = 0; n < 6; ++n) net.start(n);
    net.run_for(2s);
    for (int part = 0; part < 4; ++part) {
        std::vector<Change> changes;
        for (int i = 0; i < 100; ++i) {
            changes.push_back(set("m/" + std::to_string(1000 + part * 100 + i), std::string(3000, 'v')));
        }
        REQUIRE(net.put(0, "app", std::move(changes)).has_value());
    }
    std::vector<Change> deletes;
    for (int i = 0; i < 300; ++i) deletes.push_back(gone("m/" + std::to_string(1000 + i)));
    REQUIRE(net.put(1, "app", std::move(deletes)).has_value());
    for (std::uint64_t n = 0; n < 6; ++n) {
        const auto done = net.get(n, "app", Query::prefix("m/", "", 10'000));
        REQUIRE(done.rows.has_value());
        CHECK(done.rows->size() == 100);
        CHECK_FALSE(done.more);
        CHECK(done.rows->front().key == "m/1300");
        // Three hundred tombstones in front of the first live row are no end of the list.
        const auto one = net.get(n, "app", Query::prefix("m/", "", 1));
        REQUIRE(one.rows->size() == 1);
        CHECK(one.more);
    }
}

TEST_CASE("an empty prefix lists everything, after works without a row of that name") {
    Net net(5);
    net.start(0);
    REQUIRE(net.put(0, "app", {set("b/1", "x"), set("t/a", "x"), set("t/c", "x")}).has_value());
    CHECK(pages(net, 0, "", 1) == std::vector<std::string>{"b/1", "t/a", "t/c"});
    const auto done = net.get(0, "app", Query::prefix("t/", "t/b", 10));
    REQUIRE(done.rows->size() == 1);
    CHECK(done.rows->front().key == "t/c");
    CHECK(net.get(0, "ap", Query::prefix("", "", 10)).rows->empty());  // no prefix of a name
    CHECK(net.get(0, "app2", Query::prefix("", "", 10)).rows->empty());
}

TEST_CASE("the catalog names repositories with live rows, page by page") {
    Net net(6);
    net.start(0);
    for (const auto* name : {"a", "b/c", "d"}) REQUIRE(net.put(0, name, {set("t/x", "1")}).has_value());
    REQUIRE(net.put(0, "d", {gone("t/x")}).has_value());
    const auto& core = *net.at(0).core;
    CHECK(core.catalog("", 10) == std::vector<std::string>{"a", "b/c"});
    CHECK(core.catalog("a", 1) == std::vector<std::string>{"b/c"});
    CHECK(core.catalog("", 1) == std::vector<std::string>{"a"});
}
