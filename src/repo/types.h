// The words of the repo room: ids, options and what its core asks the node to do. Values.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/instant.h"
#include "base/result.h"
#include "wire/repo.h"

namespace fastreg::repo {

using wire::Row;

/// Chosen by the caller of put() and get(); comes back in PutDone or GetDone. Not reused while open.
using Token = std::uint64_t;
/// Chosen by the core.
using PersistToken = std::uint64_t;

/// One new value of one key; none deletes.
struct Change {
    std::string key;
    std::optional<Bytes> value;
};

/// One key, a tag with its manifest, or a range of keys.
struct Query {
    bool range = false;
    std::string key;      // the key, or the prefix of the range (may be empty)
    std::string after;    // range: keys behind this one; empty: from the start
    std::size_t limit = 1;  // rows at most, 1..kQueryLimitMax
    bool follow = false;    // one key: a tag's, see tag()

    [[nodiscard]] static Query one(std::string key) { return {false, std::move(key), {}, 1, false}; }
    [[nodiscard]] static Query prefix(std::string prefix, std::string after, std::size_t limit) {
        return {true, std::move(prefix), std::move(after), limit, false};
    }
    /// The row of a tag, behind that of the manifest it points at if the same owners agree on both: one question
    /// instead of two. Else the tag's alone; whether there is a manifest is then a question of its own.
    [[nodiscard]] static Query tag(std::string key) { return {false, std::move(key), {}, 2, true}; }
};

inline constexpr std::size_t kQueryLimitMax = 10'000;
inline constexpr std::size_t kChangesMax = 4'096;  // of one put

struct Options {
    Duration write_timeout = 5s;       // until the quorum has it durable
    Duration restart_takes = 5s;       // a write waits for an owner that stops until it has been away for so long
    Duration read_timeout = 2s;        // until the quorum has answered
    Duration hedge_delay = 200ms;      // then one more owner is asked
    Duration retry_delay = 500ms;      // of what was not answered
    Duration peer_timeout = 700ms;     // of one question between owners
    Duration compare_interval = 30s;   // between owners; jittered by half
    Duration former_owner_keeps = 600s;  // rows of a shard that others own and have copied
    std::uint64_t tombstone_keep_ms = 7ULL * 24 * 3600 * 1000;
};

/// What survives a stop beside the rows: bit s of a node's set says that this node and that one vouched for shard s
/// (see readiness.h) and have both owned it ever since.
using Memory = std::map<NodeId, Bytes>;

/// For the metrics page.
struct Stats {
    std::size_t rows = 0;  // tombstones included
    std::size_t repositories = 0;
    std::size_t shards_owned = 0;
    std::size_t shards_copying = 0;  // owned, not answered for yet
    std::size_t open_requests = 0;
    std::uint64_t rows_refused = 0;  // from a clock too far ahead
};

/// Actions. Never to this node itself.
struct Send {
    NodeId to;
    wire::RepoMessage message;
};
/// Make these rows durable (insert or replace by (repository, key), in the order of the tokens), then
/// call on_persisted().
struct Persist {
    PersistToken token = 0;
    std::vector<Row> rows;
};
/// These rows are no longer needed on disk. Nothing waits for it.
struct Drop {
    struct Key {
        std::string repository;
        std::string key;
    };
    std::vector<Key> keys;
};
struct PutDone {
    Token token = 0;
    Status status;
};
struct GetDone {
    Token token = 0;
    /// Live rows, ascending by key; a key that is not there is an empty list, not an error.
    Result<std::vector<Row>> rows;
    bool more = false;  // range: there may be rows behind the last one
};

using Action = std::variant<Send, Persist, Drop, PutDone, GetDone>;
using Outbox = std::vector<Action>;

/// Owners that must have a write durable, and owners that must answer a read: any two such sets
/// share one. Of three: 2 and 2; of two: 2 and 1; alone: 1 and 1.
[[nodiscard]] constexpr std::size_t write_quorum(std::size_t owners) { return owners < 2 ? 1 : 2; }
[[nodiscard]] constexpr std::size_t read_quorum(std::size_t owners) { return owners < 3 ? 1 : 2; }

}  // namespace fastreg::repo
