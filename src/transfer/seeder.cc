#include "transfer/seeder.h"

#include <algorithm>

namespace fastreg::transfer {
namespace {

constexpr ChunkIndex kWorthOffering = 8;  // chunks
/// The study's; anything from 12 on is as good (docs/decisions/0012-numbers-of-the-transfer.md).
constexpr int kReofferAfter = 27;  // chunk times
constexpr int kLapseAfter = 16;    // chunk times
constexpr Duration kLapseMin = 200ms;
constexpr Duration kLeechIdle = 60s;

}  // namespace

Seeder::Seed& Seeder::seed_for(Instant now, const Digest& digest, std::uint64_t size) {
    const auto found = seeds_.find(digest);
    if (found != seeds_.end()) {
        found->second.used = now;
        return found->second;
    }
    if (seeds_.size() >= kSeedsMax) {
        const auto oldest = std::ranges::min_element(seeds_, [](const auto& a, const auto& b) {
            return a.second.used < b.second.used;
        });
        seeds_.erase(oldest);
    }
    Seed& seed = seeds_[digest];
    seed.grid = ChunkGrid(size);
    seed.given = ChunkMap(seed.grid.count());
    seed.used = now;
    return seed;
}

void Seeder::adopt(Instant now, const Digest& digest, std::uint64_t size, const Swarm& swarm) {
    Seed& seed = seed_for(now, digest, size);
    seed.pass_over = true;  // the chunks are spread already
    for (const auto& [node, neighbour] : swarm.all()) {
        if (!neighbour.answered || neighbour.complete) continue;
        if (seed.leeches.size() >= context_.options.seed_neighbours_max) break;
        seed.leeches[node] = Leech{neighbour.has, 0, {}, now};
    }
}

void Seeder::on_interest(Instant now, const NodeId& from, const wire::Interest& message,
                         std::uint64_t size, Outbox& out) {
    Seed& seed = seed_for(now, message.digest, size);
    if (!seed.leeches.contains(from)) {
        if (seed.leeches.size() >= context_.options.seed_neighbours_max) {
            std::erase_if(seed.leeches, [&](const auto& entry) {
                return entry.second.open == 0 && now >= entry.second.seen + kLeechIdle;
            });
        }
        if (seed.leeches.size() >= context_.options.seed_neighbours_max) {
            context_.send(out, from,
                          wire::Busy{0, message.digest, others_with(message.digest, seed.grid.count(), from)});
            return;
        }
        seed.leeches[from].has = ChunkMap(seed.grid.count());
    }
    seed.leeches[from].seen = now;
    seed.seeds = std::max(seed.seeds, message.seeds);
    send_map(from, message.digest, seed, out);
    consider_offering(message.digest, seed, out);
    pump(now, message.digest, seed, out);
}

void Seeder::send_map(const NodeId& to, const Digest& digest, const Seed& seed, Outbox& out) {
    wire::Map map;
    map.digest = digest;
    map.size = seed.grid.blob_size();
    map.complete = true;
    map.offering = seed.offering;
    map.chunks = ChunkMap(seed.grid.count(), true);
    // Those that start together would else meet only at the next look-up, after many chunks.
    map.others = others_with(digest, seed.grid.count(), to);
    context_.send(out, to, std::move(map));
}

void Seeder::consider_offering(const Digest& digest, Seed& seed, Outbox& out) {
    if (seed.offering || seed.pass_over || seed.seeds > 1) return;
    if (seed.grid.count() < kWorthOffering || seed.leeches.size() < context_.options.offer_from) return;
    seed.offering = true;
    seed.copies.assign(seed.grid.count(), 0);
    for (auto& [node, leech] : seed.leeches) {
        for (ChunkIndex i = leech.has.first_set(); i < leech.has.count(); i = leech.has.first_set(i + 1)) {
            seed.given.set(i);
            ++seed.copies[i];
        }
        send_map(node, digest, seed, out);
    }
}

std::map<NodeId, Seeder::Leech>::iterator Seeder::next_leech(Instant now, Seed& seed) {
    const std::size_t each = seed.leeches.size() * 2 <= context_.options.offers_open ? 2 : 1;
    auto it = seed.leeches.upper_bound(seed.last_offered);
    for (std::size_t n = 0; n < seed.leeches.size(); ++n, ++it) {
        if (it == seed.leeches.end()) it = seed.leeches.begin();
        if (it->second.open < each && now >= it->second.offer_from) return it;
    }
    return seed.leeches.end();
}

std::optional<ChunkIndex> Seeder::next_chunk(Instant now, Seed& seed, const Leech& leech) const {
    while (!seed.watched.empty() && chunk_time_.count() > 0) {
        const Given first = seed.watched.front();
        if (now < first.at + chunk_time_ * kReofferAfter) break;
        if (seed.copies[first.chunk] <= 1 && !leech.has.has(first.chunk)) {
            seed.watched.pop_front();
            return first.chunk;
        }
        if (seed.copies[first.chunk] <= 1) break;  // this one has it; another shall get it
        seed.watched.pop_front();
    }
    for (ChunkIndex i = seed.given.first_missing(); i < seed.given.count();
         i = seed.given.first_missing(i + 1)) {
        if (!leech.has.has(i)) return i;
    }
    return {};
}

void Seeder::pump(Instant now, const Digest& digest, Seed& seed, Outbox& out) {
    if (!seed.offering) return;
    while (seed.open.size() < context_.options.offers_open) {
        const auto to = next_leech(now, seed);
        if (to == seed.leeches.end()) break;
        const auto chunk = next_chunk(now, seed, to->second);
        if (!chunk) break;
        seed.given.set(*chunk);
        seed.open.push_back({to->first, *chunk, now, false});
        ++to->second.open;
        seed.last_offered = to->first;
        context_.send(out, to->first, wire::Offer{digest, seed.grid.blob_size(), *chunk});
    }
    if (!seed.open.empty()) return;
    // Nobody can be offered anything now; wait only for those that let an offer lapse.
    const bool later = std::ranges::any_of(
        seed.leeches, [&](const auto& entry) { return now < entry.second.offer_from; });
    if (seed.given.full() || !later) end_pass(digest, seed, out);
}

void Seeder::end_pass(const Digest& digest, Seed& seed, Outbox& out) {
    seed.offering = false;
    seed.pass_over = seed.given.full();
    seed.open.clear();
    seed.watched.clear();
    seed.copies.clear();
    for (auto& [node, leech] : seed.leeches) {
        leech.open = 0;
        send_map(node, digest, seed, out);
    }
}

void Seeder::note_copy(Seed& seed, Leech& leech, ChunkIndex chunk) {
    if (chunk >= leech.has.count() || !leech.has.set(chunk)) return;
    if (!seed.offering) return;
    seed.given.set(chunk);
    if (seed.copies[chunk] < UINT16_MAX) ++seed.copies[chunk];
}

void Seeder::on_map(Instant now, const NodeId& from, const wire::Map& message, Outbox& out) {
    const auto it = seeds_.find(message.digest);
    if (it == seeds_.end()) return;
    Seed& seed = it->second;
    const auto leech = seed.leeches.find(from);
    if (leech == seed.leeches.end() || message.size != seed.grid.blob_size()) return;
    if (message.complete) {
        leave(seed, from, true);
    } else if (message.chunks.count() == seed.grid.count()) {
        leech->second.seen = now;
        for (ChunkIndex i = message.chunks.first_set(); i < message.chunks.count();
             i = message.chunks.first_set(i + 1)) {
            note_copy(seed, leech->second, i);
        }
    }
    pump(now, message.digest, seed, out);
}

void Seeder::on_have(Instant now, const NodeId& from, const wire::Have& message, Outbox& out) {
    const auto it = seeds_.find(message.digest);
    if (it == seeds_.end()) return;
    Seed& seed = it->second;
    const auto leech = seed.leeches.find(from);
    if (leech == seed.leeches.end()) return;
    leech->second.seen = now;
    for (const ChunkIndex chunk : message.chunks) {
        note_copy(seed, leech->second, chunk);
        if (leech->second.open == 0) continue;
        const bool lapsed = std::ranges::any_of(seed.open, [&](const OpenOffer& offer) {
            return offer.to == from && offer.chunk == chunk && !offer.asked;
        });
        if (lapsed) close_offers(seed, from, chunk, true);  // it has it already
    }
    pump(now, message.digest, seed, out);
}

void Seeder::on_done(Instant now, const NodeId& from, const Digest& digest, Outbox& out) {
    const auto it = seeds_.find(digest);
    if (it == seeds_.end()) return;
    leave(it->second, from, false);
    pump(now, digest, it->second, out);
}

void Seeder::on_node_gone(Instant now, const NodeId& node, Outbox& out) {
    for (auto& [digest, seed] : seeds_) {
        std::erase(seed.finished, node);
        if (!seed.leeches.contains(node)) continue;
        leave(seed, node, false);
        pump(now, digest, seed, out);
    }
}

void Seeder::on_blob_gone(const Digest& digest, Outbox& out) {
    const auto it = seeds_.find(digest);
    if (it == seeds_.end()) return;
    for (const auto& [node, leech] : it->second.leeches) {
        context_.send(out, node, wire::NotHere{0, digest, true});
    }
    seeds_.erase(it);
}

void Seeder::leave(Seed& seed, const NodeId& node, bool finished) {
    const auto it = seed.leeches.find(node);
    if (it == seed.leeches.end()) return;
    close_offers(seed, node, {}, false);
    if (finished) {
        std::erase(seed.finished, node);
        seed.finished.push_back(node);
        if (seed.finished.size() > kFinishedMax) seed.finished.pop_front();
        if (seed.offering) seed.given.set_all();  // another whole copy: the pass is over
    } else if (seed.offering) {
        for (ChunkIndex i = it->second.has.first_set(); i < it->second.has.count();
             i = it->second.has.first_set(i + 1)) {
            if (seed.copies[i] > 0) --seed.copies[i];
        }
    }
    seed.leeches.erase(it);
}

void Seeder::close_offers(Seed& seed, const NodeId& to, std::optional<ChunkIndex> chunk, bool served) {
    std::erase_if(seed.open, [&](const OpenOffer& offer) {
        if (offer.to != to || (chunk && offer.chunk != *chunk)) return false;
        const auto leech = seed.leeches.find(to);
        if (leech != seed.leeches.end() && leech->second.open > 0) --leech->second.open;
        if (!served) seed.given.clear(offer.chunk);
        return true;
    });
}

bool Seeder::on_asked(const NodeId& from, const Digest& digest, ChunkIndex chunk) {
    const auto it = seeds_.find(digest);
    if (it == seeds_.end()) return false;
    for (OpenOffer& offer : it->second.open) {
        if (offer.to != from || offer.chunk != chunk) continue;
        offer.asked = true;
        return true;
    }
    return false;
}

void Seeder::on_served(Instant now, const NodeId& to, const Digest& digest, ChunkIndex chunk, bool ok,
                       Duration chunk_time, Outbox& out) {
    chunk_time_ = chunk_time;
    const auto it = seeds_.find(digest);
    if (it == seeds_.end()) return;
    Seed& seed = it->second;
    seed.used = now;
    close_offers(seed, to, chunk, ok);
    if (ok) {
        seed.given.set(chunk);
        if (seed.offering) seed.watched.push_back({chunk, now});
    }
    pump(now, digest, seed, out);
}

Duration Seeder::offer_lapse() const { return std::max<Duration>(kLapseMin, chunk_time_ * kLapseAfter); }

void Seeder::on_deadline(Instant now, Outbox& out) {
    for (auto& [digest, seed] : seeds_) {
        if (!seed.offering) continue;
        std::vector<OpenOffer> lapsed;
        for (const OpenOffer& offer : seed.open) {
            if (!offer.asked && now >= offer.since + offer_lapse()) lapsed.push_back(offer);
        }
        for (const OpenOffer& offer : lapsed) {
            close_offers(seed, offer.to, offer.chunk, false);
            const auto leech = seed.leeches.find(offer.to);
            if (leech != seed.leeches.end()) leech->second.offer_from = now + 1s;
        }
        pump(now, digest, seed, out);
    }
}

Instant Seeder::next_deadline() const {
    Instant next = Instant::never();
    for (const auto& [digest, seed] : seeds_) {
        if (!seed.offering) continue;
        for (const OpenOffer& offer : seed.open) {
            if (!offer.asked) next = std::min(next, offer.since + offer_lapse());
        }
        if (!seed.open.empty()) continue;
        // Everybody let offers lapse: try again when the first may be asked.
        for (const auto& [node, leech] : seed.leeches) next = std::min(next, leech.offer_from);
    }
    return next;
}

std::vector<NodeId> Seeder::others_with(const Digest& digest, ChunkIndex chunk, const NodeId& asker) {
    std::vector<NodeId> nodes;
    const auto it = seeds_.find(digest);
    if (it == seeds_.end()) return nodes;
    const Seed& seed = it->second;
    std::vector<NodeId> others;
    for (const auto& [node, leech] : seed.leeches) {
        if (node != asker && (chunk >= seed.grid.count() || leech.has.has(chunk))) others.push_back(node);
    }
    context_.rng.shuffle(others);
    nodes.assign(seed.finished.begin(), seed.finished.end());
    std::erase(nodes, asker);
    context_.rng.shuffle(nodes);
    nodes.insert(nodes.end(), others.begin(), others.end());
    if (nodes.size() > wire::kTryMax) nodes.resize(wire::kTryMax);
    return nodes;
}

std::optional<std::uint64_t> Seeder::size_of(const Digest& digest) const {
    const auto it = seeds_.find(digest);
    if (it == seeds_.end()) return {};
    return it->second.grid.blob_size();
}

bool Seeder::offering(const Digest& digest) const {
    const auto it = seeds_.find(digest);
    return it != seeds_.end() && it->second.offering;
}

}  // namespace fastreg::transfer
