// Whom a download could ask: look-ups, the nodes it dials, when it needs more of them, when one goes.
#include <algorithm>

#include "transfer/download.h"
#include "transfer/download_times.h"

namespace fastreg::transfer {

void Download::look_up(Instant now, Outbox& out) {
    out.push_back(LookUp{digest_});
    next_lookup_ = now + context_.options.lookup_max;  // should the answer get lost
}

void Download::on_holders(Instant now, std::optional<std::uint64_t> size,
                          const std::vector<Holder>& holders, Outbox& out) {
    if (over_) return;
    next_lookup_ = now + lookup_wait_;
    lookup_wait_ = std::min(lookup_wait_ * 2, context_.options.lookup_max);
    for (const Holder& holder : holders) on_holder(holder);
    if (size && !size_) {
        size_claims_.clear();
        set_size(now, *size, out);
    }
}

void Download::on_holder(const Holder& holder) {
    if (!over_ && holder.node != context_.self) swarm_.on_candidate(holder.node, holder.complete);
}

void Download::on_others(const std::vector<NodeId>& nodes) {
    for (const NodeId& node : nodes) {
        if (node.known()) on_holder({node, false});
    }
}

void Download::on_lookup_failed(Instant now) {
    next_lookup_ = now + lookup_wait_;
    lookup_wait_ = std::min(lookup_wait_ * 2, context_.options.lookup_max);
}

void Download::dial(Instant now, Outbox& out) {
    for (const NodeId& node : swarm_.dial(now, context_)) {
        Neighbour& neighbour = *swarm_.find(node);
        if (size_) neighbour.has = ChunkMap(grid_.count());
        greet(node, out);
        if (size_ && grid_.count() == 1) assume_whole(node, neighbour);
    }
}

void Download::assume_whole(const NodeId& node, Neighbour& neighbour) {
    // A blob of one chunk: ask at once, the map would cost a round trip. A wrong guess costs a NotHere.
    if (!swarm_.named_complete(node)) return;
    neighbour.answered = true;
    neighbour.complete = true;
    neighbour.has.set_all();
    picker_.on_map(neighbour.has);
}

void Download::greet(const NodeId& node, Outbox& out) {
    context_.send(out, node, wire::Interest{digest_, size_.value_or(0), swarm_.seeds()});
    if (size_ && opened_ && have_.set_count() != 0) send_map(node, out);
}

void Download::on_done(Instant now, const NodeId& from, Outbox& out) {
    if (swarm_.find(from) != nullptr) remove_neighbour(now, from, kRedialNotHere, out);
}

void Download::remove_neighbour(Instant now, const NodeId& node, Duration back_off, Outbox& out) {
    forget_requests_of(now, node, true, out);
    Neighbour* neighbour = swarm_.find(node);
    if (neighbour != nullptr && neighbour->answered && size_) picker_.on_map_gone(neighbour->has);
    swarm_.remove(now, node, back_off);
    if (few_sources()) {
        lookup_wait_ = context_.options.lookup_first;
        next_lookup_ = std::min(next_lookup_, now + lookup_wait_);
    }
    settle_size(now, out);
}

void Download::on_node_gone(Instant now, const NodeId& node, Outbox& out) {
    if (over_) return;
    forget_requests_of(now, node, false, out);
    if (swarm_.find(node) != nullptr) remove_neighbour(now, node, kRedial, out);
}

std::size_t Download::sources() const {
    std::size_t count = 0;
    for (const auto& [node, neighbour] : swarm_.all()) {
        if (neighbour.answered && !neighbour.offering && useful(neighbour)) ++count;
    }
    return count;
}

bool Download::few_sources() const {
    std::size_t count = 0;
    for (const auto& [node, neighbour] : swarm_.all()) {
        if (neighbour.answered && useful(neighbour) && ++count >= 3) return false;
    }
    return true;
}

bool Download::useful(const Neighbour& neighbour) const {
    if (neighbour.complete) return true;
    for (ChunkIndex i = neighbour.has.first_set(); i < neighbour.has.count();
         i = neighbour.has.first_set(i + 1)) {
        if (!have_.has(i)) return true;
    }
    return false;
}

bool Download::has_source(Instant now) const {
    return std::ranges::any_of(swarm_.all(), [&](const auto& entry) {
        const Peer* peer = context_.find_peer(entry.first);
        if (peer != nullptr && (peer->on_probation() || peer->quarantined(now))) return false;
        return entry.second.answered && useful(entry.second);
    });
}

std::vector<NodeId> Download::others_with(ChunkIndex chunk, const NodeId& asker) {
    std::vector<NodeId> nodes;
    for (const auto& [node, neighbour] : swarm_.all()) {
        if (node == asker || !neighbour.answered || neighbour.offering) continue;
        if (chunk >= grid_.count() || neighbour.has.has(chunk)) nodes.push_back(node);
    }
    context_.rng.shuffle(nodes);
    if (nodes.size() > wire::kTryMax) nodes.resize(wire::kTryMax);
    return nodes;
}

}  // namespace fastreg::transfer
