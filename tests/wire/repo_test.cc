// Rows are the truth of a repository: they must cross the wire whole or not at all.
#include "wire/repo.h"

#include <doctest/doctest.h>

#include "wire/pack.h"

using namespace fastreg;
using namespace fastreg::wire;

namespace {

NodeId row_writer(int n) {
    NodeId id;
    id.bytes[0] = static_cast<std::byte>(n);
    return id;
}
Row row(std::string key, std::string_view value) {
    const auto bytes = as_bytes(value);
    return {"library/alpine", std::move(key), Bytes(bytes.begin(), bytes.end()), 5, row_writer(1), false};
}

}  // namespace

TEST_CASE("every repository message survives the wire") {
    // A field that is written and not read, or read under another key, shows here.
    Row gone = row("t/old", "");
    gone.tombstone = true;
    const std::vector<RepoMessage> messages{
        RepoPut{7, {row("t/a", "x"), gone}},
        RepoPutAck{7, RepoPutAck::Answer::refused, 99, "clocks apart"},
        RepoGet{8, "library/alpine", true, "t/", "t/a", 100},
        RepoGet{8, "library/alpine", false, "t/a", "", 1},
        RepoGet{8, "library/alpine", false, "t/a", "", 2, true},
        RepoGetReply{8, RepoGetReply::Answer::not_ready, {}, false},
        RepoGetReply{8, RepoGetReply::Answer::rows, {row("t/a", "x")}, true},
        RepoSummary{9, true, {{4095, 3, UINT64_MAX}}, {}, {}, {}, Bytes(256)},
        RepoSummary{9, false, {{1, 0, 0}, {7, 1, 1}}, Bytes(256), Bytes(2), Bytes(1), {}},
        RepoPull{10, {1, 2}, true, 1, "library/alpine", "t/a"},
        RepoPull{10, {0}, false, 0, "", ""},
        RepoPage{10, {row("t/a", "x")}, true},
    };
    for (const auto& message : messages) {
        CAPTURE(message.index());
        const auto back = decode_repo(encode(message));
        REQUIRE(back.has_value());
        CHECK(*back == message);
    }
}

TEST_CASE("rows cut by their cost fit a frame") {
    // An encoder that passes the limit would close the link of a healthy node.
    for (const std::size_t size : {std::size_t{0}, std::size_t{300}, kRowValueMax}) {
        RepoPage page;
        std::size_t cost = 0;
        for (;;) {
            Row r = row(std::string(20, 'k'), std::string(size, 'v'));
            r.hlc = UINT64_MAX;
            if (cost + row_cost(r) > kRowsPerMessageCost) break;
            cost += row_cost(r);
            page.rows.push_back(r);
        }
        const auto frame = encode(page);
        CHECK(frame.body.size() <= kFrameBodyMax);
        CHECK(decode_repo(frame).has_value());
    }
}

TEST_CASE("a pull without a place to go on from carries no half of one") {
    // What decodes must mean the same after the next hop.
    const auto map = MapWriter().put_numbers(1, {3}).put(3, "app").put(4, "t/v").finish();
    const auto pull = decode_repo({0x35, 0, 1, map});
    REQUIRE(pull.has_value());
    CHECK(*decode_repo(encode(*pull)) == *pull);
}

TEST_CASE("a row without a name or a stamp is refused") {
    // Such a row could never lose against another one, or never be found.
    Row r = row("t/a", "x");
    r.key.clear();
    CHECK_FALSE(decode_repo(encode(RepoPut{1, {r}})).has_value());
    CHECK(check_row(r).error().code == Errc::invalid_argument);
    r = row("t/a", "x");
    r.hlc = 0;
    CHECK_FALSE(decode_repo(encode(RepoPut{1, {r}})).has_value());
    r = row(std::string(kRowKeyMax + 1, 'k'), "x");
    CHECK_FALSE(decode_repo(encode(RepoPut{1, {r}})).has_value());
    CHECK(check_row(r).error().code == Errc::too_large);
    CHECK(decode_repo({0x3f, 0, 1, MapWriter().finish()}).error().code == Errc::unsupported);
}
