// Which chunk from which peer next, how many in flight, and what to do with the slow and the lying.
// A sans-I/O core: told of events and of the time, it answers with actions; no byte of a blob passes
// through it. Loop thread only.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/chain.h"
#include "base/chunk_map.h"
#include "base/digest.h"
#include "base/ids.h"
#include "base/instant.h"
#include "base/member.h"
#include "base/random.h"
#include "base/result.h"
#include "transfer/actions.h"
#include "transfer/local_blobs.h"
#include "transfer/options.h"
#include "wire/transfer.h"

namespace fastreg::transfer {

/// Names one reader of one blob; the driver's choice, unique per blob.
using ReaderId = std::uint64_t;

struct Holder {
    NodeId node;
    bool complete = false;
};

/// How a FetchChunk ended.
enum class ChunkOutcome : std::uint8_t {
    stored,        // on disk, and its link holds
    bad_checksum,  // damaged under way
    bad_link,      // it is not the chunk the chain names
    disk_full,
    disk_error,
    link_lost,
    refused,  // the transport could not ask (no buffer, no route); Busy and NotHere arrive as messages
    cancelled,  // by a CancelFetch
};

/// How the fetch of a chunk ended.
struct ChunkEnd {
    ChunkOutcome outcome = ChunkOutcome::refused;
    std::uint64_t bytes = 0;  // that crossed the network for it
    Road road = Road::tcp;    // they came by
};

/// For `fastreg blob` and the admin interface.
struct BlobStatus {
    Digest digest;
    std::optional<std::uint64_t> size;
    ChunkMap chunks;
    bool chain_known = false;
    std::vector<SourceShare> sources;  // self stands for upstream
    std::map<NodeId, ChunkIndex> neighbours;  // who told which chunks it has: how many
    std::size_t outstanding = 0;
    Duration tau{};
};

struct PeerTotals {
    NodeId node;
    std::uint64_t bytes_in = 0;
    std::uint64_t bytes_out = 0;
    Duration rtt{};  // 0: not measured
    bool quarantined = false;
    std::uint64_t named = 0;  // so often it was the one to blame
};

/// Chunks that other nodes asked for.
struct UploadCounts {
    std::size_t active = 0;
    std::size_t waiting = 0;
};

class Transfer {
  public:
    /// `blobs` outlives this.
    Transfer(NodeId self, std::string zone, Options options, const LocalBlobs& blobs, Rng rng);
    ~Transfer();
    Transfer(Transfer&&) noexcept;

    /// Zones, and whose links are gone for good.
    void on_member(Instant now, const Member& member, Outbox& out);
    /// Gossip no longer knows it: nor do its rate and its quarantine matter.
    void on_forgotten(const NodeId& id);

    // Downloads.

    /// Starts a download, or tells a running one its size. Asks LookUp and, once the size is known,
    /// OpenPartial. `chain`, when the store has one, is taken as proven by who stored it.
    void want(Instant now, const Digest& digest, std::optional<std::uint64_t> size, ChunkMap already_have,
              std::optional<Chain> chain, Outbox& out);
    /// The partial file is there, with `have` verified chunks in it (count of the grid, or empty).
    void on_opened(Instant now, const Digest& digest, const Status& status, ChunkMap have, Outbox& out);
    /// The directory's answer; may come again and adds to what is known.
    void on_holders(Instant now, const Digest& digest, std::optional<std::uint64_t> size,
                    const std::vector<Holder>& holders, Outbox& out);
    /// A holder that another than the directory named, such as the node that asks for a second copy.
    void on_holder(Instant now, const Digest& digest, const Holder& holder, Outbox& out);
    void on_lookup_failed(Instant now, const Digest& digest, Outbox& out);
    /// Chunk `chunk` came from upstream and is stored; `end_link` is S_(chunk+1), empty for the last
    /// chunk (whose hash the driver compared with the digest). In order from 0 it makes the chain.
    void on_first_hand(Instant now, const Digest& digest, ChunkIndex chunk, Bytes end_link, Outbox& out);
    /// Upstream sent bytes of a chunk that is not whole yet: the download has a source.
    void on_upstream_bytes(Instant now, const Digest& digest);
    void cancel(Instant now, const Digest& digest, Outbox& out);

    // Readers: chunks from `offset` on are wanted in order, up to `end` (exclusive).
    void add_reader(Instant now, const Digest& digest, ReaderId reader, std::uint64_t offset,
                    std::uint64_t end, Outbox& out);
    void move_reader(Instant now, const Digest& digest, ReaderId reader, std::uint64_t offset, Outbox& out);
    void drop_reader(Instant now, const Digest& digest, ReaderId reader, Outbox& out);

    // Peers.
    void on_message(Instant now, NodeId from, const wire::TransferMessage& message, Outbox& out);
    /// Connecting failed, or the link broke. Ends every fetch from and serve to that node.
    void on_link_down(Instant now, NodeId node, Outbox& out);
    /// The end of a FetchChunk. False when nobody waited for it any more: it was cancelled, or its download
    /// has ended.
    bool on_chunk(Instant now, NodeId from, RequestId request, const Digest& digest, ChunkIndex chunk,
                  const ChunkEnd& end, Outbox& out);
    /// `n` more bytes of a chunk arrived. Cheap; may leave out some calls but not all of a chunk that
    /// takes longer than 400 ms.
    void on_bytes(Instant now, NodeId from, RequestId request, std::uint64_t n);

    // Serving.
    /// The blob became whole here by another way (pushed, pulled from upstream elsewhere, healed).
    void on_complete_blob(Instant now, const Digest& digest, std::uint64_t size, Outbox& out);
    void on_blob_gone(Instant now, const Digest& digest, Outbox& out);
    void on_chain(Instant now, const Digest& digest, Result<Chain> chain, Outbox& out);
    /// The end of a ServeChunk.
    void on_served(Instant now, NodeId to, RequestId request, bool ok, Outbox& out);
    /// Optional: the socket of this serve takes no more, or takes more again. A blocked serve does not
    /// hold its slot, so a slow receiver cannot stop the others.
    void on_serve_blocked(Instant now, NodeId to, RequestId request, bool blocked, Outbox& out);

    void on_deadline(Instant now, Outbox& out);
    [[nodiscard]] Instant next_deadline() const;

    // Questions.
    [[nodiscard]] bool downloading(const Digest& digest) const;
    [[nodiscard]] std::size_t active_downloads() const;
    /// Streamable bytes from 0 on; 0 for a blob that is not being downloaded.
    [[nodiscard]] std::uint64_t progress(const Digest& digest) const;
    /// The end of the streamable run that starts at `offset`; `offset` itself when there is none.
    [[nodiscard]] std::uint64_t verified_run(const Digest& digest, std::uint64_t offset) const;
    [[nodiscard]] std::optional<BlobStatus> status(const Digest& digest) const;
    [[nodiscard]] std::vector<BlobStatus> downloads() const;
    [[nodiscard]] std::vector<PeerTotals> peers(Instant now) const;
    [[nodiscard]] UploadCounts uploads() const;
    /// Chunks of it are being sent, or asked for and waiting.
    [[nodiscard]] bool serving(const Digest& digest) const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace fastreg::transfer
