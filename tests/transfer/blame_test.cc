// Peers that are wrong, damage on the way, and who is named for it.
#include <algorithm>

#include "core_rig.h"

using namespace fastreg;
using namespace fastreg::transfer;

TEST_CASE("a peer with another size is wrong, and named") {
    // A size is a grid; a wrong one would make every chunk of it look damaged.
    CoreRig rig;
    rig.start();
    rig.core.on_holders(rig.now, rig.digest, {}, {{node(1), true}}, rig.out);
    rig.map(1, rig.grid.blob_size() + 1);
    REQUIRE(rig.all<Blame>().size() == 1);
    CHECK(rig.all<Blame>()[0].node == node(1));
    CHECK(rig.all<FetchChunk>().empty());
}

TEST_CASE("an unknown size is taken from two that agree, or from the only one there is") {
    // One liar must not choose the grid while honest nodes are about to answer.
    CoreRig rig;
    rig.core.want(rig.now, rig.digest, {}, {}, {}, rig.out);
    CHECK(rig.all<LookUp>().size() == 1);
    rig.core.on_holders(rig.now, rig.digest, {}, {{node(1), true}, {node(2), true}, {node(3), true}}, rig.out);
    rig.map(1, 77);
    CHECK(rig.all<OpenPartial>().empty());
    rig.map(2, rig.grid.blob_size());
    CHECK(rig.all<OpenPartial>().empty());
    rig.map(3, rig.grid.blob_size());
    REQUIRE(rig.all<OpenPartial>().size() == 1);
    CHECK(rig.all<OpenPartial>()[0].size == rig.grid.blob_size());

    CoreRig lone;
    lone.core.want(lone.now, lone.digest, {}, {}, {}, lone.out);
    lone.core.on_holders(lone.now, lone.digest, {}, {{node(1), true}}, lone.out);
    lone.map(1, lone.grid.blob_size());
    CHECK(lone.all<OpenPartial>().size() == 1);
}

TEST_CASE("damage on the way is asked for again, three times from one node is its fault") {
    // A flaky cable is not a liar, but it is not a source either.
    CoreRig rig;
    rig.start();
    rig.source(1);
    const auto asked = rig.all<FetchChunk>();
    REQUIRE(asked.size() == 4);
    rig.arrive(asked[0], ChunkOutcome::bad_checksum);
    rig.arrive(asked[1], ChunkOutcome::bad_checksum);
    CHECK(rig.all<Blame>().empty());
    rig.arrive(asked[2]);
    rig.arrive(asked[3], ChunkOutcome::bad_checksum);
    CHECK(rig.all<Blame>().size() == 1);
}

TEST_CASE("who passed a chain on and sends another chunk than it promises is not named") {
    // It may have been deceived by the maker of the chain and have learned better since.
    CoreRig rig;
    rig.start(false);
    ChunkMap some(rig.grid.count());
    for (ChunkIndex i = 0; i < 15; ++i) some.set(i);
    for (const unsigned n : {1U, 2U}) rig.source(n, some);
    rig.wait(20ms);
    for (const unsigned n : {1U, 2U}) {
        const auto links = rig.chain.bytes();
        wire::ChainPage page{rig.digest, rig.grid.blob_size(), 0, Bytes(links.begin(), links.end())};
        rig.core.on_message(rig.now, node(n), page, rig.out);
    }
    const auto asked = rig.all<FetchChunk>();
    REQUIRE_FALSE(asked.empty());
    rig.arrive(asked.front(), ChunkOutcome::bad_link);
    CHECK(rig.all<Blame>().empty());
    for (const auto& peer : rig.core.peers(rig.now)) {
        CHECK(peer.named == 0);
        CHECK_FALSE(peer.quarantined);  // the chain is the one to doubt
    }
}

TEST_CASE("a holder is not named for the bad chunk of another that gave a part of the same chain") {
    // The holder's chain is right. Without it the download might find no other.
    CoreRig rig;
    rig.start(false);
    const auto links = rig.chain.bytes();
    const auto gives = [&](unsigned n, std::size_t from, std::size_t bytes) {
        const auto part = links.subspan(from, bytes);
        wire::ChainPage page{rig.digest, rig.grid.blob_size(), static_cast<std::uint32_t>(from),
                             Bytes(part.begin(), part.end())};
        rig.core.on_message(rig.now, node(n), page, rig.out);
    };
    ChunkMap some(rig.grid.count(), true);
    some.clear(15);
    for (const unsigned n : {1U, 2U}) rig.source(n, some);
    rig.wait(20ms);
    for (const unsigned n : {1U, 2U}) gives(n, 0, 32 * 8);
    rig.source(3);
    rig.wait(20ms);
    gives(3, 0, links.size());
    const auto asked = rig.all<FetchChunk>();
    const auto of_one = std::ranges::find(asked, node(1), &FetchChunk::from);
    REQUIRE(of_one != asked.end());
    rig.out.clear();
    rig.arrive(*of_one, ChunkOutcome::bad_link);
    CHECK(rig.all<Blame>().empty());
    const auto again = rig.sent<wire::ChainRequest>();
    REQUIRE(std::ranges::count(again, node(3), [](const auto& sent) { return sent.first; }) == 1);
    gives(3, 0, links.size());
    CHECK_FALSE(rig.all<FetchChunk>().empty());
}

TEST_CASE("a sender in doubt goes free when the download ends without the truth") {
    // Nobody can tell any more whose fault it was.
    CoreRig rig;
    rig.start(false);
    ChunkMap some(rig.grid.count(), true);
    some.clear(15);
    rig.source(2, some);
    rig.source(1);
    rig.wait(20ms);
    const auto links = rig.chain.bytes();
    rig.core.on_message(rig.now, node(1),
                        wire::ChainPage{rig.digest, rig.grid.blob_size(), 0, Bytes(links.begin(), links.end())},
                        rig.out);
    const auto asked = rig.all<FetchChunk>();
    const auto of_two = std::ranges::find(asked, node(2), &FetchChunk::from);
    REQUIRE(of_two != asked.end());
    const auto avoided = [&] {
        return std::ranges::any_of(rig.core.peers(rig.now), [](const PeerTotals& p) { return p.quarantined; });
    };
    rig.arrive(*of_two, ChunkOutcome::bad_link);
    CHECK(avoided());
    CHECK(rig.all<Blame>().empty());
    rig.core.cancel(rig.now, rig.digest, rig.out);
    CHECK_FALSE(avoided());
}

TEST_CASE("a download whose only source is in quarantine for another blob ends, and does not wait it out") {
    // The quarantine may last ten minutes; the client is told after ten seconds.
    CoreRig rig;
    rig.start();
    rig.source(1);
    Digest other = rig.digest;
    other.value[0] = std::byte{2};
    rig.core.want(rig.now, other, rig.grid.blob_size(), {}, rig.chain, rig.out);
    rig.core.on_opened(rig.now, other, {}, {}, rig.out);
    rig.core.on_holders(rig.now, other, {}, {{node(1), true}}, rig.out);
    wire::Map map;
    map.digest = other;
    map.size = rig.grid.blob_size();
    map.complete = true;
    map.chunks = ChunkMap(rig.grid.count(), true);
    rig.core.on_message(rig.now, node(1), map, rig.out);
    const auto asked = rig.all<FetchChunk>();
    for (const auto& fetch : asked) {
        const auto outcome = fetch.digest == other ? ChunkOutcome::refused : ChunkOutcome::bad_link;
        rig.core.on_chunk(rig.now, fetch.from, fetch.request, fetch.digest, fetch.chunk, {outcome}, rig.out);
    }
    REQUIRE_FALSE(rig.all<Blame>().empty());
    rig.wait(15s);
    const auto failed = rig.all<Failed>();
    CHECK(std::ranges::count(failed, other, &Failed::digest) == 1);
}
