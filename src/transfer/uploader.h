// The serving side: which request gets a slot, which waits, which is told to go elsewhere. Four active
// chunks and no queue is within 0.005 of the best that was simulated; while at most two nodes ask,
// requests wait instead, so that one reader of one source keeps its pipeline. Inside the core only.
#pragma once

#include <cstdint>
#include <vector>

#include "transfer/context.h"

namespace fastreg::transfer {

class Uploader {
  public:
    explicit Uploader(Context& context) : context_(context) {}

    /// A request for a chunk that is here. `offered`: waits rather than be refused. `instead`: others
    /// to name in a Busy.
    void on_get_chunk(Instant now, const NodeId& from, const wire::GetChunk& message, bool offered,
                      const std::vector<NodeId>& instead, Outbox& out);
    void on_cancel(Instant now, const NodeId& from, RequestId request, Outbox& out);

    struct Served {
        Digest digest;
        ChunkIndex chunk = 0;
        std::uint64_t bytes = 0;
    };
    /// Nothing for a request that ended before.
    std::optional<Served> on_served(Instant now, const NodeId& to, RequestId request, Outbox& out);
    void on_blocked(Instant now, const NodeId& to, RequestId request, bool blocked, Outbox& out);
    void on_node_gone(Instant now, const NodeId& node, Outbox& out);
    void on_blob_gone(Instant now, const Digest& digest, Outbox& out);

    /// Time a chunk takes on this node's uplink; zero before the first.
    [[nodiscard]] Duration chunk_time() const { return chunk_time_; }
    [[nodiscard]] std::size_t active() const;
    [[nodiscard]] bool serving(const Digest& digest) const;
    [[nodiscard]] std::size_t waiting() const { return serves_.size() - active(); }

  private:
    struct Serve {
        NodeId to;
        wire::GetChunk ask;
        bool active = false;
        bool blocked = false;
        bool offered = false;
        Instant started;
    };
    [[nodiscard]] bool may_start(const Serve& serve) const;
    [[nodiscard]] bool crowded(const NodeId& from) const;
    void start(Instant now, Serve& serve, Outbox& out);
    void start_waiting(Instant now, Outbox& out);
    [[nodiscard]] std::vector<Serve>::iterator find(const NodeId& to, RequestId request);

    Context& context_;
    std::vector<Serve> serves_;  // in order of arrival
    Duration chunk_time_{};
};

}  // namespace fastreg::transfer
