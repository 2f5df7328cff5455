// The messages of the directory (who holds which blob; docs/PROTOCOL.md, "Directory"), as bytes and
// back. Frame types 0x20..0x2f. Hostile input expected. Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "base/digest.h"
#include "base/ids.h"
#include "base/owners.h"
#include "base/result.h"
#include "wire/frame.h"

namespace fastreg::wire {

/// How much of a blob a holder has, and for how long it means to keep it.
enum class HolderKind : std::uint8_t {
    none = 0,
    partial = 1,  // in progress: some verified chunks, more to come
    cache = 2,    // whole, may go any time
    home = 3,     // whole, durable, counts as a copy
};

inline constexpr std::size_t kAnnounceEntriesMax = 256;
inline constexpr std::size_t kHoldersPerReplyMax = 50;
inline constexpr std::size_t kSummaryItemsMax = 2048;
inline constexpr std::size_t kPageHoldersMax = 1024;  // of one digest

/// What changed at the sender. The receiver owns the shard of every entry.
struct Announce {
    struct Entry {
        Digest digest;
        std::uint64_t size = 0;
        HolderKind was = HolderKind::none;  // what the sender last told this owner
        HolderKind now = HolderKind::none;  // none: no longer held
        bool operator==(const Entry&) const = default;
    };
    RequestId request = 0;
    BootEpoch epoch = 0;    // of the sender: what an older one said is void
    std::uint64_t seq = 0;  // grows by one with every batch to this owner, from 1; 0 is never used
    std::vector<ShardId> resets;  // first forget all the sender said of these shards
    std::vector<Entry> entries;
    bool operator==(const Announce&) const = default;
};

struct AnnounceAck {
    RequestId request = 0;
    bool unknown = false;      // the owner has no record of this sender: compare everything again
    std::uint64_t enough = 0;  // entries not kept, because the digest has holders enough
    bool operator==(const AnnounceAck&) const = default;
};

/// What the sender holds, per shard, so that nothing is announced twice for nothing.
struct ShardSummary {
    struct Item {
        ShardId shard = 0;
        std::uint64_t count = 0;
        std::uint64_t hash = 0;  // XOR over entries of XXH3-64(digest, kind)
        bool operator==(const Item&) const = default;
    };
    RequestId request = 0;
    BootEpoch epoch = 0;
    std::uint64_t seq = 0;
    std::vector<Item> items;
    bool operator==(const ShardSummary&) const = default;
};

struct ShardSummaryReply {
    RequestId request = 0;
    std::vector<ShardId> want;   // differ: reset and announce them
    std::vector<ShardId> later;  // still being copied from another owner: compare again in a second
    bool operator==(const ShardSummaryReply&) const = default;
};

struct Lookup {
    RequestId request = 0;
    Digest digest;
    bool download = false;  // registers the asker as in progress
    bool operator==(const Lookup&) const = default;
};

struct LookupReply {
    struct Holder {
        NodeId node;
        HolderKind kind = HolderKind::none;
        bool operator==(const Holder&) const = default;
    };
    RequestId request = 0;
    Digest digest;
    bool not_yet = false;  // the owner is still copying this shard; it says what it knows
    std::optional<std::uint64_t> size;
    std::vector<Holder> holders;
    bool operator==(const LookupReply&) const = default;
};

/// A new owner asks another one for shards; entries come in order of (shard, digest).
struct ShardPull {
    RequestId request = 0;
    std::vector<ShardId> shards;  // ascending
    std::optional<Digest> after;  // go on behind this one
    bool operator==(const ShardPull&) const = default;
};

struct ShardPage {
    struct Holder {
        NodeId node;
        BootEpoch epoch = 0;
        HolderKind kind = HolderKind::none;
        bool operator==(const Holder&) const = default;
    };
    struct Entry {
        Digest digest;
        std::optional<std::uint64_t> size;
        std::vector<Holder> holders;
        bool operator==(const Entry&) const = default;
    };
    RequestId request = 0;
    std::vector<Entry> entries;
    std::vector<ShardId> not_yet;  // the asked one is still copying these itself
    bool more = false;             // ask again after the last entry
    bool operator==(const ShardPage&) const = default;
};

/// "I asked that holder and it does not have it."
struct WrongHint {
    Digest digest;
    NodeId holder;
    bool operator==(const WrongHint&) const = default;
};

using DirectoryMessage = std::variant<Announce, AnnounceAck, ShardSummary, ShardSummaryReply, Lookup,
                                      LookupReply, ShardPull, ShardPage, WrongHint>;

/// The request id travels in the frame's header.
[[nodiscard]] Frame encode(const DirectoryMessage& message);
/// Errc::unsupported for a frame type this version does not know, Errc::protocol for a malformed one.
[[nodiscard]] Result<DirectoryMessage> decode_directory(const Frame& frame);

/// Bytes one entry of a page takes at most, for cutting pages below the frame limit.
[[nodiscard]] std::size_t encoded_size(const ShardPage::Entry& entry);

}  // namespace fastreg::wire
