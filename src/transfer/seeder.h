// The blobs that are whole here and the nodes that download them from us. While at least three do and
// there is no other whole copy, each chunk is offered once, in index order, round robin, so that the
// first copies go to different nodes; afterwards this node is a source like any other. Inside the core
// only.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <vector>

#include "base/chunk_map.h"
#include "base/grid.h"
#include "transfer/context.h"
#include "transfer/swarm.h"

namespace fastreg::transfer {

class Seeder {
  public:
    explicit Seeder(Context& context) : context_(context) {}

    /// A download that just ended well; its neighbours stay.
    void adopt(Instant now, const Digest& digest, std::uint64_t size, const Swarm& swarm);
    /// A node wants to be told; `size` is that of the blob here.
    void on_interest(Instant now, const NodeId& from, const wire::Interest& message, std::uint64_t size,
                     Outbox& out);
    void on_map(Instant now, const NodeId& from, const wire::Map& message, Outbox& out);
    void on_have(Instant now, const NodeId& from, const wire::Have& message, Outbox& out);
    void on_done(Instant now, const NodeId& from, const Digest& digest, Outbox& out);
    void on_node_gone(Instant now, const NodeId& node, Outbox& out);
    void on_blob_gone(const Digest& digest, Outbox& out);
    /// A GetChunk came; true when it answers an offer.
    bool on_asked(const NodeId& from, const Digest& digest, ChunkIndex chunk);
    void on_served(Instant now, const NodeId& to, const Digest& digest, ChunkIndex chunk, bool ok,
                   Duration chunk_time, Outbox& out);
    void on_deadline(Instant now, Outbox& out);
    [[nodiscard]] Instant next_deadline() const;

    /// Up to three nodes to name in a Busy or Map: the last that finished, then some that have the chunk.
    [[nodiscard]] std::vector<NodeId> others_with(const Digest& digest, ChunkIndex chunk,
                                                  const NodeId& asker);
    [[nodiscard]] std::optional<std::uint64_t> size_of(const Digest& digest) const;
    [[nodiscard]] bool offering(const Digest& digest) const;

  private:
    struct Leech {
        ChunkMap has;
        std::size_t open = 0;      // offers to it
        Instant offer_from{};      // it let an offer lapse
        Instant seen;
    };
    struct OpenOffer {
        NodeId to;
        ChunkIndex chunk = 0;
        Instant since;
        bool asked = false;
    };
    struct Given {
        ChunkIndex chunk = 0;
        Instant at;
    };
    struct Seed {
        ChunkGrid grid;
        std::map<NodeId, Leech> leeches;
        std::deque<NodeId> finished;
        bool offering = false;
        bool pass_over = false;
        std::uint32_t seeds = 0;  // whole copies that downloaders know of
        ChunkMap given;           // offered, served, or at a leech
        std::vector<std::uint16_t> copies;
        std::deque<Given> watched;  // served, and maybe never passed on
        std::vector<OpenOffer> open;
        NodeId last_offered;
        Instant used;
    };

    Seed& seed_for(Instant now, const Digest& digest, std::uint64_t size);
    void send_map(const NodeId& to, const Digest& digest, const Seed& seed, Outbox& out);
    void consider_offering(const Digest& digest, Seed& seed, Outbox& out);
    void pump(Instant now, const Digest& digest, Seed& seed, Outbox& out);
    [[nodiscard]] std::map<NodeId, Leech>::iterator next_leech(Instant now, Seed& seed);
    [[nodiscard]] std::optional<ChunkIndex> next_chunk(Instant now, Seed& seed, const Leech& leech) const;
    void end_pass(const Digest& digest, Seed& seed, Outbox& out);
    void note_copy(Seed& seed, Leech& leech, ChunkIndex chunk);
    void close_offers(Seed& seed, const NodeId& to, std::optional<ChunkIndex> chunk, bool served);
    void leave(Seed& seed, const NodeId& node, bool finished);
    [[nodiscard]] Duration offer_lapse() const;

    static constexpr std::size_t kSeedsMax = 1024;
    static constexpr std::size_t kFinishedMax = 8;

    Context& context_;
    std::map<Digest, Seed> seeds_;
    Duration chunk_time_{};
};

}  // namespace fastreg::transfer
