// What a slow request leads to: stale, a second copy (hedge, end-game), its chunk open to others.
#include <algorithm>

#include "transfer/download.h"

namespace fastreg::transfer {
namespace {

constexpr int kStaleAfter = 4;    // tau
constexpr int kEndgameAfter = 2;  // tau
constexpr int kStuckAfter = 8;    // tau
constexpr Duration kStuckMin = 500ms;

}  // namespace

void Download::mark_stale(Instant now) {
    if (!pacing_.measured()) return;
    for (Request& request : requests_.all()) {
        if (request.stale || !request.at_peer) continue;
        if (now < request.sent + pacing_.tau() * kStaleAfter) continue;
        request.stale = true;
        Requests::uncount(context_, request);
    }
}

void Download::on_node_silent(Instant, const NodeId& node, Outbox&) {
    for (Request& request : requests_.all()) {
        if (request.from != node || !request.at_peer || request.abandoned) continue;
        request.abandoned = true;
        Requests::uncount(context_, request);
        if (requests_.live_copies(request.chunk) == 0) picker_.reopen(request.chunk);
    }
}

bool Download::stuck(Instant now, const Request& request) const {
    return request.at_peer && now >= request.sent + std::max(kStuckMin, pacing_.tau() * kStuckAfter);
}

std::size_t Download::fresh_copies(Instant now, ChunkIndex chunk) const {
    return static_cast<std::size_t>(std::ranges::count_if(requests_.all(), [&](const Request& r) {
        return r.chunk == chunk && !stuck(now, r);
    }));
}

bool Download::may_duplicate(double share, ChunkIndex chunk, std::uint64_t spent) const {
    const double limit = share * static_cast<double>(*size_);
    const auto after = spent + grid_.size_of(chunk);
    return spent == 0 || static_cast<double>(after) <= limit;
}

bool Download::ask_endgame(Instant now, const std::vector<Choice>& peers, Outbox& out) {
    if (!pacing_.measured()) return false;
    std::vector<std::pair<Instant, ChunkIndex>> old;
    for (const Request& request : requests_.all()) {
        if (!request.at_peer || now < request.sent + pacing_.tau() * kEndgameAfter) continue;
        // A node that trickles must not hold the last chunks for ever, however many it was given.
        const bool free = stuck(now, request);
        if (free ? fresh_copies(now, request.chunk) >= 1 : requests_.copies(request.chunk) >= 2) continue;
        if (!free && missing() > context_.options.endgame_chunks) continue;
        if (!free && !may_duplicate(context_.options.endgame_share, request.chunk, endgame_bytes_)) continue;
        old.emplace_back(request.sent, request.chunk);
    }
    std::ranges::sort(old);
    for (const auto& [sent, chunk] : old) {
        for (const Choice& choice : peers) {
            if (!choice.neighbour->has.has(chunk) || requests_.asked(*choice.node, chunk)) continue;
            endgame_bytes_ += grid_.size_of(chunk);
            ask(now, *choice.node, chunk, false, true, out);
            return true;
        }
    }
    return false;
}

Duration Download::hedge_after(const Request& request) const {
    const Peer* peer = context_.find_peer(request.from);
    const Duration p90 = peer == nullptr ? Duration{} : peer->p90();
    return std::max(context_.options.hedge_floor, p90 * 3);
}

void Download::hedge(Instant now, Outbox& out) {
    if (readers_.empty() || !opened_) return;
    for (const ChunkIndex head : heads()) {
        const auto it = std::ranges::find(requests_.all(), head, &Request::chunk);
        if (it == requests_.all().end() || !it->at_peer || now < it->sent + hedge_after(*it)) continue;
        const bool free = stuck(now, *it) && fresh_copies(now, head) == 0;
        if (!free && requests_.copies(head) >= 2) continue;
        if (!free && !may_duplicate(context_.options.hedge_share, head, hedge_bytes_)) continue;
        for (const Choice& choice : choices(now, sources())) {
            if (!choice.neighbour->has.has(head) || requests_.asked(*choice.node, head)) continue;
            hedge_bytes_ += grid_.size_of(head);
            ask(now, *choice.node, head, true, true, out);
            break;
        }
    }
}

}  // namespace fastreg::transfer
