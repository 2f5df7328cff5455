// All that the transfer core can ask of its driver: a closed list. Values; loop thread only.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/chain.h"
#include "base/digest.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/road.h"
#include "wire/transfer.h"

namespace fastreg::transfer {

/// Send this message on the data link to `to`, dialling when there is none. Never GetChunk or Data.
struct Send {
    NodeId to;
    wire::TransferMessage message;
};

/// Ask `from` for a chunk (GetChunk, or its RDMA form), land it, store it and check its link. Ends with
/// exactly one on_chunk(), also after CancelFetch (a late answer is harmless). `start_link` is empty for chunk 0
/// and `end_link` for the last one, whose end is the digest itself.
struct FetchChunk {
    NodeId from;
    RequestId request = 0;
    Digest digest;
    std::uint64_t size = 0;
    ChunkIndex chunk = 0;
    Bytes start_link;
    Bytes end_link;
    bool urgent = false;
    bool second_copy = false;  // the first, asked of another node, is slow
};

/// No longer wanted: send Cancel, drop what comes. No on_chunk() is needed, one does no harm.
struct CancelFetch {
    NodeId from;
    RequestId request = 0;
};

/// Send the chunk's bytes as Data pieces from the file; report on_served() once.
struct ServeChunk {
    NodeId to;
    RequestId request = 0;
    Digest digest;
    std::uint64_t size = 0;
    ChunkIndex chunk = 0;
    std::uint64_t offset = 0;  // in the blob
    std::uint64_t length = 0;
    bool urgent = false;
};

/// The asker gave up: stop at the next piece. No on_served() is needed.
struct CancelServe {
    NodeId to;
    RequestId request = 0;
};

/// Ask the directory who has it (intent "download"); answer on_holders() or on_lookup_failed().
struct LookUp {
    Digest digest;
};

/// Make or find the partial file; answer on_opened().
struct OpenPartial {
    Digest digest;
    std::uint64_t size = 0;
};

/// Read the chain of a complete blob from the store; answer on_chain().
struct NeedChain {
    Digest digest;
};

/// A chunk's link holds: it may be offered, streamed and resumed. Readers at an offset look at
/// verified_run() again.
struct Have {
    Digest digest;
    ChunkIndex chunk = 0;
};

/// These chunks were verified against a chain that proved wrong: forget them, they come again.
struct Unverify {
    Digest digest;
    std::vector<ChunkIndex> chunks;
};

/// `verified_prefix` bytes from 0 on may be streamed. The last chunk counts only when all hold.
struct Progress {
    Digest digest;
    std::uint64_t verified_prefix = 0;
    bool complete = false;
};

/// What one source gave to one blob by one road.
struct SourceShare {
    NodeId node;
    Road road = Road::tcp;
    std::uint64_t chunks = 0;
    std::uint64_t bytes = 0;
};

/// All links hold: the blob is proven.
struct Completed {
    Digest digest;
    std::uint64_t size = 0;
    Chain chain;
    std::vector<SourceShare> sources;
};

/// The download ended without the blob; the partial file may be kept for a resume.
struct Failed {
    Digest digest;
    Error error;
};

/// This node sent bytes or links that do not hold; it is in quarantine. For log and metrics.
struct Blame {
    NodeId node;
    Digest digest;
    std::string why;
};

/// A peer says that what it was sent of this complete blob does not hold.
struct Doubted {
    NodeId by;
    Digest digest;
};

/// The directory named this node as a holder, and it is none: tell the directory.
struct WrongHint {
    Digest digest;
    NodeId node;
};

/// Close the data link: no byte for 2 s on outstanding work. on_link_down() may follow.
struct DropLink {
    NodeId node;
    std::string why;
};

using Action = std::variant<Send, FetchChunk, CancelFetch, ServeChunk, CancelServe, LookUp, OpenPartial,
                            NeedChain, Have, Unverify, Progress, Completed, Failed, Blame, WrongHint,
                            DropLink, Doubted>;
using Outbox = std::vector<Action>;

}  // namespace fastreg::transfer
