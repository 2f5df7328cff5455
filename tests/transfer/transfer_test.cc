// One transfer core: what it asks of whom, and what it does with the answers.
#include "transfer/transfer.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>

using namespace fastreg;
using namespace fastreg::transfer;

namespace {

struct Store : LocalBlobs {
    std::optional<std::uint64_t> complete_size(const Digest&) const override { return size; }
    std::optional<std::uint64_t> size;
};

NodeId node(unsigned n) {
    NodeId id;
    id.bytes[0] = static_cast<std::byte>(n);
    return id;
}

/// One core, its store, and what it asked for.
struct CoreRig {
    explicit CoreRig(ChunkIndex chunks = 16)
        : grid(chunks * kChunkSizeMin), core(node(200), "z", Options{}, store, Rng(1)) {
        digest.value[0] = std::byte{1};
        Bytes links((grid.count() - 1) * 32);
        for (std::size_t i = 0; i < links.size(); ++i) links[i] = static_cast<std::byte>(i / 32);
        chain = *Chain::from_bytes(HashAlg::sha256, grid, links);
    }

    Store store;
    ChunkGrid grid;
    Digest digest;
    Chain chain;
    Transfer core;
    Outbox out;
    Instant now{1'000'000'000};

    template <class T>
    std::vector<T> all() const {
        std::vector<T> found;
        for (const Action& action : out) {
            if (const auto* match = std::get_if<T>(&action)) found.push_back(*match);
        }
        return found;
    }
    template <class T>
    std::vector<std::pair<NodeId, T>> sent() const {
        std::vector<std::pair<NodeId, T>> found;
        for (const Send& send : all<Send>()) {
            if (const auto* match = std::get_if<T>(&send.message)) found.emplace_back(send.to, *match);
        }
        return found;
    }
    void start(bool with_chain = true, ChunkMap have = {}) {
        core.want(now, digest, grid.blob_size(), {}, with_chain ? std::optional(chain) : std::nullopt, out);
        core.on_opened(now, digest, {}, std::move(have), out);
    }
    void source(unsigned n, std::optional<ChunkMap> has = {}) {
        core.on_holders(now, digest, {}, {{node(n), !has}}, out);
        map(n, grid.blob_size(), std::move(has));
    }
    void map(unsigned n, std::uint64_t size, std::optional<ChunkMap> has = {}) {
        wire::Map map;
        map.digest = digest;
        map.size = size;
        map.complete = !has;
        map.chunks = has ? *has : ChunkMap(ChunkGrid(size).count(), true);
        core.on_message(now, node(n), map, out);
    }
    void arrive(const FetchChunk& fetch, ChunkOutcome outcome = ChunkOutcome::stored) {
        core.on_chunk(now, fetch.from, fetch.request, digest, fetch.chunk, outcome,
                      grid.size_of(fetch.chunk), out);
    }
    void wait(Duration span) {
        const Instant end = now + span;
        while (core.next_deadline() <= end) {
            now = std::max(now, core.next_deadline());
            core.on_deadline(now, out);
        }
        now = end;
    }
    /// Answers every FetchChunk of an honest source until nothing is asked any more.
    void finish() {
        for (std::size_t i = 0; i < out.size(); ++i) {
            const Action action = out[i];
            if (const auto* fetch = std::get_if<FetchChunk>(&action)) arrive(*fetch);
        }
    }
};

}  // namespace

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

TEST_CASE("what upstream sends first-hand is passed on, links and all, while it grows") {
    // A cold crowd must not wait for the fetcher to have the whole layer.
    CoreRig rig(8);
    rig.start(false);
    rig.core.on_message(rig.now, node(5), wire::Interest{rig.digest, rig.grid.blob_size(), 0}, rig.out);
    for (ChunkIndex i = 0; i < 3; ++i) {
        const ByteView link = rig.chain.state_before(i + 1);
        rig.core.on_first_hand(rig.now, rig.digest, i, Bytes(link.begin(), link.end()), rig.out);
    }
    CHECK(rig.core.progress(rig.digest) == 3 * kChunkSizeMin);
    rig.core.on_message(rig.now, node(5), wire::ChainRequest{rig.digest, rig.grid.blob_size(), 0}, rig.out);
    const auto pages = rig.sent<wire::ChainPage>();
    REQUIRE(pages.size() == 1);
    CHECK(pages[0].second.links.size() == 3 * 32);
    const auto maps = rig.sent<wire::Map>();
    REQUIRE_FALSE(maps.empty());
    CHECK(maps.back().second.first_hand);
    rig.wait(10ms);
    std::set<ChunkIndex> told;
    for (const auto& [to, have] : rig.sent<wire::Have>()) told.insert(have.chunks.begin(), have.chunks.end());
    CHECK(told == std::set<ChunkIndex>{0, 1, 2});
    rig.core.on_message(rig.now, node(5), wire::GetChunk{1, rig.digest, rig.grid.blob_size(), 2, false}, rig.out);
    rig.core.on_message(rig.now, node(5), wire::GetChunk{2, rig.digest, rig.grid.blob_size(), 3, false}, rig.out);
    CHECK(rig.all<ServeChunk>().size() == 1);
    CHECK(rig.sent<wire::NotHere>().size() == 1);
    for (ChunkIndex i = 3; i < 8; ++i) {
        Bytes link;
        if (i < 7) {
            const ByteView next = rig.chain.state_before(i + 1);
            link.assign(next.begin(), next.end());
        }
        rig.core.on_first_hand(rig.now, rig.digest, i, link, rig.out);
    }
    REQUIRE(rig.all<Completed>().size() == 1);
    CHECK(rig.all<Completed>()[0].chain == rig.chain);
}

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
        return rig.core.on_chunk(rig.now, fetch.from, fetch.request, rig.digest, fetch.chunk, ChunkOutcome::stored, 9,
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

TEST_CASE("a whole blob is served, its chain read once, and what is not here is said so") {
    // The other half of every transfer.
    CoreRig rig;
    const std::uint64_t size = rig.grid.blob_size();
    rig.core.on_message(rig.now, node(1), wire::GetChunk{1, rig.digest, size, 0, false}, rig.out);
    CHECK(rig.sent<wire::NotHere>().size() == 1);
    rig.store.size = size;
    rig.core.on_message(rig.now, node(1), wire::GetChunk{2, rig.digest, size, 3, false}, rig.out);
    REQUIRE(rig.all<ServeChunk>().size() == 1);
    CHECK(rig.all<ServeChunk>()[0].offset == 3 * kChunkSizeMin);
    CHECK(rig.all<ServeChunk>()[0].length == kChunkSizeMin);
    rig.core.on_message(rig.now, node(1), wire::GetChunk{3, rig.digest, size + 1, 3, false}, rig.out);
    CHECK(rig.sent<wire::NotHere>().size() == 2);
    for (unsigned n = 1; n <= 3; ++n) {
        rig.core.on_message(rig.now, node(n), wire::ChainRequest{rig.digest, size, 0}, rig.out);
    }
    CHECK(rig.all<NeedChain>().size() == 1);
    rig.core.on_chain(rig.now, rig.digest, rig.chain, rig.out);
    CHECK(rig.sent<wire::ChainPage>().size() == 3);
    rig.core.on_message(rig.now, node(4), wire::ChainRequest{rig.digest, size, 64}, rig.out);
    CHECK(rig.all<NeedChain>().size() == 1);
    CHECK(rig.sent<wire::ChainPage>().back().second.links.size() == rig.chain.bytes().size() - 64);
    rig.core.on_served(rig.now + 3ms, node(1), 2, true, rig.out);
    CHECK(rig.core.peers(rig.now).at(0).bytes_out == kChunkSizeMin);
    rig.core.on_blob_gone(rig.now, rig.digest, rig.out);
    rig.store.size.reset();
    rig.core.on_message(rig.now, node(1), wire::Interest{rig.digest, size, 0}, rig.out);
    CHECK(rig.sent<wire::NotHere>().size() == 3);
}

TEST_CASE("the first source offers each chunk once, in order, to different nodes") {
    // Pulled at random it would send the same chunks again and again: 1.26-1.36 of the bound.
    CoreRig rig(64);
    rig.store.size = rig.grid.blob_size();
    for (unsigned n = 1; n <= 3; ++n) {
        rig.core.on_message(rig.now, node(n), wire::Interest{rig.digest, rig.grid.blob_size(), 1}, rig.out);
    }
    RequestId request = 0;
    std::vector<ChunkIndex> offered;
    for (std::size_t i = 0; i < rig.out.size(); ++i) {  // every offer is taken and served
        const Action action = rig.out[i];
        const auto* send = std::get_if<Send>(&action);
        const auto* offer = send == nullptr ? nullptr : std::get_if<wire::Offer>(&send->message);
        if (offer == nullptr) continue;
        offered.push_back(offer->chunk);
        rig.now = rig.now + 1ms;
        ++request;
        rig.core.on_message(rig.now, send->to,
                            wire::GetChunk{request, rig.digest, rig.grid.blob_size(), offer->chunk, false},
                            rig.out);
        rig.core.on_served(rig.now, send->to, request, true, rig.out);
        for (unsigned n = 1; n <= 3; ++n) {
            rig.core.on_message(rig.now, node(n), wire::Have{rig.digest, {offer->chunk}}, rig.out);
        }
    }
    REQUIRE(offered.size() == 64);
    for (ChunkIndex i = 0; i < 64; ++i) CHECK(offered[i] == i);
    const auto maps = rig.sent<wire::Map>();
    CHECK_FALSE(maps.back().second.offering);
    CHECK(std::ranges::any_of(maps, [](const auto& m) { return m.second.offering; }));
}

TEST_CASE("a lapsed offer goes to another node") {
    // A neighbour that stopped must not keep a chunk from the swarm.
    CoreRig rig(64);
    rig.store.size = rig.grid.blob_size();
    for (unsigned n = 1; n <= 3; ++n) {
        rig.core.on_message(rig.now, node(n), wire::Interest{rig.digest, rig.grid.blob_size(), 1}, rig.out);
    }
    NodeId first_to;
    for (const auto& [to, offer] : rig.sent<wire::Offer>()) {
        if (offer.chunk == 0) first_to = to;
    }
    rig.out.clear();
    rig.wait(2s);
    CHECK(std::ranges::any_of(rig.sent<wire::Offer>(), [&](const auto& o) {
        return o.second.chunk == 0;
    }));
    rig.out.clear();
    rig.core.on_link_down(rig.now, first_to, rig.out);
    rig.wait(3s);
    for (const auto& [to, offer] : rig.sent<wire::Offer>()) CHECK(to != first_to);
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
