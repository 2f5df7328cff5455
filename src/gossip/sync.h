// Anti-entropy: which buckets differ, and what to say about them. Pure functions.
#pragma once

#include <vector>

#include "base/random.h"
#include "gossip/table.h"

namespace fastreg::gossip {

/// What `table`'s owner says of a member: whole while it lives, short once it is dead or left.
[[nodiscard]] wire::Claim claim_of(const Member& member, NodeId speaker);

/// The short form: of a member that everybody concerned knows.
[[nodiscard]] wire::Claim short_claim(const Member& member, NodeId from);

/// The buckets that differ, in turn from a random one, so that a cut answer does not always leave out
/// the same ones.
[[nodiscard]] std::vector<std::uint8_t> differing_buckets(const BucketHashes& mine,
                                                          const BucketHashes& theirs, Rng& rng);

/// Everything known in these buckets, in at most `frames` messages of `bytes` of claims each.
[[nodiscard]] std::vector<wire::SyncBuckets> answer_digest(const Table& table,
                                                           const std::vector<std::uint8_t>& buckets,
                                                           std::size_t frames, std::size_t bytes);

/// What this table knows better than `theirs`, or they did not name; one message of `bytes` at most.
[[nodiscard]] wire::SyncBuckets answer_buckets(const Table& table, const wire::SyncBuckets& theirs,
                                               std::size_t bytes);

/// `interval`, and above 32 members ceil(log2 N) - 5 times more (memberlist).
[[nodiscard]] Duration sync_interval(Duration interval, std::size_t live);

}  // namespace fastreg::gossip
