// Bulk transport: chunks and their messages between two nodes. Every implementation (tcp/, rdma/, the
// fake) looks the same from here and passes tests/transport/conformance.h. All of this is called on the
// loop thread, and answers there, always from a later turn, never from inside a call.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/block_pool.h"
#include "base/digest.h"
#include "base/endpoint.h"
#include "base/grid.h"
#include "base/hash.h"
#include "base/ids.h"
#include "base/result.h"
#include "wire/transfer.h"

namespace fastreg::transport {

/// Takes the bytes of one chunk as they land. Called on an io thread, one call at a time, pieces in
/// order of their offset; may be destroyed on any thread.
class ChunkSink {
  public:
    virtual ~ChunkSink() = default;
    /// `block.filled()` holds the bytes of one piece; an empty chunk is one call with an empty Block.
    /// `checksum` is the sender's XXH3-128 of these bytes, if it sent one; it catches damage and proves
    /// nothing.
    virtual void on_block(std::uint64_t offset_in_chunk, Block block,
                          std::optional<Xxh128> checksum) = 0;
};

/// A readable file that outlives every serve of it. pread-able and sendfile-able from any thread.
class FileRef {
  public:
    virtual ~FileRef() = default;
    [[nodiscard]] virtual int fd() const = 0;
};

/// Ask `from` for one chunk.
struct FetchOrder {
    NodeId from;
    Endpoint address;  // dialled when there is no link yet
    bool by_tcp = false;  // whatever else there is
    RequestId request = 0;  // not 0; unique among the open fetches of this node
    Digest digest;
    std::uint64_t blob_size = 0;
    ChunkIndex chunk = 0;
    bool urgent = false;  // may use the connection's reserved block when the pool is empty
    std::shared_ptr<ChunkSink> sink;
};

/// Answer a GetChunk of `to` with bytes.
struct ServeOrder {
    NodeId to;
    RequestId request = 0;  // the one of its GetChunk
    std::shared_ptr<const FileRef> file;
    std::uint64_t file_offset = 0;
    std::uint64_t length = 0;  // the whole chunk, at most kChunkSizeMax
    bool urgent = false;
};

enum class FetchEnd : std::uint8_t {
    all_sent_to_sink,  // every byte of the chunk was given to the sink
    busy,              // the peer said Busy (its message was given to on_message just before)
    not_here,          // the peer said NotHere (likewise)
    link_lost,         // could not connect, or the link broke; on_link_down says why
    protocol_error,    // the peer broke the protocol; its link is closed
    no_slot,           // urgent, and no landing slot is free (by RDMA; the router asks by TCP then)
    cancelled,         // cancel_fetch: the peer may still send, the sink is not called any more
};
[[nodiscard]] std::string_view name_of(FetchEnd end);

class DataHandler {
  public:
    virtual ~DataHandler() = default;
    /// All messages but Data; Busy and NotHere for an open fetch are followed by on_fetch_done.
    /// GetChunk wants serve(), or send() of a Busy or NotHere. Cancel has already ended its serve.
    virtual void on_message(NodeId from, wire::TransferMessage message) = 0;
    /// Exactly once for every fetch().
    virtual void on_fetch_done(NodeId from, RequestId request, FetchEnd end) = 0;
    /// `bytes` more of the chunk arrived: the peer is alive. 0: the peer is not to blame for the silence (yet): this
    /// node itself does not read for want of free blocks or slots, or a chunk by RDMA, of which nobody sees how much
    /// has landed, takes no longer than usual. Said every 100 ms.
    virtual void on_progress(NodeId from, RequestId request, std::uint64_t bytes) = 0;
    /// Exactly once for every serve(): `ok` when the last byte was given to the kernel. `bytes` is what
    /// was given either way.
    virtual void on_served(NodeId to, RequestId request, bool ok, std::uint64_t bytes) = 0;
    /// The first link to `peer`, either direction.
    virtual void on_link_up(NodeId peer) = 0;
    /// No link to `peer` is left, or none could be made; messages not yet sent are lost. Its fetches
    /// end with link_lost before this.
    virtual void on_link_down(NodeId peer, const std::string& why) = 0;
};

class DataTransport {
  public:
    virtual ~DataTransport() = default;

    /// In order with earlier messages to the same peer; lost when the link breaks. A Busy or NotHere
    /// with a request id goes back on the link that brought the request. Not for GetChunk, Data and
    /// Cancel of a chunk: see fetch, serve, cancel_fetch.
    virtual void send(NodeId to, const Endpoint& address, wire::TransferMessage message) = 0;
    virtual void fetch(FetchOrder order) = 0;
    /// Tells the peer. on_fetch_done(cancelled) follows unless the fetch has ended meanwhile.
    virtual void cancel_fetch(NodeId from, RequestId request) = 0;
    virtual void serve(ServeOrder order) = 0;
    /// Stops after the piece in hand and tells the asker Busy. on_served(ok = false) follows unless it
    /// has ended meanwhile.
    virtual void cancel_serve(NodeId to, RequestId request) = 0;
    /// Closes all links to `peer`; its fetches end with link_lost.
    virtual void drop(NodeId peer, const std::string& why) = 0;
};

}  // namespace fastreg::transport
