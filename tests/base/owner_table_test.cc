// Two nodes that disagree about the owners of a shard do not find each other's rows.
#include "base/owner_table.h"

#include <doctest/doctest.h>

#include "base/random.h"

using namespace fastreg;

namespace {

NodeId random_id(Rng& rng) {
    NodeId id;
    for (auto& byte : id.bytes) byte = static_cast<std::byte>(rng.below(256));
    return id;
}

Member member(const NodeId& id, MemberState state) {
    Member m;
    m.id = id;
    m.state = state;
    return m;
}

}  // namespace

TEST_CASE("the table follows joins, leaves and deaths exactly as the plain ranking does") {
    // The table is updated step by step; one missed step would split the mesh silently.
    Rng rng(7);
    OwnerTable table;
    Owners plain;
    Instant now{};
    std::vector<NodeId> ids;
    std::vector<std::vector<NodeId>> last(kShardCount);
    for (int step = 0; step < 120; ++step) {
        now = now + 10s;
        std::vector<OwnerChange> changes;
        if (ids.empty() || rng.chance(0.5)) {
            ids.push_back(random_id(rng));
            changes = table.on_member(now, member(ids.back(), MemberState::alive));
            plain.on_member(now, member(ids.back(), MemberState::alive));
        } else {
            const auto& id = ids[static_cast<std::size_t>(rng.below(ids.size()))];
            const auto state = static_cast<MemberState>(1 + rng.below(5));
            changes = table.on_member(now, member(id, state));
            plain.on_member(now, member(id, state));
        }
        const auto expired = table.on_deadline(now);
        plain.on_deadline(now);
        for (std::uint32_t shard = 0; shard < kShardCount; ++shard) {
            const auto want = plain.of(static_cast<ShardId>(shard));
            REQUIRE(table.of(static_cast<ShardId>(shard)) == want);
            if (want == last[shard]) continue;
            const auto said = [&](const std::vector<OwnerChange>& list) {
                for (const auto& c : list) {
                    if (c.shard == shard) return true;
                }
                return false;
            };
            CHECK((said(changes) || said(expired)));
            last[shard] = want;
        }
    }
}

TEST_CASE("one more member moves few shards") {
    // Every moved shard is copied: a join must not move the whole mesh.
    Rng rng(9);
    OwnerTable table;
    for (int i = 0; i < 50; ++i) table.on_member({}, member(random_id(rng), MemberState::alive));
    const auto changes = table.on_member({}, member(random_id(rng), MemberState::alive));
    CHECK(changes.size() > 100);
    CHECK(changes.size() < kShardCount * 3 / 51 * 2);
}
