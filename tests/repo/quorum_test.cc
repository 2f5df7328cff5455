// Writes and reads by quorum: "seen at once" is the promise of every push.
#include "net.h"

using namespace fastreg;
using namespace fastreg::repo;
using namespace fastreg::repo::test;

namespace {

/// The number of an owner of the repository in a net of nodes 0..count-1, by rank.
std::uint64_t owner(Net& net, const std::string& repository, std::uint64_t count, std::size_t rank) {
    const auto id = net.nodes.begin()->second.core->owners(repository).at(rank);
    for (std::uint64_t n = 0; n < count; ++n) {
        if (node_id(n) == id) return n;
    }
    FAIL("no such owner");
    return 0;
}

/// The first node that does not own `repository`.
std::uint64_t outsider(Net& net, const std::string& repository) {
    std::uint64_t n = 0;
    const auto owners = net.at(0).core->owners(repository);
    while (std::ranges::find(owners, node_id(n)) != owners.end()) ++n;
    return n;
}

}  // namespace

TEST_CASE("what one node wrote every node reads at once") {
    Net net(1);
    for (std::uint64_t n = 0; n < 7; ++n) net.start(n);
    net.run_for(1s);
    for (int i = 0; i < 10; ++i) {
        const auto repository = "team/app" + std::to_string(i);
        const auto writer = static_cast<std::uint64_t>(i % 7);
        REQUIRE(net.put(writer, repository, {set("t/latest", "one")}).has_value());
        for (std::uint64_t n = 0; n < 7; ++n) CHECK(net.value(n, repository, "t/latest") == "one");
        REQUIRE(net.put((writer + 3) % 7, repository, {set("t/latest", "two")}).has_value());
        for (std::uint64_t n = 0; n < 7; ++n) CHECK(net.value(n, repository, "t/latest") == "two");
    }
}

TEST_CASE("an acknowledged write is seen on every node, whichever single node is down") {
    for (std::uint64_t down = 0; down < 5; ++down) {
        for (const bool before : {true, false}) {
            CAPTURE(down);
            CAPTURE(before);
            Net net(100 + down);
            for (std::uint64_t n = 0; n < 5; ++n) net.start(n);
            net.run_for(1s);
            const auto writer = (down + 1) % 5;
            REQUIRE(net.put(writer, "app", {set("t/v", "old")}).has_value());
            if (before) net.kill(down);
            REQUIRE(net.put(writer, "app", {set("t/v", "new")}).has_value());
            if (!before) net.kill(down);
            for (std::uint64_t n = 0; n < 5; ++n) {
                if (n == down) continue;
                const auto begin = net.now;
                CHECK(net.value(n, "app", "t/v") == "new");
                CHECK(millis_of(net.now - begin) < 300);
            }
            net.declare(down, MemberState::dead);
            for (std::uint64_t n = 0; n < 5; ++n) {
                if (n != down) CHECK(net.value(n, "app", "t/v") == "new");
            }
        }
    }
}

TEST_CASE("a hanging owner costs a moment") {
    Net net(2);
    for (std::uint64_t n = 0; n < 5; ++n) net.start(n);
    net.run_for(1s);
    REQUIRE(net.put(0, "app", {set("t/v", "x")}).has_value());
    const auto hangs = owner(net, "app", 5, 0);
    net.silent.insert(node_id(hangs));
    for (std::uint64_t n = 0; n < 5; ++n) {
        if (n == hangs) continue;
        const auto begin = net.now;
        CHECK(net.value(n, "app", "t/v") == "x");
        CHECK(millis_of(net.now - begin) < 250);
    }
    const auto begin = net.now;
    CHECK(net.put((hangs + 1) % 5, "app", {set("t/v", "y")}).has_value());
    CHECK(millis_of(net.now - begin) < 50);
}

TEST_CASE("owners that are known to be gone are not waited for, those under suspicion are") {
    // A client waited five seconds to be told what membership knew when it asked.
    Net net(31);
    for (std::uint64_t n = 0; n < 3; ++n) net.start(n);
    net.run_for(1s);
    REQUIRE(net.put(0, "app", {set("t/v", "x")}).has_value());
    net.kill(1);
    net.kill(2);
    net.declare(1, MemberState::dead);
    const auto put_takes = [&] {
        const auto begin = net.now;
        const auto status = net.put(0, "app", {set("t/v", "y")});
        CHECK(status.error().code == Errc::unavailable);
        return millis_of(net.now - begin);
    };
    const auto get_takes = [&] {
        const auto begin = net.now;
        const auto done = net.get(0, "app", Query::one("t/v"));
        CHECK(done.rows.error().code == Errc::unavailable);
        return millis_of(net.now - begin);
    };
    net.declare(2, MemberState::suspect);
    CHECK(put_takes() >= 5000);
    CHECK(get_takes() >= 2000);
    // Membership makes up its mind while they wait.
    const auto write = net.begin_put(0, "app", {set("t/v", "y")});
    net.run_for(100ms);
    CHECK_FALSE(net.at(0).puts.contains(write));
    net.declare(2, MemberState::dead);
    net.run_for(1ms);
    REQUIRE(net.at(0).puts.contains(write));
    CHECK(net.at(0).puts.at(write).error().what.find("n2, dead") != std::string::npos);
    CHECK(put_takes() < 10);
    CHECK(get_takes() < 10);
    net.start(1);
    net.run_for(1s);
    CHECK(net.put(0, "app", {set("t/v", "z")}).has_value());
    CHECK(net.value(0, "app", "t/v") == "z");
}

TEST_CASE("a write waits for an owner that is restarted, as long as a restart takes") {
    // With one node down an upgrade of another one, two seconds long, failed every push that ended meanwhile.
    Net net(33);
    for (std::uint64_t n = 0; n < 3; ++n) net.start(n);
    net.run_for(1s);
    REQUIRE(net.put(0, "app", {set("t/v", "x")}).has_value());
    net.kill(1);
    net.declare(1, MemberState::dead);
    net.kill(2);
    net.declare(2, MemberState::stopping);
    const auto begin = net.now;
    CHECK_FALSE(net.get(0, "app", Query::one("t/v")).rows);
    CHECK(millis_of(net.now - begin) < 10);  // a read is asked again more easily
    const auto write = net.begin_put(0, "app", {set("t/v", "y")});
    SUBCASE("it is back in time") {
        net.run_for(2s);
        CHECK_FALSE(net.at(0).puts.contains(write));
        net.start(2);
        net.run_for(1s);
        REQUIRE(net.at(0).puts.contains(write));
        CHECK(net.at(0).puts.at(write).has_value());
    }
    SUBCASE("it is not") {
        net.run_for(4900ms);
        CHECK_FALSE(net.at(0).puts.contains(write));
        const auto late = net.begin_put(0, "app", {set("t/v", "z")});
        net.run_for(1s);
        REQUIRE(net.at(0).puts.contains(write));
        CHECK_FALSE(net.at(0).puts.at(write));
        REQUIRE(net.at(0).puts.contains(late));  // not its own five seconds
        CHECK(net.at(0).puts.at(late).error().what.find("n2, stopping") != std::string::npos);
        const auto now = net.now;
        CHECK_FALSE(net.put(0, "app", {set("t/v", "z")}));
        CHECK(millis_of(net.now - now) < 10);
    }
}

TEST_CASE("owners that a node only remembers are waited for") {
    // A node that was just started knows its fellow owners from its disk, as dead until they answer; they do
    // so within a moment, and its first clients must not be sent away.
    Net net(32);
    for (std::uint64_t n = 0; n < 3; ++n) net.start(n);
    net.run_for(1s);
    REQUIRE(net.put(0, "app", {set("t/v", "x")}).has_value());
    net.kill(0);
    for (const std::uint64_t n : {1U, 2U}) net.at(n).member.state = MemberState::dead;  // as remembered
    net.start(0);
    const auto write = net.begin_put(0, "app", {set("t/v", "y")});
    net.run_for(300ms);
    for (const std::uint64_t n : {1U, 2U}) net.declare(n, MemberState::alive);
    net.run_for(1s);
    REQUIRE(net.at(0).puts.contains(write));
    CHECK(net.at(0).puts.at(write).has_value());
}

TEST_CASE("without a quorum nothing is promised, and the error says who is missing") {
    Net net(3);
    for (std::uint64_t n = 0; n < 3; ++n) net.start(n);
    net.run_for(1s);
    REQUIRE(net.put(0, "app", {set("t/v", "x")}).has_value());
    net.kill(1);
    net.kill(2);
    net.declare(2, MemberState::dead);
    const auto begin = net.now;
    const auto status = net.put(0, "app", {set("t/v", "y")});
    REQUIRE_FALSE(status.has_value());
    CHECK(status.error().code == Errc::unavailable);
    CHECK(status.error().what.find("n1") != std::string::npos);
    CHECK(status.error().what.find("n2, dead") != std::string::npos);
    CHECK(status.error().what.find("n0") == std::string::npos);
    CHECK(millis_of(net.now - begin) <= 5000);
    const auto done = net.get(0, "app", Query::one("t/v"));
    REQUIRE_FALSE(done.rows.has_value());
    CHECK(done.rows.error().code == Errc::unavailable);
    CHECK(done.rows.error().what.find("n2, dead") != std::string::npos);
    // One of them is back: all is well, and what was acknowledged is there.
    net.start(1);
    net.run_for(3s);
    const auto value = net.value(1, "app", "t/v");
    CHECK((value == "x" || value == "y"));
}

TEST_CASE("two nodes: a write needs both, a read one") {
    Net net(4);
    net.start(0);
    net.start(1);
    net.run_for(1s);
    REQUIRE(net.put(0, "app", {set("t/v", "x")}).has_value());
    net.kill(1);
    CHECK(net.value(0, "app", "t/v") == "x");
    CHECK_FALSE(net.put(0, "app", {set("t/v", "y")}).has_value());
    net.declare(1, MemberState::dead);
    net.run_for(121s);  // its grace is over: alone
    CHECK(net.put(0, "app", {set("t/v", "z")}).has_value());
    net.start(1);
    net.run_for(2s);
    CHECK(net.value(1, "app", "t/v") == "z");
}

TEST_CASE("of three owners one leaves: what it and one other acknowledged the third reads at once") {
    // Two owners were left, of which a read asked one: itself.
    Net net(5);
    for (std::uint64_t n = 0; n < 3; ++n) net.start(n);
    net.run_for(1s);
    net.at(1).disk_fails = true;  // it misses the write
    REQUIRE(net.put(0, "app", {set("t/v", "x")}).has_value());
    net.at(1).disk_fails = false;
    net.kill(2);
    net.declare(2, MemberState::left);
    CHECK(net.value(1, "app", "t/v") == "x");
    CHECK(net.value(0, "app", "t/v") == "x");
}

TEST_CASE("a node alone needs nobody") {
    Net net(5);
    net.start(0);
    CHECK(net.value(0, "app", "t/v").empty());
    REQUIRE(net.put(0, "app", {set("t/v", "x")}).has_value());
    CHECK(net.value(0, "app", "t/v") == "x");
    CHECK(net.frames == 0);
    net.kill(0);
    net.start(0);  // what was acknowledged was on the disk
    CHECK(net.value(0, "app", "t/v") == "x");
}

TEST_CASE("a write is not acknowledged before the disk has it") {
    Net net(6);
    for (std::uint64_t n = 0; n < 3; ++n) net.start(n);
    net.run_for(1s);
    net.at(1).disk_fails = true;
    CHECK(net.put(0, "app", {set("t/v", "x")}).has_value());  // two good disks
    net.at(2).disk_fails = true;
    const auto status = net.put(0, "app", {set("t/v", "y")});
    REQUIRE_FALSE(status.has_value());
    CHECK(status.error().what.find("the disk is broken") != std::string::npos);
    // A disk that recovers is used again.
    net.at(2).disk_fails = false;
    CHECK(net.put(0, "app", {set("t/v", "z")}).has_value());
    for (std::uint64_t n = 0; n < 3; ++n) CHECK(net.value(n, "app", "t/v") == "z");
}

TEST_CASE("writers of one tag at the same time agree in the end") {
    for (std::uint64_t seed = 1; seed <= 8; ++seed) {
        CAPTURE(seed);
        Net net(seed * 31);
        for (std::uint64_t n = 0; n < 5; ++n) {
            net.start(n);
            net.at(n).skew_ms = static_cast<std::int64_t>(net.rng.below(6000)) - 3000;
        }
        net.run_for(1s);
        std::vector<std::pair<std::uint64_t, Token>> open;
        for (int i = 0; i < 12; ++i) {
            const auto n = net.rng.below(5);
            open.emplace_back(n, net.begin_put(n, "app", {set("t/v", std::to_string(i))}));
            net.run_for(Duration(static_cast<std::int64_t>(net.rng.below(6'000'000))));
        }
        net.run_for(6s);
        for (const auto& [n, token] : open) CHECK(net.at(n).puts.at(token).has_value());
        const auto value = net.value(0, "app", "t/v");
        CHECK_FALSE(value.empty());
        for (std::uint64_t n = 1; n < 5; ++n) CHECK(net.value(n, "app", "t/v") == value);
    }
}

TEST_CASE("a later write wins although its node's clock is behind") {
    // Without a second stamp the push would be acknowledged and the old tag would stay.
    Net net(7);
    for (std::uint64_t n = 0; n < 5; ++n) net.start(n);
    net.at(1).skew_ms = 4000;
    net.at(2).skew_ms = -4000;
    net.run_for(1s);
    for (int i = 0; i < 5; ++i) {
        REQUIRE(net.put(1, "app", {set("t/v", "fast" + std::to_string(i))}).has_value());
        const auto mine = "slow" + std::to_string(i);
        REQUIRE(net.put(2, "app", {set("t/v", mine)}).has_value());
        for (std::uint64_t n = 0; n < 5; ++n) CHECK(net.value(n, "app", "t/v") == mine);
        REQUIRE(net.put(1, "app", {set("t/v", "again")}).has_value());
        REQUIRE(net.put(2, "app", {gone("t/v")}).has_value());
        for (std::uint64_t n = 0; n < 5; ++n) CHECK(net.value(n, "app", "t/v").empty());
    }
}

TEST_CASE("a clock far ahead is refused, both clocks named") {
    // One such row could not be overwritten by anybody for as long as the clock is ahead.
    Net net(8);
    for (std::uint64_t n = 0; n < 5; ++n) net.start(n);
    const auto wrong = outsider(net, "app");
    net.at(wrong).skew_ms = 60'000;
    net.run_for(1s);
    const auto status = net.put(wrong, "app", {set("t/v", "x")});
    REQUIRE_FALSE(status.has_value());
    CHECK(status.error().what.find("clock") != std::string::npos);
    const auto healthy = (wrong + 1) % 5;
    CHECK(net.value(healthy, "app", "t/v").empty());
    CHECK(net.put(healthy, "app", {set("t/v", "y")}).has_value());
}

TEST_CASE("an owner whose clock is far ahead keeps nothing of a write that the others refuse") {
    // Its refused tag would else be seen on every node, and hide what right clocks write after it.
    Net net(8);
    for (std::uint64_t n = 0; n < 5; ++n) net.start(n);
    const auto wrong = owner(net, "app", 5, 1);
    net.at(wrong).skew_ms = 60'000;
    net.run_for(1s);
    const auto status = net.put(wrong, "app", {set("t/v", "refused")});
    REQUIRE_FALSE(status.has_value());
    CHECK(status.error().what.find("s ahead of its clock") != std::string::npos);
    for (std::uint64_t n = 0; n < 5; ++n) CHECK(net.value(n, "app", "t/v").empty());
    REQUIRE(net.put((wrong + 1) % 5, "app", {set("t/v", "right")}).has_value());
    for (std::uint64_t n = 0; n < 5; ++n) CHECK(net.value(n, "app", "t/v") == "right");
}

TEST_CASE("what a node with a clock far behind was acknowledged is seen") {
    // The owners' rows are over 10 s ahead of its clock; it stamps past them all the same.
    for (const std::int64_t skew : {-11'000, -60'000, -3'600'000}) {
        Net net(8);
        for (std::uint64_t n = 0; n < 5; ++n) net.start(n);
        net.run_for(1s);
        for (const bool owns : {true, false}) {
            const auto late = owns ? owner(net, "app", 5, 1) : outsider(net, "app");
            net.at(late).skew_ms = skew;
            REQUIRE(net.put((late + 1) % 5, "app", {set("t/v", "first")}).has_value());
            REQUIRE(net.put(late, "app", {set("t/v", "second")}).has_value());
            for (std::uint64_t n = 0; n < 5; ++n) CHECK(net.value(n, "app", "t/v") == "second");
            net.at(late).skew_ms = 0;
        }
    }
}

TEST_CASE("after a clock was put right again its node writes at once, and replaces what it wrote ahead") {
    Net net(8);
    for (std::uint64_t n = 0; n < 5; ++n) {
        net.start(n);
        net.at(n).skew_ms = 7'200'000;
    }
    net.run_for(1s);
    REQUIRE(net.put(0, "app", {set("t/v", "ahead")}).has_value());
    for (std::uint64_t n = 0; n < 5; ++n) net.at(n).skew_ms = 0;
    for (std::uint64_t n = 0; n < 5; ++n) {
        const auto mine = "right" + std::to_string(n);
        CHECK(net.put(n, "app", {set("t/v", mine), set("t/w", mine)}).has_value());
        for (std::uint64_t m = 0; m < 5; ++m) {
            CHECK(net.value(m, "app", "t/v") == mine);
            CHECK(net.value(m, "app", "t/w") == mine);
        }
    }
}

TEST_CASE("a delete hides everywhere and stays hidden") {
    Options options;
    options.compare_interval = 600s;  // days of virtual time pass
    options.tombstone_keep_ms = 24ULL * 3600 * 1000;
    Net net(9, options);
    for (std::uint64_t n = 0; n < 5; ++n) net.start(n);
    net.run_for(1s);
    REQUIRE(net.put(0, "app", {set("t/a", "1"), set("t/b", "2")}).has_value());
    const auto lags = owner(net, "app", 5, 1);
    net.kill(lags);  // it keeps the old row on its disk
    REQUIRE(net.put((lags + 1) % 5, "app", {gone("t/a")}).has_value());
    net.start(lags);
    net.run_for(5s);
    for (std::uint64_t n = 0; n < 5; ++n) {
        CHECK(net.value(n, "app", "t/a").empty());
        const auto list = net.get(n, "app", Query::prefix("t/", "", 10));
        REQUIRE(list.rows->size() == 1);
        CHECK(list.rows->front().key == "t/b");
    }
    // After its time the tombstone goes, from memory and from disk, and the row does not come back.
    net.run_for(26h);
    for (std::uint64_t n = 0; n < 5; ++n) {
        CHECK(net.value(n, "app", "t/a").empty());
        CHECK_FALSE(net.at(n).disk.contains({"app", "t/a"}));
    }
    CHECK(net.value(0, "app", "t/b") == "2");
}

TEST_CASE("a clock that jumps ahead by a week drops no tombstone") {
    // All were dropped at the next sweep, and a node that had missed the delete brought the row back.
    Options options;
    options.compare_interval = 600s;
    Net net(9, options);
    for (std::uint64_t n = 0; n < 3; ++n) net.start(n);
    net.run_for(1s);
    REQUIRE(net.put(0, "app", {set("t/a", "1")}).has_value());
    net.kill(2);  // it keeps the row on its disk
    net.run_for(200s);
    REQUIRE(net.put(0, "app", {gone("t/a")}).has_value());
    for (std::uint64_t n = 0; n < 2; ++n) net.at(n).skew_ms = 8LL * 24 * 3600 * 1000;
    net.run_for(3h);  // sweeps
    for (std::uint64_t n = 0; n < 2; ++n) CHECK(net.at(n).disk.contains({"app", "t/a"}));
    net.start(2);
    net.run_for(30min);
    for (std::uint64_t n = 0; n < 3; ++n) CHECK(net.value(n, "app", "t/a").empty());
    // And one that starts with such a clock knows how old its rows are.
    net.kill(0);
    net.start(0);
    net.run_for(2h);
    CHECK(net.at(0).disk.contains({"app", "t/a"}));
}

TEST_CASE("a read repairs the owner that lags") {
    Net net(10);
    for (std::uint64_t n = 0; n < 3; ++n) net.start(n);
    net.run_for(1s);
    net.cut.insert({node_id(0), node_id(2)});
    REQUIRE(net.put(0, "app", {set("t/v", "x")}).has_value());
    net.cut.clear();
    CHECK_FALSE(net.at(2).disk.contains({"app", "t/v"}));
    CHECK(net.value(2, "app", "t/v") == "x");
    net.run_for(50ms);
    CHECK(net.at(2).disk.contains({"app", "t/v"}));
}

TEST_CASE("limits and nonsense are refused before anything is sent") {
    Net net(11);
    net.start(0);
    const auto code = [&](std::vector<Change> changes) {
        const auto status = net.put(0, "app", std::move(changes));
        REQUIRE_FALSE(status.has_value());
        return status.error().code;
    };
    CHECK(code({}) == Errc::invalid_argument);
    CHECK(code({set("", "x")}) == Errc::invalid_argument);
    CHECK(code({set("t/a", "x"), set("t/a", "y")}) == Errc::invalid_argument);
    CHECK(code({set("t/a", std::string(4097, 'x'))}) == Errc::too_large);
    CHECK(code({set(std::string(513, 'k'), "x")}) == Errc::too_large);
    CHECK_FALSE(net.put(0, std::string(256, 'r'), {set("t/a", "x")}).has_value());
    CHECK_FALSE(net.get(0, "app", Query::prefix("t/", "", 0)).rows.has_value());
    CHECK_FALSE(net.get(0, "app", Query::prefix("t/", "", kQueryLimitMax + 1)).rows.has_value());
    CHECK(net.at(0).disk.empty());
}

TEST_CASE("a write larger than a frame goes in parts and is one write") {
    // An image index of two hundred platforms is one push.
    Net net(12);
    for (std::uint64_t n = 0; n < 5; ++n) net.start(n);
    net.run_for(1s);
    std::vector<Change> changes;
    for (int i = 0; i < 400; ++i) {
        changes.push_back(set("b/" + std::to_string(1000 + i), std::string(1000, 'x')));
    }
    REQUIRE(net.put(0, "app", changes).has_value());
    const auto done = net.get(4, "app", Query::prefix("b/", "", 1000));
    REQUIRE(done.rows.has_value());
    CHECK(done.rows->size() == 400);
    CHECK_FALSE(done.more);
}

TEST_CASE("values keep what they are given") {
    const auto digest = digest_of(HashAlg::sha256, as_bytes("x"));
    CHECK(tag_of(tag_key("v1")) == "v1");
    CHECK(manifest_of(manifest_key(digest)) == digest);
    CHECK(blob_of(blob_key(digest)) == digest);
    CHECK_FALSE(blob_of(manifest_key(digest)));
    CHECK_FALSE(blob_of("b/sha256:12"));
    const TagValue tag{digest};
    CHECK(*TagValue::decode(tag.encode()) == tag);
    ManifestValue manifest{"application/vnd.oci.image.index.v1+json", 12, digest, "a/b", "{\"k\":1}"};
    CHECK(*ManifestValue::decode(manifest.encode()) == manifest);
    manifest.annotations = std::string(5000, 'x');
    CHECK(ManifestValue::decode(manifest.encode())->annotations.empty());
    const BlobLinkValue link{7, BlobLinkValue::Origin::upstream_private, "user"};
    CHECK(*BlobLinkValue::decode(link.encode()) == link);
    CHECK_FALSE(BlobLinkValue::decode(Bytes(3)).has_value());
    CHECK_FALSE(TagValue::decode({}).has_value());
}
