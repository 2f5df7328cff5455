// Which chunk is asked for next.
#include "transfer/picker.h"

#include <doctest/doctest.h>

#include <set>

using namespace fastreg;
using namespace fastreg::transfer;

namespace {
ChunkMap map_of(ChunkIndex count, std::initializer_list<ChunkIndex> chunks) {
    ChunkMap map(count);
    for (const ChunkIndex chunk : chunks) map.set(chunk);
    return map;
}
}  // namespace

TEST_CASE("the rarest chunk that the peer has is asked for first") {
    // What only one node has dies with it; the swarm lives from spreading that first.
    ChunkPicker picker(4);
    Rng rng(1);
    const ChunkMap all(4, true);
    picker.on_map(all);
    picker.on_map(map_of(4, {0, 1, 3}));
    CHECK(picker.rarest(all, {0, 4}, rng) == 2U);
    CHECK(picker.rarest(map_of(4, {0, 1}), {0, 4}, rng) != 2U);
    picker.close(2);
    CHECK(picker.rarest(all, {0, 4}, rng) != 2U);
    picker.reopen(2);
    CHECK(picker.rarest(all, {0, 4}, rng) == 2U);
}

TEST_CASE("among equally rare chunks each is picked now and then") {
    // If all nodes broke ties alike they would fetch the same chunk and have nothing to trade.
    ChunkPicker picker(16);
    Rng rng(2);
    std::set<ChunkIndex> seen;
    for (int i = 0; i < 400; ++i) seen.insert(*picker.rarest(ChunkMap(16, true), {0, 16}, rng));
    CHECK(seen.size() == 16);
}

TEST_CASE("a range keeps the picker inside, and order is order") {
    // A reader of a part of a layer must not wait for the rest of it.
    ChunkPicker picker(100);
    Rng rng(3);
    const ChunkMap all(100, true);
    for (int i = 0; i < 50; ++i) {
        const auto chunk = picker.rarest(all, {40, 44}, rng);
        REQUIRE(chunk);
        CHECK(*chunk >= 40);
        CHECK(*chunk < 44);
    }
    CHECK(picker.first(all, {40, 44}) == 40U);
    picker.close(40);
    CHECK(picker.first(all, {40, 44}) == 41U);
    CHECK(picker.first(map_of(100, {7, 43, 90}), {40, 44}) == 43U);
    CHECK_FALSE(picker.first(map_of(100, {7, 90}), {40, 44}));
    CHECK_FALSE(picker.rarest(map_of(100, {7, 90}), {40, 44}, rng));
    CHECK_FALSE(picker.first(all, {60, 20}));
}

TEST_CASE("a peer that leaves takes its copies with it") {
    // Counting the dead would make the last living copy look common.
    ChunkPicker picker(2);
    Rng rng(4);
    const ChunkMap both(2, true);
    picker.on_map(both);
    const ChunkMap one = map_of(2, {0});
    picker.on_map(one);
    CHECK(picker.rarest(both, {0, 2}, rng) == 1U);
    picker.on_map_gone(one);
    CHECK(picker.copies(0) == 1);
    picker.on_copy(1);
    CHECK(picker.rarest(both, {0, 2}, rng) == 0U);
}

TEST_CASE("the largest blob is looked at in part, and still everything gets its turn") {
    // A full scan of 262,144 chunks at every request would stop the loop.
    ChunkPicker picker(1U << 18U);
    Rng rng(5);
    const ChunkMap all(1U << 18U, true);
    std::set<ChunkIndex> quarters;
    for (int i = 0; i < 64; ++i) quarters.insert(*picker.rarest(all, {0, 1U << 18U}, rng) >> 16U);
    CHECK(quarters.size() == 4);
}
