// What an owner remembers of others: digest -> holders, with limits. Knows nothing of messages in
// flight. Entries live as long as their holder's (node_id, boot_epoch); a dead holder's entries vanish
// at once from every answer and are swept out of memory bit by bit.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/owners.h"
#include "base/random.h"
#include "directory/types.h"

namespace fastreg::directory {

class Ledger {
  public:
    struct Sum {
        std::uint64_t count = 0;
        std::uint64_t hash = 0;
        bool operator==(const Sum&) const = default;
    };
    struct Answer {
        std::optional<std::uint64_t> size;
        std::vector<Holder> holders;
    };

    Ledger(const Options& options, Rng rng);

    /// The record of this holder with this epoch; one of an older epoch dies. False: the epoch is older
    /// than the one on record.
    bool open(const NodeId& node, BootEpoch epoch);
    [[nodiscard]] bool knows(const NodeId& node) const { return by_node_.contains(node); }
    /// The last announcement taken from this holder; 0 for none. The holder is open.
    [[nodiscard]] std::uint64_t& last_seq(const NodeId& node);
    /// All this holder ever said is void.
    void retire(const NodeId& node);
    void retire_older(const NodeId& node, BootEpoch epoch);

    /// One change of an open holder. False when the entry was not kept because of a limit.
    bool apply(Instant now, const NodeId& node, const wire::Announce::Entry& entry);
    void reset(const NodeId& node, ShardId shard);
    [[nodiscard]] Sum sum(const NodeId& node, ShardId shard) const;
    /// Counts an asker as in progress for asker_lifetime, outside the sums.
    void register_asker(Instant now, const NodeId& node, const Digest& digest);
    /// The next comparison brings the holder back if it was right after all.
    void forget(const Digest& digest, const NodeId& node);
    void drop_shard(ShardId shard);

    [[nodiscard]] Answer find(Instant now, const Digest& digest) const;
    /// Entries of `shards` behind `after`, up to kPageBytes; sets `more`.
    [[nodiscard]] std::vector<wire::ShardPage::Entry> page(const std::vector<ShardId>& shards,
                                                           const std::optional<Digest>& after,
                                                           bool& more) const;
    /// Adds what another owner knows; holders that `accept` refuses are skipped.
    void merge(Instant now, const wire::ShardPage::Entry& entry,
               const std::function<bool(const NodeId&, BootEpoch)>& accept);

    /// Frees memory of dead holders and expired askers, `budget` digests at a time. False: nothing to do.
    bool sweep(Instant now, std::size_t budget);
    [[nodiscard]] bool dirty() const { return !dead_.empty() || sweeping_active_; }
    [[nodiscard]] std::size_t size() const { return refs_; }

  private:
    struct Ref {
        std::uint32_t slot = 0;
        std::uint32_t expires_s = 0;  // 0: lives as long as its holder
        HolderKind kind = HolderKind::none;
    };
    struct Blob {
        std::optional<std::uint64_t> size;
        std::uint64_t seen = 0;  // cache holders ever offered while full
        std::vector<Ref> refs;
    };
    struct Slot {
        NodeId node;
        BootEpoch epoch = 0;
        bool alive = false;
        std::uint64_t last_seq = 0;
        std::map<ShardId, Sum> sums;
    };
    using Shard = std::map<Digest, Blob>;

    [[nodiscard]] bool live(const Ref& ref, std::uint32_t now_s) const;
    void prune(Blob& blob, std::uint32_t now_s);
    bool add(Instant now, Blob& blob, Ref ref);
    void remove(const Digest& digest, std::uint32_t slot);

    const Options& options_;
    Rng rng_;
    std::vector<Slot> slots_;
    std::vector<std::uint32_t> free_;
    std::map<NodeId, std::uint32_t> by_node_;
    std::unique_ptr<std::array<Shard, kShardCount>> shards_;
    std::size_t refs_ = 0;

    std::vector<std::uint32_t> dead_;      // since the running sweep began
    std::vector<std::uint32_t> sweeping_;  // free when the running sweep ends
    bool sweeping_active_ = false;
    std::size_t sweep_shard_ = 0;
    std::optional<Digest> sweep_after_;
};

}  // namespace fastreg::directory
