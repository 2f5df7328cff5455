// The rows this node keeps: what is durable is visible, what is on its way to the disk is staged.
// Knows nothing of other nodes.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/owners.h"
#include "repo/types.h"

namespace fastreg::repo {

/// Who waits for rows to become durable.
struct Waiter {
    enum class Kind : std::uint8_t {
        nobody,  // a repair
        owner,   // `node` gets a RepoPutAck for `request`
        local,   // a write of this node; `request` is its part
        copy,    // a page copied from `node`
    };
    Kind kind = Kind::nobody;
    NodeId node;
    RequestId request = 0;
};

class Replica {
  public:
    using Key = std::pair<std::string, std::string>;  // repository, key
    struct Sum {
        std::uint64_t count = 0;
        std::uint64_t hash = 0;
        bool operator==(const Sum&) const = default;
    };
    struct Accepted {
        bool durable = false;  // already: nothing was sent to the disk
        HlcTime newest = 0;    // the largest stamp a row lost against
    };
    struct Finished {
        Waiter waiter;
        Status status;
        HlcTime newest = 0;
        std::set<ShardId> shards;  // of the rows that are durable now
    };
    struct Answer {
        std::vector<Row> rows;
        bool more = false;
    };
    /// A place in the order of pages.
    struct Cursor {
        ShardId shard = 0;
        std::string repository;
        std::string key;
        auto operator<=>(const Cursor&) const = default;
    };

    void load(std::vector<Row> rows);

    /// Stages rows and asks for them to be made durable.
    Accepted accept(std::vector<Row> rows, const Waiter& waiter, Outbox& out);
    /// Nothing for an unknown token.
    [[nodiscard]] std::optional<Finished> on_persisted(PersistToken token, const Status& status);
    /// The durable row, null when there is none.
    [[nodiscard]] const Row* find(const Key& key) const;
    /// Rows on their way to the disk.
    [[nodiscard]] std::size_t staged() const { return staged_rows_; }

    /// Tombstones included; `limit` counts live rows; cut at kRowsPerMessageCost.
    [[nodiscard]] Answer read(std::string_view repository, bool range, std::string_view key,
                              std::string_view after, std::size_t limit) const;
    /// The row of a tag, behind that of the manifest it points at; tombstones included.
    [[nodiscard]] Answer read_tag(std::string_view repository, std::string_view key) const;
    [[nodiscard]] Answer page(const std::vector<ShardId>& shards,
                              const std::optional<Cursor>& after) const;
    [[nodiscard]] Sum sum(ShardId shard) const;
    [[nodiscard]] bool holds(ShardId shard) const { return shards_.contains(shard); }

    void drop_shard(ShardId shard, Outbox& out);
    /// Drops tombstones stamped before `oldest_ms`.
    void drop_tombstones(std::uint64_t oldest_ms, Outbox& out);

    [[nodiscard]] std::vector<std::string> catalog(std::string_view after, std::size_t limit) const;
    [[nodiscard]] std::size_t rows() const { return rows_; }
    [[nodiscard]] std::size_t repositories() const { return live_.size(); }

  private:
    struct Shard {
        std::map<Key, Row> rows;
        Sum sum;
    };
    struct Pending {
        std::vector<Row> rows;
        Waiter waiter;
        HlcTime newest = 0;
    };

    void apply(Row row);
    void forget(Shard& shard, std::map<Key, Row>::iterator it);
    void count_live(const Row& row, bool add);

    std::map<ShardId, Shard> shards_;
    std::map<Key, Row> staged_;
    std::map<PersistToken, Pending> pending_;
    PersistToken last_token_ = 0;
    std::size_t staged_rows_ = 0;
    std::size_t rows_ = 0;
    std::map<std::string, std::size_t, std::less<>> live_;  // repository -> live rows
};

}  // namespace fastreg::repo
