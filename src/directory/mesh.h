// What the parts of the directory share: who this node is, its options, and who owns what.
#pragma once

#include <string>
#include <string_view>

#include "base/owner_table.h"
#include "base/random.h"
#include "directory/types.h"

namespace fastreg::directory {

struct Mesh {
    NodeId self;
    BootEpoch epoch = 0;
    Options options;
    Rng rng;
    OwnerTable table;
    RequestId last_request = 0;

    [[nodiscard]] RequestId new_request() { return ++last_request; }
    [[nodiscard]] bool owns(ShardId shard) const { return table.owns(shard, self); }
    [[nodiscard]] std::string_view zone_of(const NodeId& node) const;

    /// At most `limit` of `holders` that are reachable and not `asker`: up to 8 whole copies for sure,
    /// the rest at random; then those in the asker's zone first, random among equals. Who only asks is told of all
    /// homes before any other holder: it counts the copies.
    [[nodiscard]] std::vector<Holder> choose(std::vector<Holder> holders, const NodeId& asker, Intent intent,
                                             std::size_t limit);
};

/// What one entry adds to the hash of its shard.
[[nodiscard]] std::uint64_t entry_hash(const Digest& digest, HolderKind kind);

}  // namespace fastreg::directory
