// The words of the directory room: ids, options and what its core asks the node to do. Values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/digest.h"
#include "base/ids.h"
#include "base/instant.h"
#include "base/result.h"
#include "wire/directory.h"

namespace fastreg::directory {

using wire::HolderKind;

/// Chosen by the caller of look_up(); comes back in Found or LookupFailed. Not reused while open.
using LookupId = std::uint64_t;

enum class Intent : std::uint8_t {
    ask,       // who has it?
    download,  // the same, and name me to others as one who is fetching it
};

/// A hint, never a truth.
struct Holder {
    NodeId node;
    HolderKind kind = HolderKind::none;
    bool operator==(const Holder&) const = default;
};

struct Options {
    Duration batch_delay = 100ms;         // at most this long before an owner is told; homes at once
    Duration owner_timeout = 200ms;       // then the next owner is asked
    Duration retry_delay = 1s;            // of announcements, comparisons and copies
    Duration summary_interval = 600s;     // comparisons with unchanged owners; jittered by half
    Duration asker_lifetime = 60s;        // of an asker that registered itself by a look-up only
    std::size_t holders_max = 512;        // of one digest; homes apart
    std::size_t entries_max = 2'000'000;  // (digest, holder) pairs an owner keeps in total
    std::size_t lookups_max = 65'536;     // open at a time
};

/// For the metrics page.
struct Stats {
    std::size_t local_blobs = 0;
    std::size_t entries = 0;        // kept for others, as an owner
    std::size_t shards_owned = 0;
    std::size_t shards_copying = 0;  // owned, not answered for yet
    std::uint64_t entries_sent = 0;  // announced to other owners since start
    std::uint64_t entries_declined = 0;
    std::size_t lookups_open = 0;
};

/// Actions. Never to this node itself.
struct Send {
    NodeId to;
    wire::DirectoryMessage message;
};
/// The end of one look-up. Holders: at most 50, same zone first, random among equals, never this node. Who only
/// asks is told of the homes first.
struct Found {
    LookupId id = 0;
    Digest digest;
    std::optional<std::uint64_t> size;  // as announced: a claim
    std::vector<Holder> holders;        // empty: nobody is known to have it
    /// False when no owner that answered knows its whole shard yet: "nobody" may be wrong.
    bool authoritative = false;
};
/// No owner of the digest answered.
struct LookupFailed {
    LookupId id = 0;
    Digest digest;
    Error why;
};

using Action = std::variant<Send, Found, LookupFailed>;
using Outbox = std::vector<Action>;

}  // namespace fastreg::directory
