// All members this node knows, itself included: precedence, picks at random, bucket hashes.
// A value inside the gossip core.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/member.h"
#include "base/random.h"
#include "gossip/gossip.h"

namespace fastreg::gossip {

using BucketHashes = std::array<std::uint64_t, wire::kSyncBucketCount>;

/// What is newer wins, whoever says it and in whatever order it comes: every table ends up at the same.
struct Rank {
    BootEpoch epoch;
    std::uint64_t incarnation;
    MemberState state;  // the enumerators grow with precedence
    auto operator<=>(const Rank&) const = default;
};
[[nodiscard]] Rank rank_of(const Member& member);

/// A set of ids that can be drawn from at random; the order depends on nothing but the calls.
class PickList {
  public:
    void add(NodeId id);
    void remove(NodeId id);
    [[nodiscard]] std::size_t size() const { return ids_.size(); }
    [[nodiscard]] const std::vector<NodeId>& ids() const { return ids_; }
    /// Up to `count` different ones that `fits`; may miss some when few of many fit.
    [[nodiscard]] std::vector<NodeId> pick(Rng& rng, std::size_t count,
                                           const std::function<bool(const NodeId&)>& fits) const;

  private:
    std::vector<NodeId> ids_;
    std::unordered_map<NodeId, std::size_t> at_;  // looked up, never walked
};

class Table {
  public:
    struct Entry {
        Member member;
        std::uint64_t hash = 0;
        std::optional<Duration> rtt;
        BootEpoch replaced_in = 0;  // was declared replaced in this epoch; once is enough
    };

    explicit Table(Member self);

    [[nodiscard]] const Member& self() const { return index_.at(self_)->member; }
    [[nodiscard]] const Member* find(NodeId id) const;
    [[nodiscard]] Entry* entry(NodeId id);
    [[nodiscard]] const std::map<NodeId, Entry>& entries() const { return entries_; }
    [[nodiscard]] std::size_t size() const { return entries_.size(); }
    /// Adds or replaces; self may change all but its id.
    void put(Member member);
    void erase(NodeId id);

    /// Alive and suspect members, self counted.
    [[nodiscard]] std::size_t live() const { return reachable_.size() + 1; }
    [[nodiscard]] Counts counts() const { return counts_; }
    /// Alive and suspect ones, without self.
    [[nodiscard]] const PickList& reachable() const { return reachable_; }
    [[nodiscard]] const PickList& dead() const { return dead_; }
    /// Everybody but `except` who says to listen there.
    [[nodiscard]] std::vector<NodeId> at(const Endpoint& gossip, NodeId except) const;

    /// By the first byte of the id: the xor over who is there, in which epoch and incarnation, stopping or
    /// not. Dead and left members do not count, so that who never met them does not differ.
    [[nodiscard]] const BucketHashes& hashes() const { return hashes_; }
    [[nodiscard]] std::uint64_t hash() const;
    /// The members of one bucket, in the order of their ids.
    [[nodiscard]] std::vector<const Member*> bucket(std::uint8_t index) const;

    /// The sums against a recount.
    [[nodiscard]] bool consistent() const;

  private:
    [[nodiscard]] std::size_t& count(MemberState state);
    void unlist(const Entry& entry);
    void list(const Entry& entry);

    NodeId self_;
    std::map<NodeId, Entry> entries_;
    std::unordered_map<NodeId, Entry*> index_;  // looked up, never walked
    PickList reachable_;
    PickList dead_;
    Counts counts_;
    std::set<std::pair<Endpoint, NodeId>> addresses_;
    BucketHashes hashes_{};
};

}  // namespace fastreg::gossip
