// What to ask for next, of whom: offers, then the window at a reader's head, then the rarest.
#include <algorithm>
#include <tuple>

#include "transfer/download.h"

namespace fastreg::transfer {
namespace {

constexpr double kStaleCost = 64;
constexpr Duration kOffersQuiet = 500ms;  // an offering seed that offers nothing is pulled from

}  // namespace

std::size_t Download::outstanding_limit() const {
    // The shortest path measured to a neighbour stands for the network's round trip.
    Duration rtt = Duration::max();
    for (const auto& [node, neighbour] : swarm_.all()) {
        const Peer* peer = context_.find_peer(node);
        if (peer != nullptr && peer->rtt().count() > 0) rtt = std::min(rtt, peer->rtt());
    }
    if (rtt == Duration::max()) rtt = context_.options.rtt_guess;
    return pacing_.outstanding(context_.options, rtt);
}

bool Download::in_order() const {
    // While no neighbour downloads, spreading chunks helps nobody and order helps the reader.
    return std::ranges::all_of(swarm_.all(), [](const auto& entry) {
        return !entry.second.answered || (entry.second.complete && !entry.second.offering);
    });
}

std::vector<Download::Choice> Download::choices(Instant now, std::size_t source_count) {
    const bool few = source_count <= 2;
    const std::size_t limit = context_.options.per_peer + (few ? outstanding_limit() : 0);
    std::vector<Choice> peers;
    for (auto& [node, neighbour] : swarm_.all()) {
        if (!neighbour.answered || neighbour.has.set_count() == 0) continue;
        // Its offers are taken by take_offer(); one that went quiet is a source like any other.
        if (neighbour.offering && now < neighbour.last_offer + kOffersQuiet) continue;
        const Peer& peer = context_.peer(node);
        if (!peer.usable(now) || peer.outstanding() >= limit) continue;
        const bool stale = requests_.stale_at(node);
        if (!few && stale) continue;
        const double cost = peer.cost(pacing_.tau()) * (stale ? kStaleCost : 1);
        peers.push_back({cost, context_.rng.next(), &node, &neighbour});
    }
    std::ranges::sort(peers, [](const Choice& a, const Choice& b) {
        return std::tie(a.cost, a.tie) < std::tie(b.cost, b.tie);
    });
    return peers;
}

bool Download::request_one(Instant now, Outbox& out) {
    if (over_ || !opened_ || complete()) return false;
    if (requests_.landed_count() >= context_.options.outstanding_max) return false;
    if (take_offer(now, out)) return true;
    const std::vector<Choice> peers = choices(now, sources());
    if (peers.empty()) return false;
    if (picker_.open_count() == 0) return ask_endgame(now, peers, out);
    return ask_window(now, peers, out) || ask_next(now, peers, out);
}

bool Download::take_offer(Instant now, Outbox& out) {
    for (auto& [node, neighbour] : swarm_.all()) {
        auto& offered = neighbour.offered;
        for (auto it = offered.begin(); it != offered.end();) {
            const ChunkIndex chunk = *it;
            if (!picker_.is_open(chunk)) {
                it = offered.erase(it);
                continue;
            }
            if (!trust_.usable(chunk) || !context_.peer(node).usable(now)) {
                ++it;
                continue;
            }
            offered.erase(it);
            ask(now, node, chunk, false, false, out);
            return true;
        }
    }
    return false;
}

bool Download::ask_window(Instant now, const std::vector<Choice>& peers, Outbox& out) {
    // At most one request at a time is driven by readers: more makes a swarm convoy on one chunk.
    const auto driven = std::ranges::count_if(
        requests_.all(), [](const Request& r) { return r.window && r.at_peer && !r.abandoned; });
    if (driven != 0) return false;
    for (const ChunkIndex head : heads()) {
        const ChunkIndex end = std::min(head + context_.options.window, trust_.usable_end());
        for (ChunkIndex chunk = head; chunk < end; ++chunk) {
            if (!picker_.is_open(chunk)) continue;
            const auto with = std::ranges::find_if(
                peers, [&](const Choice& choice) { return choice.neighbour->has.has(chunk); });
            if (with == peers.end()) continue;
            ask(now, *with->node, chunk, true, false, out);
            return true;
        }
    }
    return false;
}

bool Download::ask_next(Instant now, const std::vector<Choice>& peers, Outbox& out) {
    const ChunkIndex end = trust_.usable_end();
    const bool ordered = in_order();
    // Readers of a part come before the rest of the blob.
    std::vector<ChunkPicker::Range> ranges;
    for (const auto& [id, reader] : readers_) {
        if (reader.offset >= std::min(reader.end, *size_)) continue;
        const ChunkIndex first = have_.first_missing(grid_.index_at(reader.offset));
        const ChunkIndex last = grid_.index_at(std::min(reader.end, *size_) - 1);
        if (ordered || last + 1 < grid_.count()) ranges.push_back({first, std::min(end, last + 1)});
    }
    ranges.push_back({0, end});
    for (const ChunkPicker::Range range : ranges) {
        for (const Choice& choice : peers) {
            const auto chunk = ordered ? picker_.first(choice.neighbour->has, range)
                                       : picker_.rarest(choice.neighbour->has, range, context_.rng);
            if (!chunk || requests_.asked(*choice.node, *chunk)) continue;
            ask(now, *choice.node, *chunk, false, false, out);
            return true;
        }
    }
    return false;
}

}  // namespace fastreg::transfer
