// What the parts of the repo room share: who this node is, its clock, its options, who owns what.
#pragma once

#include <string_view>

#include "base/hlc.h"
#include "base/owner_table.h"
#include "base/random.h"
#include "repo/types.h"

namespace fastreg::repo {

struct Mesh {
    NodeId self;
    Options options;
    Rng rng;
    OwnerTable table;
    Hlc hlc;
    std::uint64_t wall_ms = 0;  // as last told
    RequestId last_request = 0;
    bool returns = false;  // the disk is from an earlier run

    [[nodiscard]] RequestId new_request() { return ++last_request; }
    [[nodiscard]] bool owns(ShardId shard) const { return table.owns(shard, self); }
};

/// The registry part of the name is empty: a repository's full name says it all.
[[nodiscard]] inline ShardId shard_of_name(std::string_view repository) {
    return shard_of_repository({}, repository);
}

}  // namespace fastreg::repo
