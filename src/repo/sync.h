// Keeps the owners of a shard equal: compares {count, hash} with each other owner when members change
// and now and then, and copies what differs, both ways. A shard newly owned is not answered for until
// the owners before were compared with (see readiness.h).
#pragma once

#include <map>
#include <optional>
#include <set>
#include <vector>

#include "repo/mesh.h"
#include "repo/readiness.h"
#include "repo/replica.h"

namespace fastreg::repo {

class Sync {
  public:
    Sync(Mesh& mesh, Replica& replica) : mesh_(mesh), replica_(replica) {}

    void on_owner_changes(Instant now, const std::vector<OwnerChange>& changes, Outbox& out);
    void on_member(Instant now, const Member& member, bool was_reachable, Outbox& out);
    void on_summary(Instant now, const NodeId& from, const wire::RepoSummary& message, Outbox& out);
    void on_pull(const NodeId& from, const wire::RepoPull& message, Outbox& out);
    void on_page(Instant now, const NodeId& from, const wire::RepoPage& message, Outbox& out);
    /// A page copied from `from` is durable, or not.
    void on_copied(Instant now, const NodeId& from, RequestId request, const Status& status,
                   Outbox& out);
    /// Rows of these shards are durable. Those of a shard that went to others while they were on their way to the
    /// disk are given away, too.
    void on_landed(Instant now, const std::set<ShardId>& shards, Outbox& out);
    void on_unreachable(Instant now, const NodeId& node, Outbox& out);
    void on_deadline(Instant now, Outbox& out);
    [[nodiscard]] Instant next_deadline() const;

    /// See Repo.
    void hand_over(Instant now, Outbox& out);
    [[nodiscard]] std::size_t to_hand_over() const { return handing_over_.size(); }
    void remember(const Memory& memory);
    [[nodiscard]] Memory memory() const;
    [[nodiscard]] std::uint64_t memory_changes() const { return memory_changes_; }

    /// This node owns the shard and may answer for it.
    [[nodiscard]] bool ready(ShardId shard) const;
    [[nodiscard]] std::size_t owned() const { return owned_.size(); }
    [[nodiscard]] std::size_t copying() const { return copying_; }
    [[nodiscard]] std::uint64_t refused() const { return refused_; }

  private:
    struct Owned {
        Readiness right;
        std::set<NodeId> waiting;  // being compared with
        std::set<NodeId> whole;    // owners that vouched for the shard and have owned it since
        std::set<NodeId> stood;    // not firm yet: those at the last stop of this node
    };
    /// Rows of a shard that others own now, kept until all of them have copied it.
    struct Former {
        Instant drop_at;
        Voice voice = Voice::none;
        std::set<NodeId> handed;
    };
    /// One question at a time to one other owner.
    struct Peer {
        std::set<ShardId> compare;
        std::set<ShardId> pull;
        std::vector<ShardId> active;  // shards of the open question, ascending
        std::map<ShardId, Voice> voices;  // what it said of those to be copied
        bool pulling = false;         // else comparing
        std::optional<Replica::Cursor> after;
        RequestId request = 0;
        bool more = false;
        Instant retry_at = Instant::never();
        int attempts = 0;
    };

    void begin(Instant now, ShardId shard, Owned& owned, const std::vector<NodeId>& before);
    void ask_voices(ShardId shard, Owned& owned);
    void want(ShardId shard, const NodeId& node);
    void complete(Instant now, ShardId shard, const NodeId& node, Voice voice);
    void note_vouch(ShardId shard, const NodeId& node);
    /// What the word of this node is worth.
    [[nodiscard]] Voice voice(ShardId shard) const;
    void settle(Instant now, ShardId shard, Owned& owned);
    void fail(Instant now, const NodeId& node);
    void step(Instant now, Outbox& out);
    void ask(Instant now, const NodeId& node, Peer& peer, Outbox& out);
    void answer_summary(Instant now, const NodeId& from, const wire::RepoSummary& message, Outbox& out);
    void compare_all(Outbox& out);
    void retry_unready(Instant now);
    void drop_former(Instant now, Outbox& out);
    void note_equal(ShardId shard, const NodeId& node);
    void note_different(ShardId shard, const NodeId& node);
    [[nodiscard]] bool acceptable(const Row& row);

    Mesh& mesh_;
    Replica& replica_;
    std::map<ShardId, Owned> owned_;
    std::map<ShardId, std::set<NodeId>> remembered_;  // of the run before, until this node knows itself
    std::uint64_t memory_changes_ = 0;
    std::map<ShardId, Former> former_;
    /// Since hand_over() was called first: shards that this node has rows of, and who was found to have the same.
    std::map<ShardId, std::set<NodeId>> handing_over_;
    bool handing_over_begun_ = false;
    /// Who copied such a shard to the end since. It may differ for good: it has rows that this node does not own any
    /// more, or refuses tombstones that are too old.
    std::set<std::pair<ShardId, NodeId>> copied_;
    std::map<NodeId, Peer> peers_;
    std::size_t copying_ = 0;
    Instant next_compare_ = Instant::never();
    Instant next_retry_ = Instant::never();
    std::uint64_t refused_ = 0;
};

}  // namespace fastreg::repo
