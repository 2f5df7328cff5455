// Every constant of the membership protocol, with its unit and where it comes from. A value.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/instant.h"

namespace fastreg::gossip {

/// The defaults are for one site (memberlist's "LAN" profile unless said otherwise).
struct Options {
    // Probing (SWIM, Das et al. 2002; Lifeguard, arXiv 1707.00788).
    Duration probe_interval = 1s;          // times (local health + 1)
    Duration warm_timeout = 500ms;         // a link is up: one round trip
    Duration cold_timeout = 2s;            // dial and handshake first; a lost SYN costs 1 s
    Duration indirect_timeout = 1s;        // for the helpers, times (local health + 1)
    Duration cold_indirect_timeout = 2s;   // the same when a helper has to be dialled
    Duration nack_after = 400ms;           // a helper says "no answer yet"
    std::size_t helpers = 3;
    unsigned local_health_max = 8;
    std::size_t forwards_max = 1'024;      // probes for others in flight

    Duration slept_after = 250ms;          // a deadline met later than this: this node was not running

    // Suspicion: min = mult * max(1, log10 N) * probe_interval, max = max_mult * min.
    unsigned suspicion_mult = 4;
    unsigned suspicion_max_mult = 6;
    unsigned suspicion_confirmations = 2;  // memberlist: suspicion_mult - 2

    // Spreading.
    Duration gossip_interval = 200ms;
    std::size_t gossip_fanout = 3;
    unsigned retransmit_mult = 4;          // times ceil(log10(N + 1))
    std::size_t frame_budget = 60'000;     // bytes of claims a message; the frame allows 65,536

    // Anti-entropy; above 32 members the interval grows by ceil(log2 N) - 5 times itself.
    Duration sync_interval = 30s;
    Duration fast_sync_interval = 1'500ms;  // in the first fast_sync_for after a join
    Duration fast_sync_for = 30s;
    std::size_t sync_frames = 8;            // frames in answer to one digest

    // Joining and healing.
    Duration join_jitter = 500ms;           // before the first seed is dialled
    Duration join_retry = 1s;               // doubles to join_retry_max while alone
    Duration join_retry_max = 30s;
    std::size_t join_parallel = 3;          // seeds dialled at a time
    std::size_t join_reply_members = 64;    // of at most wire::kJoinReplyMembersMax
    std::size_t join_replies_per_second = 128;  // above it: only whom to ask
    Duration seed_redial_min = 30s;         // one seed, for ever: heals a split
    Duration seed_redial_max = 60s;
    Duration dead_redial = 30s;             // one dead member with p = dead / alive (serf)

    // Links.
    std::size_t rings = 4;                  // two neighbours each, plus two in the own zone
    Duration links_settle = 500ms;          // at least this long between two KeepLinks

    // Memory.
    Duration stopping_for = 10min;          // then a stopping member is dead
    Duration dead_for = 24h;                // then a dead or left member is forgotten
    std::size_t members_max = 65'536;
    std::size_t hints_max = 64;             // last known peers tried at a start
    std::size_t seeds_max = 64;
    std::uint64_t incarnation_jump_max = 65'536;               // second hand, within an epoch
    std::uint64_t epoch_jump_max = std::uint64_t{1} << 40U;    // second hand
    Duration warn_every = 60s;              // the same warning or conflict
};

}  // namespace fastreg::gossip
