// Every node computes the owners of a shard alone; if two disagree for long, look-ups go astray.
#include "base/owners.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>

#include "base/hash.h"
#include "base/random.h"

using namespace fastreg;

namespace {

constexpr Instant kStart{1'000'000'000};

Member member_of(std::uint64_t seed, MemberState state = MemberState::alive) {
    Rng rng(seed);
    Member member;
    for (auto& b : member.id.bytes) b = static_cast<std::byte>(rng.next());
    member.state = state;
    return member;
}

Owners mesh_of(std::uint64_t count) {
    Owners owners;
    for (std::uint64_t i = 1; i <= count; ++i) CHECK(owners.on_member(kStart, member_of(i)));
    return owners;
}

}  // namespace

TEST_CASE("shards and weights follow the protocol") {
    // Fixed by the protocol: another implementation must find the same owners.
    CHECK(shard_of(*Digest::parse("sha256:abc" + std::string(61, '0'))) == 0xabc);
    CHECK(shard_of(*Digest::parse("sha512:0ff" + std::string(125, 'f'))) == 0x0ff);
    CHECK(shard_of_repository("", "a/b") == xxh3_64(as_bytes({"\0a/b", 4})) >> 52U);
    CHECK(shard_of_repository("ab", "c") != shard_of_repository("a", "bc"));
    NodeId id;
    id.bytes[15] = std::byte{1};
    Bytes key(18);
    key[0] = std::byte{0x34};
    key[1] = std::byte{0x02};
    key[17] = std::byte{1};
    CHECK(owner_weight(0x234, id) == xxh3_64(key, 0x46524547));
}

TEST_CASE("the order in which members are heard of does not matter") {
    // Gossip reaches every node in another order.
    Owners one = mesh_of(50);
    Owners other;
    for (std::uint64_t i = 50; i > 0; --i) other.on_member(kStart, member_of(i));
    for (ShardId shard = 0; shard < kShardCount; shard += 37) {
        const auto owners = one.of(shard);
        CHECK(owners == other.of(shard));
        REQUIRE(owners.size() == kOwnersPerShard);
        CHECK(owner_weight(shard, owners[0]) > owner_weight(shard, owners[1]));
        CHECK(owner_weight(shard, owners[1]) > owner_weight(shard, owners[2]));
        CHECK(one.owns(shard, owners[2]));
        CHECK(one.ranked(shard, 10).size() == 10);
        CHECK(one.ranked(shard, 10)[3] == other.ranked(shard, 50)[3]);
    }
}

TEST_CASE("shards are spread evenly") {
    // The busiest owner of a cluster must not carry twice the load of the mean.
    const Owners owners = mesh_of(20);
    std::map<NodeId, int> load;
    for (ShardId shard = 0; shard < kShardCount; ++shard) {
        for (const NodeId& node : owners.of(shard)) ++load[node];
    }
    CHECK(load.size() == 20);
    for (const auto& [node, shards] : load) {
        CHECK(shards > 614 / 2);
        CHECK(shards < 614 * 3 / 2);
    }
}

TEST_CASE("a member that leaves moves only its own shards") {
    // Rendezvous hashing's promise: nobody else copies anything.
    Owners owners = mesh_of(30);
    const Owners before = owners;
    const Member gone = member_of(7, MemberState::left);
    CHECK(owners.on_member(kStart, gone));
    CHECK_FALSE(owners.on_member(kStart, gone));
    for (ShardId shard = 0; shard < kShardCount; shard += 11) {
        auto expected = before.ranked(shard, kOwnersPerShard + 1);
        std::erase(expected, gone.id);
        expected.resize(kOwnersPerShard);
        CHECK(owners.of(shard) == expected);
    }
}

TEST_CASE("a dead member keeps what it owns for two minutes") {
    // A reboot must not move a directory; a loss must not leave it thin for ever.
    Owners owners = mesh_of(5);
    CHECK_FALSE(owners.on_member(kStart, member_of(2, MemberState::suspect)));
    CHECK(owners.reachable(member_of(2).id));
    CHECK(owners.next_deadline() == Instant::never());
    CHECK_FALSE(owners.on_member(kStart, member_of(2, MemberState::dead)));
    CHECK_FALSE(owners.reachable(member_of(2).id));
    CHECK(owners.next_deadline() == kStart + kDeadOwnerGrace);
    CHECK_FALSE(owners.on_member(kStart + 60s, member_of(2, MemberState::dead)));  // said again
    CHECK(owners.next_deadline() == kStart + kDeadOwnerGrace);
    CHECK_FALSE(owners.on_deadline(kStart + 119s));
    CHECK(owners.size() == 5);
    CHECK(owners.on_deadline(kStart + 120s));
    CHECK(owners.size() == 4);
    CHECK(owners.find(member_of(2).id) == nullptr);
    CHECK(owners.on_member(kStart + 130s, member_of(2)));  // and is welcome again
    CHECK(owners.size() == 5);
}

TEST_CASE("a member that comes back within its grace owns what it did") {
    // Its rows are still there: nothing may have moved.
    Owners owners = mesh_of(5);
    CHECK_FALSE(owners.on_member(kStart, member_of(3, MemberState::dead)));
    CHECK_FALSE(owners.on_member(kStart + 100s, member_of(3)));
    CHECK_FALSE(owners.on_deadline(kStart + 1000s));
    CHECK(owners.reachable(member_of(3).id));
}

TEST_CASE("a stopping member keeps the longer grace when it falls silent") {
    // A rolling restart is announced; gossip sees a death all the same.
    Owners owners = mesh_of(5);
    CHECK_FALSE(owners.on_member(kStart, member_of(4, MemberState::stopping)));
    CHECK_FALSE(owners.reachable(member_of(4).id));
    CHECK_FALSE(owners.on_member(kStart + 30s, member_of(4, MemberState::dead)));
    CHECK(owners.next_deadline() == kStart + kStoppingOwnerGrace);
    CHECK_FALSE(owners.on_deadline(kStart + 599s));
    CHECK(owners.on_deadline(kStart + 600s));
}

TEST_CASE("fewer members than owners is no error") {
    // The first node of a mesh is alone.
    CHECK(Owners().of(1).empty());
    CHECK(mesh_of(1).of(1).size() == 1);
    CHECK(mesh_of(2).of(1).size() == 2);
}
