// Lists of tags come from owners that each have a part and each cut their answer somewhere else.
#include "net.h"

using namespace fastreg;
using namespace fastreg::repo;
using namespace fastreg::repo::test;

namespace {

/// Reads a whole prefix in pages of `limit`.
std::vector<std::string> pages(Net& net, std::uint64_t n, const std::string& prefix, std::size_t limit,
                               std::vector<Row>* rows = nullptr) {
    std::vector<std::string> keys;
    std::string after;
    for (int guard = 0; guard < 2000; ++guard) {
        const auto done = net.get(n, "app", Query::prefix(prefix, after, limit));
        REQUIRE(done.rows.has_value());
        REQUIRE(done.rows->size() <= limit);
        for (const auto& row : *done.rows) keys.push_back(row.key);
        if (rows != nullptr) rows->insert(rows->end(), done.rows->begin(), done.rows->end());
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
    for (std::uint64_t seed = 1; seed <= 24; ++seed) {
        CAPTURE(seed);
        Net net(seed);
        const bool large = seed % 4 == 0;  // rows that do not fit one frame
        const bool stranger = seed % 2 == 0;
        for (std::uint64_t n = 0; n < (stranger ? 4U : 3U); ++n) net.start(n);
        net.run_for(2s);
        const auto owners = net.at(0).core->owners("app");
        std::map<std::string, std::string> model;  // key -> last value; empty: deleted
        std::map<NodeId, std::vector<Row>> parts;
        HlcTime hlc = 1'699'999'990'000ULL << 16U;
        for (auto i = 20 + net.rng.below(large ? 300 : 60); i > 0; --i) {
            const auto key = (net.rng.chance(0.9) ? "t/" : "u/") + std::to_string(net.rng.below(500));
            const auto versions = 1 + net.rng.below(3);
            for (std::uint64_t v = 1; v <= versions; ++v) {
                std::string value = net.rng.chance(0.35) ? "" : std::to_string(i * 10 + v);
                if (!value.empty()) value.resize(large ? 1500 : 10, ' ');
                const Row row{"app", key, bytes(value), ++hlc, node_id(v), value.empty()};
                // The last version was acknowledged, so two of three have it; older ones got stuck
                // on one of them.
                const auto odd = net.rng.below(3);
                for (std::size_t n = 0; n < 3; ++n) {
                    if ((n == odd) == (v < versions)) parts[owners[n]].push_back(row);
                }
                model[key] = value;
            }
        }
        for (const auto& [owner, rows] : parts) {
            for (std::uint64_t n = 0; n < 4; ++n) {
                if (node_id(n) == owner) net.inject((n + 1) % 3, n, wire::RepoPut{0, rows});
            }
        }
        net.run_for(10ms);
        std::vector<std::string> want;
        for (const auto& [key, value] : model) {
            if (key.starts_with("t/") && !value.empty()) want.push_back(key);
        }
        // Reads repair what they see, so a seed reads once, at one size of pages.
        const std::size_t limits[] = {1, 3, 7, 50, 1000};
        const auto limit = limits[net.rng.below(5)];
        std::vector<Row> got;
        pages(net, net.rng.below(stranger ? 4 : 3), "t/", limit, &got);
        std::vector<std::string> keys;
        for (const auto& row : got) {
            keys.push_back(row.key);
            CHECK(as_text(row.value) == model[row.key]);
        }
        CHECK(keys == want);
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
