// The chunk grid is part of the protocol: two nodes that cut a blob differently cannot share it.
#include "base/grid.h"

#include <doctest/doctest.h>

using namespace fastreg;

TEST_CASE("the grid follows the published test vectors") {
    constexpr std::uint64_t kMiB = 1ULL << 20U;
    struct Vector {
        std::uint64_t size, chunk_size;
        ChunkIndex count;
    };
    for (const Vector v : {Vector{0, 128 << 10, 1}, Vector{1, 128 << 10, 1},
                           Vector{64 * kMiB, 128 << 10, 512}, Vector{64 * kMiB + 1, 128 << 10, 513},
                           Vector{1024 * kMiB, kMiB, 1024}, Vector{1ULL << 40U, 4 * kMiB, 262144}}) {
        const ChunkGrid grid(v.size);
        CAPTURE(v.size);
        CHECK(grid.chunk_size() == v.chunk_size);
        CHECK(grid.count() == v.count);
    }
}

TEST_CASE("the chunks of a grid cover the blob exactly") {
    for (std::uint64_t size : {0ULL, 1ULL, 131072ULL, 131073ULL, 200'000'001ULL}) {
        const ChunkGrid grid(size);
        std::uint64_t covered = 0;
        for (ChunkIndex i = 0; i < grid.count(); ++i) {
            CHECK(grid.offset_of(i) == covered);
            covered += grid.size_of(i);
        }
        CHECK(covered == size);
        CHECK(grid.is_last(grid.count() - 1));
    }
}
