// The other half of download.h: what to ask for next, of whom (docs/PROTOCOL.md, "Transfer").
#include <algorithm>
#include <tuple>

#include "transfer/download.h"

namespace fastreg::transfer {
namespace {

constexpr int kStaleAfter = 4;    // tau
constexpr int kEndgameAfter = 2;  // tau
constexpr int kStuckAfter = 8;    // tau
constexpr Duration kStuckMin = 500ms;
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

void Download::mark_stale(Instant now) {
    if (!pacing_.measured()) return;
    for (Request& request : requests_.all()) {
        if (request.stale || !request.at_peer) continue;
        if (now < request.sent + pacing_.tau() * kStaleAfter) continue;
        request.stale = true;
        Requests::uncount(context_, request);
    }
}

std::size_t Download::sources() const {
    std::size_t count = 0;
    for (const auto& [node, neighbour] : swarm_.all()) {
        if (neighbour.answered && !neighbour.offering && useful(neighbour)) ++count;
    }
    return count;
}

bool Download::in_order() const {
    // While no neighbour downloads, spreading chunks helps nobody and order helps the reader.
    return std::ranges::all_of(swarm_.all(), [](const auto& entry) {
        return !entry.second.answered || (entry.second.complete && !entry.second.offering);
    });
}

std::vector<ChunkIndex> Download::heads() const {
    std::vector<ChunkIndex> heads;
    if (!size_) return heads;
    for (const auto& [id, reader] : readers_) {
        if (reader.offset >= std::min(reader.end, *size_)) continue;
        const ChunkIndex head = have_.first_missing(grid_.index_at(reader.offset));
        if (head < grid_.count() && grid_.offset_of(head) < reader.end) heads.push_back(head);
    }
    std::ranges::sort(heads);
    heads.erase(std::unique(heads.begin(), heads.end()), heads.end());
    return heads;
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

bool Download::may_duplicate(double share, ChunkIndex chunk, std::uint64_t spent) const {
    const double limit = share * static_cast<double>(*size_);
    const auto after = spent + grid_.size_of(chunk);
    return spent == 0 || static_cast<double>(after) <= limit;
}

bool Download::stuck(Instant now, const Request& request) const {
    return request.at_peer && now >= request.sent + std::max(kStuckMin, pacing_.tau() * kStuckAfter);
}

std::size_t Download::fresh_copies(Instant now, ChunkIndex chunk) const {
    return static_cast<std::size_t>(std::ranges::count_if(requests_.all(), [&](const Request& r) {
        return r.chunk == chunk && !stuck(now, r);
    }));
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

void Download::ask(Instant now, const NodeId& node, ChunkIndex chunk, bool window, bool extra, Outbox& out) {
    // A copy asked of a node that fell silent is given up now, except the one that probes it.
    if (!extra) {
        std::vector<RequestId> given_up;
        for (const Request& request : requests_.all()) {
            if (request.chunk == chunk && request.abandoned &&
                context_.peer(request.from).outstanding() > 1) {
                given_up.push_back(request.id);
                out.push_back(CancelFetch{request.from, request.id});
            }
        }
        for (const RequestId id : given_up) end_request(id);
    }
    picker_.close(chunk);
    Request& request = requests_.add(now, context_, node, chunk);
    request.window = window;
    request.extra = extra;
    const ByteView start = trust_.start_of(chunk);
    const ByteView end = trust_.end_of(chunk);
    const std::vector<ChunkIndex> waiting = heads();
    out.push_back(FetchChunk{node,
                             request.id,
                             digest_,
                             *size_,
                             chunk,
                             Bytes(start.begin(), start.end()),
                             Bytes(end.begin(), end.end()),
                             std::ranges::find(waiting, chunk) != waiting.end()});
}

}  // namespace fastreg::transfer
