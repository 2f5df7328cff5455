// Messages of the data plane (docs/PROTOCOL.md, "Transfer"): who has which chunk, please send it, no.
// Bytes of blobs never pass through here: after a Data frame `length` raw bytes follow on the link.
// Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/chunk_map.h"
#include "base/digest.h"
#include "base/grid.h"
#include "base/hash.h"
#include "base/ids.h"
#include "base/result.h"
#include "wire/frame.h"

namespace fastreg::wire {

/// The raw bytes behind one Data frame: small enough for an urgent chunk to overtake.
inline constexpr std::uint32_t kDataPieceMax = 256U << 10U;
/// Bytes of links in one ChainPage.
inline constexpr std::size_t kChainPageMax = 60U << 10U;
/// Indices in one Have.
inline constexpr std::size_t kHaveMax = 1024;
/// Better sources named in one Busy.
inline constexpr std::size_t kTryMax = 3;
/// Chunks of the largest blob; a map of them is 32 KiB and so fits one frame.
inline constexpr std::uint32_t kChunkCountMax = 1U << 18U;

enum class TransferType : std::uint8_t {
    get_chunk = 0x40,
    data = 0x41,
    cancel = 0x42,
    busy = 0x43,
    not_here = 0x44,
    interest = 0x45,
    map = 0x46,
    have = 0x47,
    chain_request = 0x48,
    chain_page = 0x49,
    offer = 0x4a,
    done = 0x4b,
    doubt = 0x4c,
};

/// Send me this chunk. Ends with the last Data piece, Busy, NotHere, or the asker's Cancel.
struct GetChunk {
    RequestId request = 0;
    Digest digest;
    std::uint64_t size = 0;
    ChunkIndex chunk = 0;
    bool urgent = false;  // a reader waits for it
    bool operator==(const GetChunk&) const = default;
};

/// Head of one piece of a chunk; exactly `length` raw bytes follow the frame.
struct Data {
    RequestId request = 0;
    std::uint32_t offset = 0;  // within the chunk; pieces of one request come in order
    std::uint32_t length = 0;  // <= kDataPieceMax
    std::uint32_t total = 0;   // bytes of the whole chunk
    std::optional<Xxh128> checksum;  // XXH3-128 of the bytes behind this frame; proves nothing
    bool operator==(const Data&) const = default;
};

/// The asker no longer wants it. Data pieces already under way still arrive.
struct Cancel {
    RequestId request = 0;
    bool operator==(const Cancel&) const = default;
};

/// Not now. With request 0: no room for another neighbour of this blob.
struct Busy {
    RequestId request = 0;
    Digest digest;
    std::vector<NodeId> try_instead;  // at most kTryMax
    bool operator==(const Busy&) const = default;
};

/// This node has not got it: the whole blob, or (whole = false) only the chunk of `request`.
struct NotHere {
    RequestId request = 0;
    Digest digest;
    bool whole = true;
    bool operator==(const NotHere&) const = default;
};

/// The sender downloads this blob and would be a neighbour. Answered by Map, Busy or NotHere.
struct Interest {
    Digest digest;
    std::uint64_t size = 0;   // 0: not known yet
    std::uint32_t seeds = 0;  // complete holders the sender knows of
    bool operator==(const Interest&) const = default;
};

/// All that the sender has of the blob; replaces what it said before.
struct Map {
    Digest digest;
    std::uint64_t size = 0;
    bool complete = false;    // `chunks` is left out
    bool offering = false;    // ask only for what this node offers, until its next Map
    bool first_hand = false;  // fetches it from upstream, or had it pushed: its chain is its own work
    ChunkMap chunks;          // count() is that of the size's grid
    std::vector<NodeId> others;  // some that have or download it, at most kTryMax
    bool operator==(const Map&) const = default;
};

/// Chunks verified since the last Map or Have.
struct Have {
    Digest digest;
    std::vector<ChunkIndex> chunks;  // at most kHaveMax
    bool operator==(const Have&) const = default;
};

/// Links from byte `offset` on; answered by one ChainPage.
struct ChainRequest {
    Digest digest;
    std::uint64_t size = 0;
    std::uint32_t offset = 0;
    bool operator==(const ChainRequest&) const = default;
};

/// A piece of the interior states S_1 .. S_(n-1). Empty: nothing known (yet) from `offset` on. The
/// links of a blob that its sender is still fetching first-hand grow with it.
struct ChainPage {
    Digest digest;
    std::uint64_t size = 0;
    std::uint32_t offset = 0;
    Bytes links;  // whole links, at most kChainPageMax bytes
    bool operator==(const ChainPage&) const = default;
};

/// Ask me for this chunk now; nobody else was offered it.
struct Offer {
    Digest digest;
    std::uint64_t size = 0;
    ChunkIndex chunk = 0;
    bool operator==(const Offer&) const = default;
};

/// No longer a neighbour for this blob.
struct Done {
    Digest digest;
    bool operator==(const Done&) const = default;
};

/// What you sent of this blob, chunk or chain, does not hold: look at your copy. A claim like any other.
struct Doubt {
    Digest digest;
    bool operator==(const Doubt&) const = default;
};

using TransferMessage = std::variant<GetChunk, Data, Cancel, Busy, NotHere, Interest, Map, Have,
                                     ChainRequest, ChainPage, Offer, Done, Doubt>;

/// True for the types this file knows; others of the family are skipped by the link's rules.
[[nodiscard]] bool is_transfer_type(std::uint8_t type);

[[nodiscard]] Frame to_frame(const TransferMessage& message);
/// Header and body, ready to send.
[[nodiscard]] Bytes encode(const TransferMessage& message);
/// Strict about types, limits and grids; unknown keys are skipped.
[[nodiscard]] Result<TransferMessage> decode_transfer(const Frame& frame);

}  // namespace fastreg::wire
