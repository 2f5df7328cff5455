// The chain is what lets a node believe bytes of a stranger: these tests are the strangers.
#include "base/chain.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>

#include "base/hash.h"
#include "base/random.h"

using namespace fastreg;

namespace {

constexpr std::uint64_t kKiB = 1ULL << 10U;
constexpr std::uint64_t kMiB = 1ULL << 20U;

Bytes random_bytes(std::size_t size, std::uint64_t seed) {
    Rng rng(seed);
    Bytes bytes(size);
    for (auto& b : bytes) b = static_cast<std::byte>(rng.next());
    return bytes;
}

/// A blob with its true chain, and the questions the tests ask of it.
struct Blob {
    Bytes data;
    ChainBuilder::Result made;

    explicit Blob(std::size_t size, HashAlg alg = HashAlg::sha256, std::uint64_t seed = 1)
        : data(random_bytes(size, seed)), made(build(data, alg)) {}

    static ChainBuilder::Result build(ByteView data, HashAlg alg) {
        ChainBuilder builder(alg);
        builder.update(data);
        return builder.finish();
    }
    [[nodiscard]] ByteView chunk(ChunkIndex i) const {
        return ByteView(data).subspan(made.grid.offset_of(i), made.grid.size_of(i));
    }
    [[nodiscard]] bool holds(ChunkIndex i, ByteView bytes, const Chain& chain) const {
        return chunk_holds(made.digest, made.grid, chain, i, bytes);
    }
    [[nodiscard]] bool holds(ChunkIndex i, ByteView bytes) const {
        return holds(i, bytes, made.chain);
    }
    [[nodiscard]] bool proven_by(const Chain& chain) const {
        for (ChunkIndex i = 0; i < made.grid.count(); ++i) {
            if (!holds(i, chunk(i), chain)) return false;
        }
        return true;
    }
    [[nodiscard]] Chain with_links(Bytes links) const {
        return *Chain::from_bytes(made.chain.alg(), made.grid, std::move(links));
    }
    [[nodiscard]] Bytes links() const {
        const ByteView view = made.chain.bytes();
        return {view.begin(), view.end()};
    }
};

}  // namespace

TEST_CASE("every chunk of every size holds, in any order, with either hash") {
    // The sizes are those where an off-by-one would live: empty, one byte, block and chunk edges.
    for (const HashAlg alg : {HashAlg::sha256, HashAlg::sha512}) {
        for (const std::uint64_t size :
             {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{55}, std::uint64_t{56},
              std::uint64_t{64}, std::uint64_t{127}, 128 * kKiB - 1, 128 * kKiB, 128 * kKiB + 1,
              256 * kKiB, 3 * kMiB, 3 * kMiB + 77}) {
            CAPTURE(size);
            const Blob blob(size, alg);
            CHECK(blob.made.digest == digest_of(alg, blob.data));
            std::vector<ChunkIndex> order(blob.made.grid.count());
            std::iota(order.begin(), order.end(), 0);
            Rng(size).shuffle(order);
            for (const ChunkIndex i : order) CHECK(blob.holds(i, blob.chunk(i)));
        }
    }
}

TEST_CASE("the links are the states that FIPS 180-4 defines") {
    // Two nodes exchange links: they must mean the same on every machine. 128 KiB of zeros and one
    // more have a single link; both values were computed by an implementation written from the standard.
    ChainBuilder builder;
    builder.update(Bytes(128 * kKiB + 1));
    const auto made = builder.finish();
    CHECK(made.digest.hex() == "d281209cc72d47b090175b22621840d9eb8267d09cc05dc122bfaa759a82830f");
    CHECK(to_hex(made.chain.bytes()) ==
          "fd4a8581c9c9ad613ef77d00958f36f0373fef498770714244f794f87b5fa38e");
}

TEST_CASE("who has the bytes first hand makes the links as they come") {
    // The node that fetches from the origin shares chunks before the last one has arrived.
    for (const HashAlg alg : {HashAlg::sha256, HashAlg::sha512}) {
        const Blob blob(3 * 128 * kKiB + 5, alg);
        Bytes link;
        for (ChunkIndex i = 0; i < 3; ++i) {
            ChunkHasher hasher(blob.made.digest, blob.made.grid, i, link);
            hasher.update(blob.chunk(i));
            link = hasher.reached();
            CHECK(std::ranges::equal(link, blob.made.chain.state_before(i + 1)));
        }
    }
}

TEST_CASE("a wrong chunk does not hold") {
    // The plain case: damage or a lie anywhere in the chunk, the last one included.
    const Blob blob(300 * kKiB);
    for (ChunkIndex i = 0; i < blob.made.grid.count(); ++i) {
        const ByteView truth = blob.chunk(i);
        for (const std::size_t at : {std::size_t{0}, truth.size() / 2, truth.size() - 1}) {
            Bytes lie(truth.begin(), truth.end());
            lie[at] ^= std::byte{1};
            CHECK_FALSE(blob.holds(i, lie));
        }
    }
    CHECK_FALSE(blob.holds(0, blob.chunk(1)));  // true bytes in the wrong place
    CHECK_FALSE(blob.holds(1, blob.chunk(0)));
}

TEST_CASE("a short or a long chunk does not hold") {
    // A peer that sends too little or too much must not pass, and must not run past the buffer.
    for (const std::uint64_t size : {300 * kKiB, 256 * kKiB, std::uint64_t{5}}) {
        const Blob blob(size);
        for (ChunkIndex i = 0; i < blob.made.grid.count(); ++i) {
            const ByteView truth = blob.chunk(i);
            CHECK_FALSE(blob.holds(i, {}));
            CHECK_FALSE(blob.holds(i, truth.first(truth.size() - 1)));
            Bytes more(truth.begin(), truth.end());
            more.push_back(std::byte{0});
            CHECK_FALSE(blob.holds(i, more));
        }
    }
}

TEST_CASE("a forged chain that fits its forged chunks fails at the last link") {
    // The strongest liar invents a blob and gives the honest chain of it under another digest: each
    // link but the last holds, and the last one is the digest, which nobody can forge.
    const Blob truth(1 * kMiB, HashAlg::sha256, 1);
    const Blob lie(1 * kMiB, HashAlg::sha256, 2);
    const ChunkIndex last = truth.made.grid.count() - 1;
    for (ChunkIndex i = 0; i < last; ++i) CHECK(truth.holds(i, lie.chunk(i), lie.made.chain));
    CHECK_FALSE(truth.holds(last, lie.chunk(last), lie.made.chain));
    CHECK_FALSE(truth.holds(last, truth.chunk(last), lie.made.chain));
}

TEST_CASE("a liar who changes one chunk cannot mend the chain behind it") {
    // Changing chunk 2 and its end link makes chunk 2 hold; then the true chunk 3 cannot.
    const Blob blob(1 * kMiB);
    Bytes lie(blob.chunk(2).begin(), blob.chunk(2).end());
    lie[7] ^= std::byte{0x80};
    Bytes whole = blob.data;
    std::ranges::copy(lie, whole.begin() + static_cast<std::ptrdiff_t>(blob.made.grid.offset_of(2)));
    const auto forged = Blob::build(whole, HashAlg::sha256);
    Bytes links = blob.links();
    std::ranges::copy(forged.chain.state_before(3), links.begin() + 2 * 32);
    const Chain mixed = blob.with_links(links);
    CHECK(blob.holds(2, lie, mixed));
    CHECK_FALSE(blob.holds(3, blob.chunk(3), mixed));
    CHECK_FALSE(blob.proven_by(mixed));
}

TEST_CASE("swapped, repeated and damaged links are found") {
    // Whatever is done to the list of links, a chunk on one side of the change stops holding.
    const Blob blob(1 * kMiB, HashAlg::sha512);
    const std::size_t width = link_size(HashAlg::sha512);
    REQUIRE(blob.proven_by(blob.made.chain));
    Bytes swapped = blob.links();
    std::swap_ranges(swapped.begin(), swapped.begin() + 64, swapped.begin() + 64);
    CHECK_FALSE(blob.proven_by(blob.with_links(swapped)));
    Bytes repeated = blob.links();
    std::copy_n(repeated.begin(), 64, repeated.begin() + 64);
    CHECK_FALSE(blob.proven_by(blob.with_links(repeated)));
    for (std::size_t link = 0; link < blob.made.grid.count() - 1; ++link) {
        Bytes damaged = blob.links();
        damaged[link * width] ^= std::byte{1};
        const Chain chain = blob.with_links(damaged);
        const auto before = static_cast<ChunkIndex>(link);
        CHECK_FALSE(blob.holds(before, blob.chunk(before), chain));
        CHECK_FALSE(blob.holds(before + 1, blob.chunk(before + 1), chain));
    }
}

TEST_CASE("the claimed size is part of the proof") {
    // Someone who lies about the size, so that the grid has the same number of chunks, is found by
    // the padding of the last one.
    const Blob blob(300 * kKiB);
    const ChunkGrid shorter(300 * kKiB - 1);
    const ChunkIndex last = shorter.count() - 1;
    REQUIRE(shorter.count() == blob.made.grid.count());
    const ByteView cut = blob.chunk(last).first(shorter.size_of(last));
    CHECK_FALSE(chunk_holds(blob.made.digest, shorter, blob.made.chain, last, cut));
}

TEST_CASE("a chain with the wrong number of links is refused") {
    // The length of a chain follows from the size of the blob; nothing else is read.
    const Blob blob(300 * kKiB);
    Bytes longer = blob.links();
    longer.push_back(std::byte{0});
    CHECK_FALSE(Chain::from_bytes(HashAlg::sha256, blob.made.grid, longer));
    longer.resize(32);
    CHECK_FALSE(Chain::from_bytes(HashAlg::sha256, blob.made.grid, longer));
    CHECK_FALSE(Chain::from_bytes(HashAlg::sha512, blob.made.grid, blob.links()));
    CHECK(Chain::from_bytes(HashAlg::sha256, blob.made.grid, blob.links()));
    CHECK(Chain::from_bytes(HashAlg::sha256, ChunkGrid(0), {}));
}

TEST_CASE("pieces of any size give the same digest and the same chain") {
    // Uploads arrive in pieces of the client's choosing, chunks in pieces of the network's.
    const Blob blob(2 * kMiB + 12'345);
    Rng rng(7);
    ChainBuilder builder;
    for (ByteView rest = blob.data; !rest.empty();) {
        const auto size = std::min<std::size_t>(rest.size(), rng.below(200'000));
        builder.update(rest.first(size));
        rest = rest.subspan(size);
    }
    CHECK(builder.size() == blob.data.size());
    const auto made = builder.finish();
    CHECK(made.digest == blob.made.digest);
    CHECK(made.chain == blob.made.chain);

    ChunkHasher hasher(blob.made.digest, blob.made.grid, 3, blob.made.chain.state_before(3));
    for (ByteView rest = blob.chunk(3); !rest.empty();) {
        const auto size = std::min<std::size_t>(rest.size(), rng.below(5'000));
        hasher.update(rest.first(size));
        rest = rest.subspan(size);
    }
    CHECK(hasher.fed() == blob.made.grid.size_of(3));
    CHECK(hasher.holds(blob.made.chain.state_before(4)));
}

TEST_CASE("the links thin out as the grid grows coarser") {
    // The size of an upload is known at its end only: on the way past 128 MiB the chunks double.
    const Blob blob(128 * kMiB + 5);
    CHECK(blob.made.grid.chunk_size() == 256 * kKiB);
    CHECK(blob.made.chain.bytes().size() == 512 * 32);
    CHECK(blob.made.digest == digest_of(HashAlg::sha256, blob.data));
    CHECK(blob.proven_by(blob.made.chain));
    const auto exact = Blob::build(ByteView(blob.data).first(128 * kMiB), HashAlg::sha256);
    CHECK(exact.grid.count() == 1024);
    CHECK(std::ranges::equal(exact.chain.state_before(2), blob.made.chain.state_before(1)));
    CHECK(std::ranges::equal(exact.chain.state_before(1022), blob.made.chain.state_before(511)));
}
