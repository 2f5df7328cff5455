// The requests of one download that are on the wire. Keeps the shared counts right: what counts in O,
// what is outstanding at a peer. A value inside the core.
#pragma once

#include <cstdint>
#include <vector>

#include "base/ids.h"
#include "base/instant.h"
#include "transfer/context.h"

namespace fastreg::transfer {

struct Request {
    RequestId id = 0;
    NodeId from;
    ChunkIndex chunk = 0;
    Instant sent;
    std::uint64_t got = 0;   // bytes
    bool counted = true;     // in O
    bool at_peer = true;     // still outstanding there: not all bytes arrived
    bool window = false;     // asked for because a reader is near
    bool extra = false;      // a second copy: hedge or end-game
    bool stale = false;      // older than 4 tau
    bool abandoned = false;  // its peer fell silent; the chunk is open again
};

class Requests {
  public:
    /// References stay good until the next add() or remove().
    Request& add(Instant now, Context& context, const NodeId& from, ChunkIndex chunk);
    void remove(Context& context, RequestId id);
    [[nodiscard]] Request* find(const NodeId& from, RequestId id);
    [[nodiscard]] std::vector<Request>& all() { return all_; }
    [[nodiscard]] const std::vector<Request>& all() const { return all_; }

    /// All bytes arrived; only the store's word is missing.
    void landed(Context& context, Request& request);
    /// Does not count in O any more.
    static void uncount(Context& context, Request& request);

    [[nodiscard]] std::size_t copies(ChunkIndex chunk) const;
    /// Requests for the chunk that somebody may be trusted to end.
    [[nodiscard]] std::size_t live_copies(ChunkIndex chunk) const;
    [[nodiscard]] bool asked(const NodeId& from, ChunkIndex chunk) const;
    [[nodiscard]] bool stale_at(const NodeId& from) const;
    [[nodiscard]] std::size_t counted() const;
    [[nodiscard]] std::size_t landed_count() const;

  private:
    std::vector<Request> all_;
};

}  // namespace fastreg::transfer
