// The owner's side of the directory: takes announcements, answers look-ups, copies newly owned shards
// from another owner and says "not yet" until then.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "directory/ledger.h"
#include "directory/mesh.h"

namespace fastreg::directory {

class Keeper {
  public:
    explicit Keeper(Mesh& mesh);

    void on_owner_changes(Instant now, const std::vector<OwnerChange>& changes, Outbox& out);
    /// `before` is what was known of the member until now, if anything.
    void on_member(const Member& member, const std::optional<Member>& before, Outbox& out);
    void on_announce(Instant now, const NodeId& from, const wire::Announce& message, Outbox& out);
    void on_summary(const NodeId& from, const wire::ShardSummary& message, Outbox& out);
    void on_lookup(Instant now, const NodeId& from, const wire::Lookup& message, Outbox& out);
    void on_pull(const NodeId& from, const wire::ShardPull& message, Outbox& out);
    void on_page(Instant now, const NodeId& from, const wire::ShardPage& message, Outbox& out);
    void on_wrong_hint(const Digest& digest, const NodeId& holder);
    void on_unreachable(Instant now, const NodeId& node, Outbox& out);
    void on_deadline(Instant now, Outbox& out);
    [[nodiscard]] Instant next_deadline() const;

    /// This node as a holder of its own shards.
    void apply_local(Instant now, const wire::Announce::Entry& entry);
    void reset_local(ShardId shard);
    /// This node as an asker of its own shards.
    [[nodiscard]] wire::LookupReply answer(Instant now, const NodeId& asker, const Digest& digest,
                                           bool download);

    [[nodiscard]] const Ledger& ledger() const { return ledger_; }
    [[nodiscard]] std::size_t owned() const { return owned_.size(); }
    [[nodiscard]] std::size_t copying() const { return copying_.size(); }

  private:
    /// A shard that is being copied: whom to ask, and who was asked already.
    struct Copy {
        std::vector<NodeId> sources;
        std::size_t next = 0;
    };
    /// One question at a time to one source, for all shards it is to give.
    struct Pull {
        std::set<ShardId> waiting;
        std::vector<ShardId> active;
        std::set<ShardId> not_yet;
        std::optional<Digest> after;
        RequestId request = 0;
        Instant retry_at = Instant::never();
        int attempts = 0;
    };

    void start_copy(ShardId shard, const std::vector<NodeId>& before);
    void next_source(ShardId shard);
    void give_up(const NodeId& source);
    void step(Instant now, Outbox& out);
    void ask(Instant now, const NodeId& source, Pull& pull, Outbox& out);
    [[nodiscard]] bool accepts(const NodeId& node, BootEpoch epoch) const;
    void keep_for_now(Instant now, ShardId shard);

    Mesh& mesh_;
    Ledger ledger_;
    std::set<ShardId> owned_;
    std::map<ShardId, Copy> copying_;
    std::map<NodeId, Pull> pulls_;
    std::map<ShardId, Instant> drop_at_;  // shards of others, kept a while for the new owners
    Instant next_drop_ = Instant::never();
    Instant next_sweep_{};
};

}  // namespace fastreg::directory
