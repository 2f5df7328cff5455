// What a download asks for, of whom and in which order, and how it ends.
#include <algorithm>
#include <map>
#include <set>

#include "core_rig.h"

using namespace fastreg;
using namespace fastreg::transfer;

TEST_CASE("a resumed download asks only for what is missing, in order from a lone source") {
    // A restart in the middle of 50 GiB must not start over.
    CoreRig rig;
    ChunkMap have(rig.grid.count());
    for (ChunkIndex i = 0; i < 10; ++i) have.set(i);
    rig.start(true, have);
    CHECK(rig.core.progress(rig.digest) == 10 * kChunkSizeMin);
    rig.source(1);
    auto asked = rig.all<FetchChunk>();
    REQUIRE(asked.size() == 4);
    for (std::size_t i = 0; i < 4; ++i) CHECK(asked[i].chunk == 10 + i);
    CHECK(std::ranges::equal(asked[0].start_link, rig.chain.state_before(10)));
    CHECK(std::ranges::equal(asked[0].end_link, rig.chain.state_before(11)));
    rig.finish();
    REQUIRE(rig.all<Completed>().size() == 1);
    CHECK(rig.all<FetchChunk>().size() == 6);
    CHECK(rig.all<Completed>()[0].chain == rig.chain);
    CHECK(rig.all<Completed>()[0].sources.at(0).chunks == 6);
    CHECK_FALSE(rig.core.downloading(rig.digest));
}

TEST_CASE("what one peer sent is told apart by the road it came by") {
    // `fastreg blob` must not call a chunk RDMA's because the next one would be.
    CoreRig rig(3);
    rig.start();
    rig.source(1);
    const auto asked = rig.all<FetchChunk>();
    REQUIRE(asked.size() == 3);
    rig.arrive(asked[0], ChunkOutcome::stored, Road::tcp);
    rig.arrive(asked[1], ChunkOutcome::stored, Road::rdma);
    rig.arrive(asked[2], ChunkOutcome::stored, Road::rdma);
    REQUIRE(rig.all<Completed>().size() == 1);
    const auto shares = rig.all<Completed>()[0].sources;
    REQUIRE(shares.size() == 2);
    CHECK(shares[0].road == Road::tcp);
    CHECK(shares[0].chunks == 1);
    CHECK(shares[1].road == Road::rdma);
    CHECK(shares[1].chunks == 2);
    CHECK(shares[1].bytes == rig.grid.blob_size() - kChunkSizeMin);
}

TEST_CASE("the first chunk asked for has no start link, the last one no end link") {
    // These two ends are the hash's own initial value and the digest itself.
    CoreRig rig(2);
    rig.start();
    rig.source(1);
    const auto asked = rig.all<FetchChunk>();
    REQUIRE(asked.size() == 2);
    CHECK(asked[0].start_link.empty());
    CHECK(asked[0].end_link.size() == 32);
    CHECK(asked[1].start_link.size() == 32);
    CHECK(asked[1].end_link.empty());
}

TEST_CASE("the last chunk counts as streamable only when all hold") {
    // A client must never get the last byte of a blob that is not proven.
    CoreRig rig(3);
    rig.start();
    rig.source(1);
    const auto asked = rig.all<FetchChunk>();
    REQUIRE(asked.size() == 3);
    rig.arrive(asked[2]);
    CHECK(rig.core.verified_run(rig.digest, 2 * kChunkSizeMin) == 2 * kChunkSizeMin);
    rig.arrive(asked[0]);
    CHECK(rig.core.progress(rig.digest) == kChunkSizeMin);
    rig.arrive(asked[1]);
    const auto progress = rig.all<Progress>();
    REQUIRE_FALSE(progress.empty());
    CHECK(progress.back().complete);
    CHECK(progress.back().verified_prefix == rig.grid.blob_size());
}

TEST_CASE("many sources: at most two requests each, and four in all") {
    // More outstanding makes nodes convoy; fewer leaves the link idle.
    CoreRig rig(64);
    rig.start();
    for (unsigned n = 1; n <= 6; ++n) rig.source(n);
    CHECK(rig.core.status(rig.digest)->outstanding >= 4);
    CHECK(rig.core.status(rig.digest)->outstanding <= 7);  // 4 + 3 RTT / tau, nothing measured yet
    // Each that ends is followed by one more, and no node ever has more than two.
    std::map<NodeId, int> each;
    for (std::size_t i = 0; i < rig.out.size() && rig.core.downloading(rig.digest); ++i) {
        const Action action = rig.out[i];
        const auto* fetch = std::get_if<FetchChunk>(&action);
        if (fetch == nullptr) continue;
        each.clear();
        for (const FetchChunk& open : rig.all<FetchChunk>()) ++each[open.from];
        rig.now = rig.now + 1ms;
        rig.arrive(*fetch);
    }
    CHECK(rig.all<Completed>().size() == 1);
    for (const auto& [from, count] : each) CHECK(count >= 4);  // spread over all six
    CHECK(each.size() == 6);
}

TEST_CASE("a blob of one chunk is asked for in the same breath as its holder is known") {
    // Configs and small layers: the round trip for a map would double their time.
    CoreRig rig(1);
    rig.start(false);
    rig.core.on_holders(rig.now, rig.digest, {}, {{node(1), true}, {node(2), true}}, rig.out);
    REQUIRE(rig.all<FetchChunk>().size() == 1);
    const FetchChunk first = rig.all<FetchChunk>()[0];
    rig.core.on_message(rig.now, first.from, wire::NotHere{first.request, rig.digest, true}, rig.out);
    REQUIRE(rig.all<WrongHint>().size() == 1);
    REQUIRE(rig.all<FetchChunk>().size() == 2);
    CHECK(rig.all<FetchChunk>()[1].from != first.from);
    rig.arrive(rig.all<FetchChunk>()[1]);
    CHECK(rig.all<Completed>().size() == 1);
}

TEST_CASE("a full disk ends the download at once and says so") {
    // Every further chunk would fail too; the client may go elsewhere now.
    CoreRig rig;
    rig.start();
    rig.source(1);
    rig.arrive(rig.all<FetchChunk>()[0], ChunkOutcome::disk_full);
    REQUIRE(rig.all<Failed>().size() == 1);
    CHECK(rig.all<Failed>()[0].error.code == Errc::no_space);
    CHECK(rig.all<CancelFetch>().size() == 3);
    CHECK(rig.sent<wire::Done>().size() == 1);
    CHECK(rig.core.active_downloads() == 0);
}

TEST_CASE("a part of a blob that somebody reads comes before the rest") {
    // A range request on a 50 GiB layer must not wait for 49 GiB.
    CoreRig rig(64);
    rig.start();
    rig.core.add_reader(rig.now, rig.digest, 1, 40 * kChunkSizeMin, 44 * kChunkSizeMin, rig.out);
    ChunkMap most(rig.grid.count(), true);
    most.clear(0);
    for (unsigned n = 1; n <= 3; ++n) rig.source(n, most);
    std::set<ChunkIndex> asked;
    for (const FetchChunk& fetch : rig.all<FetchChunk>()) {
        asked.insert(fetch.chunk);
        if (fetch.chunk == 40) CHECK(fetch.urgent);
    }
    for (const ChunkIndex i : {40U, 41U, 42U, 43U}) CHECK(asked.contains(i));
}

TEST_CASE("a chunk that a reader waits for is hedged to a second source") {
    // One slow disk must not stall a client while others have the bytes.
    CoreRig rig(64);
    rig.start();
    rig.core.add_reader(rig.now, rig.digest, 1, 0, UINT64_MAX, rig.out);
    rig.source(1);
    rig.source(2);
    REQUIRE(rig.all<FetchChunk>()[0].chunk == 0);
    const FetchChunk slow = rig.all<FetchChunk>()[0];
    for (int i = 0; i < 5; ++i) {  // bytes trickle in, so the peer is not silent
        rig.wait(40ms);
        for (unsigned n = 1; n <= 2; ++n) rig.core.on_bytes(rig.now, node(n), slow.request, 1);
    }
    std::vector<FetchChunk> copies;
    for (const FetchChunk& fetch : rig.all<FetchChunk>()) {
        if (fetch.chunk == 0) copies.push_back(fetch);
    }
    REQUIRE(copies.size() == 2);
    CHECK(copies[1].from != copies[0].from);
    CHECK(copies[1].urgent);
    CHECK_FALSE(copies[0].second_copy);
    CHECK(copies[1].second_copy);
    rig.arrive(copies[1]);
    const auto cancelled = rig.all<CancelFetch>();
    CHECK(std::ranges::any_of(cancelled, [&](const CancelFetch& c) { return c.request == slow.request; }));
    // Its late end is told apart from that of a chunk that somebody waits for.
    const auto end = [&](const FetchChunk& fetch) {
        return rig.core.on_chunk(rig.now, fetch.from, fetch.request, rig.digest, fetch.chunk, {ChunkOutcome::stored, 9},
                                 rig.out);
    };
    CHECK_FALSE(end(slow));
    CHECK(end(rig.all<FetchChunk>()[1]));
    CHECK_FALSE(end(rig.all<FetchChunk>()[1]));
}

TEST_CASE("nobody has it: look-ups back off, and the download fails after ten seconds") {
    // Ten seconds is what a client can wait for; a look-up storm is what a cluster cannot.
    CoreRig rig;
    rig.start();
    for (int i = 0; i < 150 && rig.all<Failed>().empty(); ++i) {
        const auto before = rig.all<LookUp>().size();
        rig.core.on_lookup_failed(rig.now, rig.digest, rig.out);
        while (rig.all<LookUp>().size() == before && rig.all<Failed>().empty()) rig.wait(100ms);
    }
    REQUIRE(rig.all<Failed>().size() == 1);
    CHECK(rig.all<Failed>()[0].error.code == Errc::unavailable);
    CHECK(rig.all<LookUp>().size() >= 4);
    CHECK(rig.all<LookUp>().size() <= 7);
    CHECK(rig.core.next_deadline() == Instant::never());
}

TEST_CASE("two downloads share the outstanding requests and neither starves") {
    // Forty layers at once must not mean forty times the requests.
    CoreRig rig(64);
    rig.start();
    Digest other = rig.digest;
    other.value[0] = std::byte{9};
    rig.core.want(rig.now, other, rig.grid.blob_size(), {}, rig.chain, rig.out);
    rig.core.on_opened(rig.now, other, {}, {}, rig.out);
    rig.source(1);
    rig.core.on_holders(rig.now, other, {}, {{node(1), true}}, rig.out);
    wire::Map map;
    map.digest = other;
    map.size = rig.grid.blob_size();
    map.complete = true;
    map.chunks = ChunkMap(rig.grid.count(), true);
    rig.core.on_message(rig.now, node(1), map, rig.out);
    std::size_t of_other = 0;
    const auto asked = rig.all<FetchChunk>();
    for (const FetchChunk& fetch : asked) of_other += fetch.digest == other ? 1 : 0;
    CHECK(asked.size() <= 6);
    CHECK(of_other <= 2);
    rig.arrive(asked[0]);
    rig.arrive(asked[1]);
    of_other = 0;
    for (const FetchChunk& fetch : rig.all<FetchChunk>()) of_other += fetch.digest == other ? 1 : 0;
    CHECK(of_other >= 1);
    rig.core.cancel(rig.now, rig.digest, rig.out);
    CHECK(rig.core.active_downloads() == 1);
}

TEST_CASE("a member that died is asked for nothing more, and its chunks are asked elsewhere") {
    // Gossip knows sooner than a timer.
    CoreRig rig(64);
    rig.start();
    rig.source(1);
    rig.source(2);
    rig.out.clear();
    Member dead;
    dead.id = node(1);
    dead.state = MemberState::dead;
    rig.core.on_member(rig.now, dead, rig.out);
    for (const FetchChunk& fetch : rig.all<FetchChunk>()) CHECK(fetch.from == node(2));
    CHECK(rig.core.status(rig.digest)->outstanding >= 4);
}
