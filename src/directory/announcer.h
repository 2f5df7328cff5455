// The holder's side of the directory: what this node has, and one ordered channel to each owner that
// tells it of changes. A channel has one message in flight; the next waits for its answer.
#pragma once

#include <array>
#include <bitset>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "directory/keeper.h"
#include "directory/mesh.h"

namespace fastreg::directory {

class Announcer {
  public:
    Announcer(Mesh& mesh, Keeper& keeper);

    void on_have(Instant now, const Digest& digest, std::uint64_t size, HolderKind kind, Outbox& out);
    void on_gone(Instant now, const Digest& digest, Outbox& out);
    void on_owner_changes(Instant now, const std::vector<OwnerChange>& changes, Outbox& out);
    void on_member(Instant now, const Member& member, Outbox& out);
    void on_ack(Instant now, const NodeId& from, const wire::AnnounceAck& message, Outbox& out);
    void on_summary_reply(Instant now, const NodeId& from, const wire::ShardSummaryReply& message,
                          Outbox& out);
    void on_unreachable(Instant now, const NodeId& node);
    void on_deadline(Instant now, Outbox& out);
    [[nodiscard]] Instant next_deadline() const;

    [[nodiscard]] bool has(const Digest& digest) const;
    [[nodiscard]] std::size_t count() const { return count_; }
    [[nodiscard]] std::uint64_t sent() const { return sent_; }
    [[nodiscard]] std::uint64_t declined() const { return declined_; }

  private:
    struct Local {
        std::uint64_t size = 0;
        HolderKind kind = HolderKind::none;
    };
    using Place = std::pair<ShardId, Digest>;
    struct InFlight {
        RequestId request = 0;
        wire::DirectoryMessage message;
        Instant retry_at;
    };
    /// What one owner is to be told. A shard in `compare` has no pending changes: the comparison will
    /// carry the state of its moment, and changes after it are relative to that.
    struct Link {
        BootEpoch owner_epoch = 0;
        std::uint64_t seq = 0;
        std::set<ShardId> compare;
        Instant compare_at = Instant::never();
        std::set<ShardId> resets;
        std::map<Place, HolderKind> pending;  // what the owner believes
        Instant flush_at = Instant::never();
        std::optional<InFlight> in_flight;
    };

    void changed(Instant now, const Digest& digest, std::uint64_t size, HolderKind was,
                 HolderKind kind, Outbox& out);
    Link& link_to(const NodeId& owner);
    void compare_all(Instant at, const NodeId& owner, Link& link);
    void compare_everything(Instant now);
    void forget_shard(Link& link, ShardId shard);
    void step(Instant now, const NodeId& owner, Link& link, Outbox& out);
    void send_summary(Instant now, const NodeId& owner, Link& link, Outbox& out);
    void send_changes(Instant now, const NodeId& owner, Link& link, Outbox& out);
    void send(Instant now, const NodeId& owner, Link& link, wire::DirectoryMessage message,
              RequestId request, Outbox& out);
    [[nodiscard]] wire::ShardSummary::Item item_of(ShardId shard) const;

    Mesh& mesh_;
    Keeper& keeper_;
    std::unique_ptr<std::array<std::map<Digest, Local>, kShardCount>> local_;
    /// Shards this node ever had a blob of: an owner may have heard of it from another owner, so even
    /// an empty one is compared.
    std::bitset<kShardCount> touched_;
    std::size_t count_ = 0;
    std::map<NodeId, Link> links_;
    Instant next_compare_ = Instant::never();
    std::uint64_t sent_ = 0;
    std::uint64_t declined_ = 0;
};

}  // namespace fastreg::directory
