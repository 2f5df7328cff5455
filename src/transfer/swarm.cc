#include "transfer/swarm.h"

#include <algorithm>
#include <tuple>

namespace fastreg::transfer {
namespace {
/// Share of the dialled that may be far, so that the zones of a swarm stay one swarm.
constexpr double kFarShare = 0.1;
/// Complete holders that are dialled before anybody else.
constexpr std::size_t kSeedsDialled = 2;
}  // namespace

void Swarm::on_candidate(const NodeId& node, bool complete) {
    const auto it = candidates_.find(node);
    if (it != candidates_.end()) {
        it->second.complete = it->second.complete || complete;
        return;
    }
    if (candidates_.size() < kCandidatesMax) candidates_[node].complete = complete;
}

std::vector<NodeId> Swarm::dial(Instant now, Context& context) {
    std::vector<NodeId> chosen;
    std::size_t open = dialled();
    if (open >= context.options.dial || neighbours_.size() >= context.options.neighbours_max) return chosen;

    struct Choice {
        int rank;  // seeds first, then near, then far; a tenth of the far pass for near
        std::uint64_t tie;
        NodeId node;
    };
    std::vector<Choice> choices;
    std::size_t seeds = 0;
    for (const auto& [node, neighbour] : neighbours_) seeds += neighbour.complete ? 1 : 0;
    for (auto& [node, candidate] : candidates_) {
        if (candidate.banned || now < candidate.not_before || neighbours_.contains(node)) continue;
        if (const Peer* peer = context.find_peer(node); peer && peer->quarantined(now)) {
            candidate.not_before = peer->usable_from();
            continue;
        }
        const bool near = context.near(node) || context.rng.chance(kFarShare);
        int rank = near ? 1 : 2;
        if (candidate.complete && near && seeds < kSeedsDialled) {
            rank = 0;
            ++seeds;
        }
        choices.push_back({rank, context.rng.next(), node});
    }
    std::ranges::sort(choices, [](const Choice& a, const Choice& b) {
        return std::tie(a.rank, a.tie) < std::tie(b.rank, b.tie);
    });
    for (const Choice& choice : choices) {
        if (open >= context.options.dial || neighbours_.size() >= context.options.neighbours_max) break;
        Neighbour& neighbour = neighbours_[choice.node];
        neighbour.since = now;
        neighbour.dialled = true;
        chosen.push_back(choice.node);
        ++open;
    }
    return chosen;
}

bool Swarm::let_in(Instant now, const NodeId& node, const Options& options) {
    if (neighbours_.contains(node)) return true;
    if (banned(node)) return false;
    const std::size_t let_in = neighbours_.size() - dialled();
    if (let_in >= options.neighbours_max - std::min(options.dial, options.neighbours_max)) return false;
    neighbours_[node].since = now;
    on_candidate(node, false);
    return true;
}

void Swarm::remove(Instant now, const NodeId& node, Duration back_off) {
    neighbours_.erase(node);
    const auto it = candidates_.find(node);
    if (it == candidates_.end()) return;
    Candidate& candidate = it->second;
    candidate.not_before = now + back_off * (1 << std::min(candidate.failures, 5U));
    ++candidate.failures;
}

void Swarm::ban(const NodeId& node) {
    neighbours_.erase(node);
    if (candidates_.size() < 2 * kCandidatesMax) candidates_[node].banned = true;
}

void Swarm::forgive(const NodeId& node) {
    const auto it = candidates_.find(node);
    if (it != candidates_.end()) it->second = Candidate{it->second.complete, false, {}, 0};
}

Neighbour* Swarm::find(const NodeId& node) {
    const auto it = neighbours_.find(node);
    return it == neighbours_.end() ? nullptr : &it->second;
}

bool Swarm::banned(const NodeId& node) const {
    const auto it = candidates_.find(node);
    return it != candidates_.end() && it->second.banned;
}

bool Swarm::named_complete(const NodeId& node) const {
    const auto it = candidates_.find(node);
    return it != candidates_.end() && it->second.complete;
}

std::uint32_t Swarm::seeds() const {
    std::uint32_t count = 0;
    for (const auto& [node, candidate] : candidates_) {
        if (candidate.banned) continue;
        const auto it = neighbours_.find(node);
        if (candidate.complete || (it != neighbours_.end() && it->second.complete)) ++count;
    }
    return count;
}

std::size_t Swarm::known() const {
    return static_cast<std::size_t>(std::ranges::count_if(
        candidates_, [](const auto& entry) { return !entry.second.banned; }));
}

Instant Swarm::next_dial(const Options& options) const {
    if (dialled() >= options.dial || neighbours_.size() >= options.neighbours_max) return Instant::never();
    Instant next = Instant::never();
    for (const auto& [node, candidate] : candidates_) {
        if (candidate.banned || candidate.not_before == Instant{} || neighbours_.contains(node)) continue;
        next = std::min(next, candidate.not_before);
    }
    return next;
}

std::size_t Swarm::dialled() const {
    return static_cast<std::size_t>(std::ranges::count_if(
        neighbours_, [](const auto& entry) { return entry.second.dialled; }));
}

}  // namespace fastreg::transfer
