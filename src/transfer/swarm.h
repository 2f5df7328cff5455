// Who the neighbours of one download are: whom to dial among the holders the directory named, whom to
// let in, and what each has. About 20 mutual neighbours, half dialled, half let in; 90 % of the
// dialled in the own zone. A value inside the core.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "base/chunk_map.h"
#include "base/ids.h"
#include "base/instant.h"
#include "transfer/context.h"

namespace fastreg::transfer {

struct Neighbour {
    Instant since;          // when we asked, or let it in
    bool dialled = false;
    bool answered = false;  // its map is known, or assumed for a blob of one chunk
    ChunkMap has;
    bool complete = false;
    bool offering = false;  // pull only what it offers
    bool first_hand = false;
    std::vector<ChunkIndex> offered;
    Instant last_offer;
    // The chain.
    Instant chain_asked = Instant::never();  // never(): no question under way
    Instant chain_retry{};
    Duration chain_backoff{};

    [[nodiscard]] bool authority() const { return complete || first_hand; }
};

class Swarm {
  public:
    /// A holder, by the directory or by a busy node's word.
    void on_candidate(const NodeId& node, bool complete);
    /// Whom to dial now; each becomes a neighbour that has not answered.
    [[nodiscard]] std::vector<NodeId> dial(Instant now, Context& context);
    /// A node that asked to be a neighbour; false when there is no room.
    bool let_in(Instant now, const NodeId& node, const Options& options);
    /// Gone; may be dialled again after `back_off`, doubled with every failure.
    void remove(Instant now, const NodeId& node, Duration back_off);
    /// Never dial it again (it has not got the blob, or lied about it); forgiven by forgive().
    void ban(const NodeId& node);
    void forgive(const NodeId& node);

    [[nodiscard]] Neighbour* find(const NodeId& node);
    [[nodiscard]] std::map<NodeId, Neighbour>& all() { return neighbours_; }
    [[nodiscard]] const std::map<NodeId, Neighbour>& all() const { return neighbours_; }
    [[nodiscard]] bool banned(const NodeId& node) const;
    /// The directory said that it has the whole blob.
    [[nodiscard]] bool named_complete(const NodeId& node) const;
    /// Complete holders known of.
    [[nodiscard]] std::uint32_t seeds() const;
    /// Nodes that could be a source, neighbours included.
    [[nodiscard]] std::size_t known() const;
    /// When a candidate that had to wait may be dialled; never() when none waits.
    [[nodiscard]] Instant next_dial(const Options& options) const;

  private:
    static constexpr std::size_t kCandidatesMax = 512;
    struct Candidate {
        bool complete = false;
        bool banned = false;
        Instant not_before{};
        unsigned failures = 0;
    };
    [[nodiscard]] std::size_t dialled() const;

    std::map<NodeId, Candidate> candidates_;
    std::map<NodeId, Neighbour> neighbours_;
};

}  // namespace fastreg::transfer
