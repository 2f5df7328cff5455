#include "gossip/sync.h"

#include <cmath>
#include <map>

namespace fastreg::gossip {

namespace {

bool gone(const Member& m) { return m.state == MemberState::dead || m.state == MemberState::left; }

}  // namespace

wire::Claim claim_of(const Member& member, NodeId speaker) {
    wire::Claim claim;
    const bool own = member.state == MemberState::alive || member.state == MemberState::stopping;
    claim.from = own ? member.id : speaker;
    if (!gone(member)) {
        claim.subject = member;
        return claim;
    }
    return short_claim(member, speaker);
}

wire::Claim short_claim(const Member& member, NodeId from) {
    wire::Claim claim;
    claim.from = from;
    claim.subject.id = member.id;
    claim.subject.boot_epoch = member.boot_epoch;
    claim.subject.incarnation = member.incarnation;
    claim.subject.state = member.state;
    return claim;
}

std::vector<std::uint8_t> differing_buckets(const BucketHashes& mine, const BucketHashes& theirs,
                                            Rng& rng) {
    const auto start = static_cast<std::size_t>(rng.below(mine.size()));
    std::vector<std::uint8_t> buckets;
    for (std::size_t i = 0; i < mine.size(); ++i) {
        const std::size_t at = (start + i) % mine.size();
        if (mine[at] != theirs[at]) buckets.push_back(static_cast<std::uint8_t>(at));
    }
    return buckets;
}

std::vector<wire::SyncBuckets> answer_digest(const Table& table,
                                             const std::vector<std::uint8_t>& buckets,
                                             std::size_t frames, std::size_t bytes) {
    std::vector<wire::SyncBuckets> messages;
    std::size_t used = bytes;  // full: the first bucket opens the first message
    for (const std::uint8_t bucket : buckets) {
        for (const Member* member : table.bucket(bucket)) {
            wire::Claim claim = claim_of(*member, table.self().id);
            const std::size_t size = wire::claim_size(claim);
            if (used + size > bytes || messages.back().claims.size() >= wire::kClaimsMax / 2) {
                if (messages.size() == frames) return messages;
                messages.emplace_back().answer = true;
                used = 0;
            }
            used += size;
            messages.back().claims.push_back(std::move(claim));
        }
        if (messages.empty()) {
            messages.emplace_back().answer = true;
            used = 0;
        }
        messages.back().buckets.push_back(bucket);
    }
    return messages;
}

wire::SyncBuckets answer_buckets(const Table& table, const wire::SyncBuckets& theirs,
                                 std::size_t bytes) {
    std::map<NodeId, Rank> said;
    for (const wire::Claim& claim : theirs.claims) said[claim.subject.id] = rank_of(claim.subject);
    wire::SyncBuckets answer;
    std::size_t used = 0;
    for (const std::uint8_t bucket : theirs.buckets) {
        for (const Member* member : table.bucket(bucket)) {
            const auto found = said.find(member->id);
            if (found == said.end() ? gone(*member) : rank_of(*member) <= found->second) continue;
            wire::Claim claim = claim_of(*member, table.self().id);
            used += wire::claim_size(claim);
            if (used > bytes || answer.claims.size() >= wire::kClaimsMax / 2) return answer;
            answer.claims.push_back(std::move(claim));
        }
        answer.buckets.push_back(bucket);
    }
    return answer;
}

Duration sync_interval(Duration interval, std::size_t live) {
    if (live <= 32) return interval;
    const double steps = std::ceil(std::log2(static_cast<double>(live))) - 5;
    return interval * (static_cast<std::int64_t>(steps) + 1);
}

}  // namespace fastreg::gossip
