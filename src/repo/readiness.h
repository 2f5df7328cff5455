// Whether this node may answer for a shard that it owns: who has to be heard first, and who was. The rule
// is in docs/PROTOCOL.md, "Repositories": an acknowledged row is on two of three owners, so two of the
// owners before this one have all of them. A value inside Sync.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "repo/mesh.h"

namespace fastreg::repo {

/// What the word of another node is worth.
enum class Voice : std::uint8_t {
    none,     // it may have a new disk
    served,   // it answered for the shard before, or its disk is from an earlier run
    vouched,  // it has every row that it ever helped to acknowledge
};

class Readiness {
  public:
    /// From the start: nobody was heard. `before`: owners until now, as far as known.
    void begin(const Mesh& mesh, ShardId shard, const std::vector<NodeId>& before);
    /// The node's rows are here.
    void hear(const NodeId& node, Voice voice);
    /// An owner that went on meanwhile remembers that this node vouched before it started again.
    void remembered() { remembered_ = true; }
    /// This node and that one both vouched when they last stopped, as both of them remember.
    void stood_with(const NodeId& node) { stood_.insert(node); }
    /// Draws the conclusion.
    void settle(const Mesh& mesh, ShardId shard);
    /// It answered again: what was said without it is no longer enough.
    void withdraw() { ready_ = firm_; }
    /// It answered alone and with rows: may go on if those it meets are silent.
    void keep() { kept_ = true; }

    [[nodiscard]] bool ready() const { return ready_; }
    /// What this node has is from those who had the shard before, or is its own from before.
    [[nodiscard]] bool served() const { return served_; }
    void set_served() { served_ = true; }
    /// For good: two vouched, or everybody was heard and they were two at least. Such a node vouches.
    [[nodiscard]] bool firm() const { return firm_; }
    /// Who can be asked and would help.
    [[nodiscard]] std::vector<NodeId> to_ask(const Mesh& mesh) const;
    [[nodiscard]] bool lacks(const NodeId& node) const;

  private:
    /// Looks for who may have been an owner; what was heard stays heard.
    void look_again(const Mesh& mesh, ShardId shard);
    /// Another owner stopped as this one did, and all but one of those who may have taken over were heard.
    [[nodiscard]] bool back_together(const Mesh& mesh, ShardId shard) const;

    bool ready_ = false;
    bool firm_ = false;
    bool kept_ = false;
    bool served_ = false;
    bool remembered_ = false;
    std::vector<NodeId> voices_;  // may have been owners
    std::map<NodeId, Voice> heard_;
    std::set<NodeId> stood_;
};

}  // namespace fastreg::repo
