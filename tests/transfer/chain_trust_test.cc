// Whose word about a chain of hashes is believed.
#include "transfer/chain_trust.h"

#include <doctest/doctest.h>

#include <algorithm>

using namespace fastreg;
using namespace fastreg::transfer;

namespace {

constexpr ChunkIndex kCount = 9;
const ChunkGrid kGrid(kCount * kChunkSizeMin);

NodeId giver(unsigned n) {
    NodeId id;
    id.bytes[0] = static_cast<std::byte>(n);
    return id;
}

/// Links S_1 .. S_8; from link `wrong_from` on they differ.
Bytes links_of(ChunkIndex wrong_from = kCount) {
    Bytes bytes;
    for (ChunkIndex i = 1; i < kCount; ++i) {
        bytes.insert(bytes.end(), 32, static_cast<std::byte>(i >= wrong_from ? 200 + i : i));
    }
    return bytes;
}

ByteView part(const Bytes& bytes, std::size_t from, std::size_t to) {
    return ByteView(bytes).subspan(from * 32, (to - from) * 32);
}

}  // namespace

TEST_CASE("a whole copy's chain is believed at once") {
    // One round trip to the first chunk.
    ChainTrust trust(HashAlg::sha256, kGrid);
    CHECK(trust.usable_end() == 0);
    trust.on_links(giver(1), true, 0, links_of());
    CHECK(trust.whole());
    CHECK(trust.usable_end() == kCount);
    CHECK(trust.start_of(0).empty());
    CHECK(trust.end_of(kCount - 1).empty());
    CHECK(trust.start_of(3)[0] == std::byte{3});
    CHECK(trust.end_of(3)[0] == std::byte{4});
    CHECK(trust.givers().size() == 1);
}

TEST_CASE("two that pass a chain on must agree, as far as they agree") {
    // One deceived neighbour must not deceive the next.
    ChainTrust trust(HashAlg::sha256, kGrid);
    trust.on_links(giver(1), false, 0, links_of());
    CHECK(trust.usable_end() == 0);
    trust.on_links(giver(2), false, 0, links_of(5));
    CHECK(trust.usable_end() == 4);
    CHECK(trust.known_from(giver(3)) == 0);
    trust.on_links(giver(3), false, 0, links_of());
    CHECK(trust.whole());
    CHECK(std::ranges::equal(trust.links(), links_of()));
    CHECK(trust.givers().contains(giver(1)));
}

TEST_CASE("a chain grows with the node that makes it") {
    // Sharing while upstream still sends: chunk i may go on as soon as S_(i+1) is known.
    ChainTrust trust(HashAlg::sha256, kGrid);
    trust.on_links(giver(1), true, 0, part(links_of(), 0, 3));
    CHECK(trust.usable_end() == 3);
    CHECK(trust.known_from(giver(1)) == 96);
    trust.on_links(giver(1), true, 96, part(links_of(), 3, 4));
    CHECK(trust.usable_end() == 4);
    trust.on_links(giver(1), true, 96, part(links_of(), 3, 4));  // said again: ignored
    CHECK(trust.usable_end() == 4);
    trust.on_links(giver(1), true, 128, part(links_of(), 4, 8));
    CHECK(trust.usable_end() == kCount);
}

TEST_CASE("a giver caught once is not heard again, and the next chain tells what may stay") {
    // Dropping all that was fetched would let one liar double everybody's traffic.
    ChainTrust trust(HashAlg::sha256, kGrid);
    trust.on_links(giver(1), true, 0, links_of(6));
    REQUIRE(trust.whole());
    const Bytes old(trust.links().begin(), trust.links().end());
    trust.drop(trust.givers());
    CHECK(trust.usable_end() == 0);
    CHECK(trust.generation() == 1);
    CHECK_FALSE(trust.may_give(giver(1)));
    trust.on_links(giver(1), true, 0, links_of(6));
    CHECK(trust.usable_end() == 0);
    trust.on_links(giver(2), true, 0, links_of());
    REQUIRE(trust.whole());
    CHECK(trust.same_links(old, 0));
    CHECK(trust.same_links(old, 4));
    CHECK_FALSE(trust.same_links(old, 5));
    CHECK_FALSE(trust.same_links(old, 8));
}

TEST_CASE("own links are never doubted and overrule a claim") {
    // The node that fetches from upstream hashes every byte itself.
    ChainTrust trust(HashAlg::sha256, kGrid);
    trust.on_links(giver(1), true, 0, links_of(2));
    REQUIRE(trust.whole());
    CHECK(trust.add_own(0, part(links_of(), 0, 1)));
    CHECK_FALSE(trust.add_own(1, part(links_of(), 1, 2)));
    CHECK(trust.usable_end() == 2);
    CHECK_FALSE(trust.may_give(giver(1)));
    for (ChunkIndex i = 2; i + 1 < kCount; ++i) CHECK(trust.add_own(i, part(links_of(), i, i + 1)));
    CHECK(trust.own());
    CHECK(trust.givers().empty());
}

TEST_CASE("pages that do not fit are ignored") {
    // Offsets come from peers.
    ChainTrust trust(HashAlg::sha256, kGrid);
    trust.on_links(giver(1), true, 32, part(links_of(), 1, 2));
    trust.on_links(giver(1), true, 0, Bytes(33));
    trust.on_links(giver(1), true, 0, Bytes(32 * 9));
    CHECK(trust.usable_end() == 0);
}

TEST_CASE("an authority that contradicts what two relays agreed on is heard instead") {
    // Two of a kind could otherwise hold a download at the end of their forgery for ever.
    ChainTrust trust(HashAlg::sha256, kGrid);
    trust.on_links(giver(1), false, 0, part(links_of(2), 0, 4));
    trust.on_links(giver(2), false, 0, part(links_of(2), 0, 4));
    CHECK(trust.usable_end() == 4);
    CHECK_FALSE(trust.contradicted(false));
    trust.on_links(giver(3), true, 0, links_of());
    CHECK(trust.usable_end() == 4);
    CHECK(trust.contradicted(true));
    trust.set_aside();
    CHECK(trust.whole());
    CHECK(std::ranges::equal(trust.links(), links_of()));
    CHECK(trust.may_give(giver(1)));
}

TEST_CASE("links that a node had only heard are not its own word once it has the whole blob") {
    // It was deceived, learned better and finished: blamed for the links of its first pages it would be
    // named for another's lie.
    ChainTrust trust(HashAlg::sha256, kGrid);
    trust.on_links(giver(1), false, 0, part(links_of(2), 0, 4));
    CHECK(trust.known_from(giver(1)) == 4 * 32);
    trust.on_links(giver(1), true, 4 * 32, part(links_of(), 4, 8));
    CHECK(trust.usable_end() == 0);
    CHECK(trust.known_from(giver(1)) == 0);  // asked from the start
    trust.on_links(giver(1), true, 0, links_of());
    CHECK(trust.whole());
    CHECK(std::ranges::equal(trust.links(), links_of()));
}

TEST_CASE("many voices take no more room than a few") {
    // Claims are up to 16 MiB each.
    ChainTrust trust(HashAlg::sha256, kGrid);
    for (unsigned n = 10; n < 18; ++n) trust.on_links(giver(n), false, 0, links_of(n - 9));
    trust.on_links(giver(50), true, 0, links_of());
    if (trust.contradicted(true)) trust.set_aside();
    CHECK(trust.whole());
    CHECK(std::ranges::equal(trust.links(), links_of()));
}

TEST_CASE("a blob of one chunk needs no chain") {
    ChainTrust trust(HashAlg::sha512, ChunkGrid(100));
    CHECK(trust.whole());
    CHECK(trust.usable_end() == 1);
    CHECK(trust.start_of(0).empty());
    CHECK(trust.end_of(0).empty());
}
