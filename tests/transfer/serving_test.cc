// What a node gives to others: whole blobs, blobs that still grow, and offers.
#include <algorithm>
#include <set>

#include "core_rig.h"

using namespace fastreg;
using namespace fastreg::transfer;

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
