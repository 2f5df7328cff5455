// Maps, chains and requests for chunks come from peers that may lie.
#include "wire/transfer.h"

#include <doctest/doctest.h>

#include "wire/pack.h"

using namespace fastreg;
using namespace fastreg::wire;

namespace {

Digest some_digest(HashAlg alg = HashAlg::sha256) {
    Digest digest;
    digest.alg = alg;
    for (std::size_t i = 0; i < digest_size(alg); ++i) digest.value[i] = static_cast<std::byte>(i + 1);
    return digest;
}

NodeId seed_node(unsigned n) {
    NodeId id;
    id.bytes[0] = static_cast<std::byte>(n);
    return id;
}

template <class T>
void comes_back(const T& message) {
    const Bytes bytes = encode(message);
    FrameReader reader;
    reader.feed(bytes);
    auto frame = reader.next();
    REQUIRE(frame);
    REQUIRE(frame->has_value());
    auto decoded = decode_transfer(**frame);
    REQUIRE_MESSAGE(decoded, (decoded ? "" : decoded.error().what));
    REQUIRE(std::holds_alternative<T>(*decoded));
    CHECK(std::get<T>(*decoded) == message);
}

bool refused(const TransferMessage& message) { return !decode_transfer(to_frame(message)); }

}  // namespace

TEST_CASE("every transfer message comes back as it was sent") {
    // Two nodes of one version must mean the same by the same bytes.
    constexpr std::uint64_t kSize = (64ULL << 20U) + 1;
    const ChunkGrid grid(kSize);
    ChunkMap some(grid.count());
    some.set(0);
    some.set(grid.count() - 1);

    comes_back(GetChunk{7, some_digest(), kSize, grid.count() - 1, true});
    comes_back(Data{7, 256U << 10U, 1000, (256U << 10U) + 1000, std::nullopt});
    comes_back(Data{7, 0, 1000, 1000, Xxh128{1, 0xfedcba9876543210ULL}});
    comes_back(Data{7, 0, 0, 0, Xxh128{1, 2}});
    comes_back(Cancel{9});
    comes_back(Busy{7, some_digest(), {seed_node(1), seed_node(2), seed_node(3)}});
    comes_back(Busy{0, some_digest(), {}});
    comes_back(NotHere{0, some_digest(), true});
    comes_back(NotHere{4, some_digest(), false});
    comes_back(Interest{some_digest(), 0, 1});
    comes_back(Interest{some_digest(HashAlg::sha512), kSize, 50});
    comes_back(Map{some_digest(), kSize, false, false, true, some});
    comes_back(Map{some_digest(), kSize, false, true, false, some, {seed_node(1), seed_node(2)}});
    comes_back(Map{some_digest(), kSize, true, true, false, ChunkMap(grid.count(), true)});
    comes_back(Map{some_digest(), 0, false, false, false, ChunkMap(1)});
    comes_back(Have{some_digest(), {0, 5, 262'143}});
    comes_back(ChainRequest{some_digest(), kSize, 64});
    comes_back(ChainPage{some_digest(), kSize, 64, Bytes(96, std::byte{3})});
    comes_back(ChainPage{some_digest(), kSize, 0, {}});
    comes_back(Offer{some_digest(), kSize, 3});
    comes_back(Done{some_digest()});
    comes_back(Doubt{some_digest()});
}

TEST_CASE("the largest map, page and list fit one frame") {
    // A node with a 1 TiB blob must still be able to say what it has.
    const ChunkGrid grid(kBlobSizeMax);
    REQUIRE(grid.count() == kChunkCountMax);
    ChunkMap map(grid.count());
    for (ChunkIndex i = 0; i < grid.count(); i += 2) map.set(i);
    comes_back(Map{some_digest(), kBlobSizeMax, false, false, false, map});
    comes_back(ChainPage{some_digest(HashAlg::sha512), kBlobSizeMax, 0, Bytes(kChainPageMax)});
    std::vector<ChunkIndex> many(kHaveMax, kChunkCountMax - 1);
    comes_back(Have{some_digest(), many});
}

TEST_CASE("what cannot be true is refused") {
    // A peer may lie about every number; none may reach the core as a wrong index.
    constexpr std::uint64_t kSize = 1ULL << 20U;  // 8 chunks
    CHECK(refused(GetChunk{0, some_digest(), kSize, 0, false}));
    CHECK(refused(GetChunk{1, some_digest(), kSize, 8, false}));
    CHECK(refused(GetChunk{1, some_digest(), kBlobSizeMax + 1, 0, false}));
    CHECK(refused(Data{1, 100, 100, 150, std::nullopt}));
    CHECK(refused(Data{1, 0, kDataPieceMax + 1, kDataPieceMax + 1, std::nullopt}));
    CHECK(refused(Data{1, 5, 0, 10, std::nullopt}));
    CHECK(refused(Data{0, 0, 1, 1, std::nullopt}));
    CHECK(refused(Cancel{0}));
    CHECK(refused(NotHere{0, some_digest(), false}));
    CHECK(refused(Busy{1, some_digest(), std::vector<NodeId>(kTryMax + 1)}));
    CHECK(refused(Map{some_digest(), kSize, false, false, false, ChunkMap(8), std::vector<NodeId>(kTryMax + 1)}));
    ChunkMap wrong_grid(9);
    wrong_grid.set(8);
    CHECK(refused(Map{some_digest(), kSize, false, false, false, wrong_grid}));
    CHECK(refused(Have{some_digest(), {kChunkCountMax}}));
    CHECK(refused(Have{some_digest(), std::vector<ChunkIndex>(kHaveMax + 1)}));
    CHECK(refused(ChainPage{some_digest(), kSize, 0, Bytes(33)}));
    CHECK(refused(ChainPage{some_digest(), kSize, 16, Bytes(32)}));
    CHECK(refused(ChainPage{some_digest(), kSize, 0, Bytes(8 * 32)}));
    CHECK(refused(Offer{some_digest(), kSize, 8}));
    CHECK_FALSE(is_transfer_type(0x4d));
    CHECK_FALSE(decode_transfer(Frame{0x4d, 0, 1, {}}));
}

TEST_CASE("a message without its digest is refused, unknown keys are skipped") {
    // Version N must read what N+1 adds, and nothing less than what N needs.
    CHECK_FALSE(decode_transfer(Frame{0x4b, 0, 0, MapWriter().finish()}));
    MapWriter more;
    more.put(0, some_digest()).put(99, std::uint64_t{1});
    CHECK(decode_transfer(Frame{0x4b, 0, 0, more.finish()}));
}
