// A tag and the manifest it points at, read with one question.
#include "repo/values.h"
#include "net.h"

using namespace fastreg;
using namespace fastreg::repo;
using namespace fastreg::repo::test;

namespace {

constexpr const char* kTag = "t/v";

Digest manifest(std::string_view name) { return digest_of(HashAlg::sha256, as_bytes(name)); }

/// Manifest and tag, as a push writes them.
void push(Net& net, std::uint64_t n, std::string_view name) {
    ManifestValue value;
    value.media_type = name;
    value.size = name.size();
    REQUIRE(net.put(n, "app", {{manifest_key(manifest(name)), value.encode()}}).has_value());
    REQUIRE(net.put(n, "app", {{kTag, TagValue{manifest(name)}.encode()}}).has_value());
}

/// The media type of the manifest that came along with the tag; "-" when the tag came alone, "" when there is none.
std::string read(Net& net, std::uint64_t n) {
    const auto done = net.get(n, "app", Query::tag(kTag));
    REQUIRE(done.rows.has_value());
    CHECK_FALSE(done.more);
    if (done.rows->empty()) return "";
    REQUIRE(done.rows->back().key == kTag);
    if (done.rows->size() == 1) return "-";
    REQUIRE(done.rows->size() == 2);
    const auto points_at = TagValue::decode(done.rows->back().value);
    REQUIRE(points_at.has_value());
    CHECK(done.rows->front().key == manifest_key(points_at->manifest));
    const auto value = ManifestValue::decode(done.rows->front().value);
    REQUIRE(value.has_value());
    return value->media_type;
}

void hide_from(Net& net, std::uint64_t n) {
    for (std::uint64_t other = 0; other < 3; ++other) {
        if (other != n) net.cut.insert({node_id(other), node_id(n)});
    }
}

/// Three nodes, all of them owners.
struct Three : Net {
    explicit Three(std::uint64_t seed) : Net(seed) {
        for (std::uint64_t n = 0; n < 3; ++n) start(n);
        run_for(2s);
    }
};

}  // namespace

TEST_CASE("a tag and its manifest are read with one question") {
    // Two in a row took half of the time of a pull by tag.
    Net net(71);
    for (std::uint64_t n = 0; n < 5; ++n) net.start(n);
    net.run_for(2s);
    push(net, 0, "one");
    net.run_for(1s);
    for (std::uint64_t n = 0; n < 5; ++n) {
        const auto before = net.frames;
        CHECK(read(net, n) == "one");
        const auto& owners = net.at(n).core->owners("app");
        const bool owner = std::ranges::find(owners, node_id(n)) != owners.end();
        CHECK(net.frames - before == (owner ? 2 : 4));
    }
    CHECK(net.get(1, "app", Query::tag("t/none")).rows->empty());
}

TEST_CASE("an owner that missed the last push of a tag never adds the manifest it had before") {
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
        CAPTURE(seed);
        Three net(seed);
        push(net, 0, "old");
        const auto misses = 1 + seed % 2;
        hide_from(net, misses);
        push(net, 0, "new");
        net.cut.clear();
        for (std::uint64_t n = 0; n < 3; ++n) {
            const auto first = read(net, n);
            CHECK((first == "new" || first == "-"));  // they did not agree: ask for the manifest alone
            net.run_for(100ms);  // who lags was given the tag, and maybe not the manifest: that is read like any row
        }
        net.run_for(40s);  // owners have compared
        for (std::uint64_t n = 0; n < 3; ++n) CHECK(read(net, n) == "new");
    }
}

TEST_CASE("a manifest that was deleted behind its tag does not come with it") {
    // A push of the tag raced the deletion of the manifest; one owner has not heard of it.
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
        CAPTURE(seed);
        Three net(seed);
        push(net, 0, "one");
        hide_from(net, 1 + seed % 2);
        REQUIRE(net.put(0, "app", {gone(manifest_key(manifest("one")))}).has_value());
        net.cut.clear();
        for (std::uint64_t n = 0; n < 3; ++n) CHECK(read(net, n) == "-");
        REQUIRE(net.put(0, "app", {gone(kTag)}).has_value());
        for (std::uint64_t n = 0; n < 3; ++n) CHECK(read(net, n).empty());
    }
}

TEST_CASE("an owner that answers a tag's question with other rows is not believed") {
    Three net(77);
    push(net, 0, "one");
    push(net, 0, "two");
    net.run_for(40s);
    const auto row_of = [&](const std::string& key) { return net.at(1).disk.at({"app", key}); };
    const Row tag = row_of(kTag);
    const Row right = row_of(manifest_key(manifest("two")));
    const Row wrong = row_of(manifest_key(manifest("one")));
    Row elsewhere = right;
    elsewhere.repository = "other";
    std::vector<Row> lie;
    SUBCASE("another manifest") { lie = {wrong, tag}; }
    SUBCASE("the manifest of another repository") { lie = {elsewhere, tag}; }
    SUBCASE("the manifest alone") { lie = {right}; }
    SUBCASE("in the wrong order") { lie = {tag, right}; }
    SUBCASE("three rows") { lie = {wrong, right, tag}; }

    auto& core = *net.at(0).core;
    const auto wall = net.wall(net.at(0));
    Outbox out;
    core.get(net.now, 1'000, "app", Query::tag(kTag), out);
    REQUIRE(out.size() == 1);
    const auto first = std::get<Send>(out.front());
    const auto question = std::get<wire::RepoGet>(first.message);
    CHECK(question.follow);
    out.clear();
    core.on_message(net.now, wall, first.to,
                    wire::RepoGetReply{question.request, wire::RepoGetReply::Answer::rows, lie, false}, out);
    REQUIRE(out.size() == 1);  // not done: the third owner is asked
    const auto second = std::get<Send>(out.front());
    CHECK(second.to != first.to);
    out.clear();
    core.on_message(net.now, wall, second.to,
                    wire::RepoGetReply{question.request, wire::RepoGetReply::Answer::rows, {right, tag}, false}, out);
    REQUIRE(out.size() == 1);
    CHECK(std::get<GetDone>(out.front()).rows.value() == std::vector<Row>{right, tag});
}
