// Lists of shards in a message body, for the families that name them.
#pragma once

#include <cstdint>
#include <vector>

#include "base/owners.h"
#include "wire/pack.h"

namespace fastreg::wire {

inline constexpr std::uint64_t kShardMax = kShardCount - 1;

/// The list at `key`; a shard that there is not marks the message as wrong.
inline std::vector<ShardId> read_shards(MapReader& in, int key) {
    std::vector<ShardId> shards;
    for (const auto value : in.numbers(key, kShardCount)) {
        if (value > kShardMax) in.reject("names a shard over 4095");
        shards.push_back(static_cast<ShardId>(value & kShardMax));
    }
    return shards;
}

}  // namespace fastreg::wire
