// The messages of the repo room (what is true of a repository; docs/PROTOCOL.md, "Repositories"), as
// bytes and back. Frame types 0x30..0x3f. Hostile input expected. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/hlc.h"
#include "base/ids.h"
#include "base/owners.h"
#include "base/result.h"
#include "wire/frame.h"

namespace fastreg::wire {

inline constexpr std::size_t kRepositoryMax = 255;  // bytes
inline constexpr std::size_t kRowKeyMax = 512;
inline constexpr std::size_t kRowValueMax = 4096;
/// Sum of row_cost() of the rows of one message; leaves room for the rest of the frame.
inline constexpr std::size_t kRowsPerMessageCost = 56 * 1024;
inline constexpr std::size_t kRowsPerMessageMax = 4096;
inline constexpr std::size_t kRepoSummaryItemsMax = 2048;

/// One fact about one repository. The larger (hlc, writer) wins.
struct Row {
    std::string repository;
    std::string key;  // "t/<tag>", "m/<digest>", "b/<digest>"; see src/repo/values.h
    Bytes value;
    HlcTime hlc = 0;
    NodeId writer;
    bool tombstone = false;  // deleted; kept 7 days so that no older row comes back

    bool operator==(const Row&) const = default;
    [[nodiscard]] bool newer_than(const Row& other) const {
        return hlc != other.hlc ? hlc > other.hlc : writer > other.writer;
    }
};

/// Bytes one row takes in a message at most.
[[nodiscard]] std::size_t row_cost(const Row& row);
/// Errc::too_large or invalid_argument when a part is over its limit or empty.
[[nodiscard]] Status check_row(const Row& row);

struct RepoPut {
    RequestId request = 0;  // 0: a repair, not answered
    std::vector<Row> rows;
    bool operator==(const RepoPut&) const = default;
};

struct RepoPutAck {
    enum class Answer : std::uint8_t {
        stored = 0,     // durable
        not_owner = 1,  // the asked one does not own this repository, as far as it knows
        refused = 2,    // `text` says why: clocks apart, disk failed
    };
    RequestId request = 0;
    Answer answer = Answer::stored;
    HlcTime newest = 0;  // the largest one the owner had for these keys; above the put's own: it lost
    std::string text;
    bool operator==(const RepoPutAck&) const = default;
};

struct RepoGet {
    RequestId request = 0;
    std::string repository;
    bool range = false;
    std::string key;    // the key, or the prefix when `range`
    std::string after;  // range: keys behind this one; empty: from the start
    std::uint32_t limit = 1;  // range: live rows at most
    bool follow = false;  // one key, a tag's: with its row, the row of the manifest that it points at
    bool operator==(const RepoGet&) const = default;
};

struct RepoGetReply {
    enum class Answer : std::uint8_t { rows = 0, not_ready = 1, not_owner = 2 };
    RequestId request = 0;
    Answer answer = Answer::rows;
    std::vector<Row> rows;  // tombstones included, ascending by key
    bool more = false;      // truncated behind the last row
    bool operator==(const RepoGetReply&) const = default;
};

/// Compares shards between two nodes; the answer lists those that differ, with the answerer's figures.
/// The bit sets have one bit for each shard that the question lists, in its order (see bit()).
struct RepoSummary {
    struct Item {
        ShardId shard = 0;
        std::uint64_t count = 0;
        std::uint64_t hash = 0;  // XOR over rows of XXH3-64(repository, key, hlc, writer)
        bool operator==(const Item&) const = default;
    };
    RequestId request = 0;
    bool reply = false;
    std::vector<Item> items;
    Bytes vouched;  // the sender has every row of the shard that it ever helped to acknowledge
    Bytes served;   // it has answered for the shard before, or its disk is from an earlier run
    Bytes known;    // reply: the asker vouched for the shard, and has owned it ever since
    Bytes stood;    // reply: that was so when the sender last stopped; the sender itself vouched then, too
    bool operator==(const RepoSummary&) const = default;

    [[nodiscard]] static bool bit(const Bytes& bits, std::size_t index) {
        return index / 8 < bits.size() && (bits[index / 8] & std::byte{1} << (index % 8)) != std::byte{};
    }
    static void set_bit(Bytes& bits, std::size_t index) {
        if (bits.size() <= index / 8) bits.resize(index / 8 + 1);
        bits[index / 8] |= std::byte{1} << (index % 8);
    }
};

/// Asks for all rows of shards, in order of (shard, repository, key).
struct RepoPull {
    RequestId request = 0;
    std::vector<ShardId> shards;  // ascending
    bool has_after = false;       // go on behind (after_shard, after_repository, after_key)
    ShardId after_shard = 0;
    std::string after_repository;
    std::string after_key;
    bool operator==(const RepoPull&) const = default;
};

struct RepoPage {
    RequestId request = 0;
    std::vector<Row> rows;
    bool more = false;
    bool operator==(const RepoPage&) const = default;
};

using RepoMessage =
    std::variant<RepoPut, RepoPutAck, RepoGet, RepoGetReply, RepoSummary, RepoPull, RepoPage>;

/// The request id travels in the frame's header.
[[nodiscard]] Frame encode(const RepoMessage& message);
/// Errc::unsupported for a frame type this version does not know, Errc::protocol for a malformed one.
[[nodiscard]] Result<RepoMessage> decode_repo(const Frame& frame);

}  // namespace fastreg::wire
