// Who has which chunk: the maps, haves and offers of the neighbours, and our own to them.
#include <algorithm>
#include <utility>

#include "transfer/download.h"
#include "transfer/download_times.h"

namespace fastreg::transfer {
namespace {

constexpr std::size_t kOffersKept = 4;

}  // namespace

void Download::send_map(const NodeId& node, Outbox& out) const {
    if (!size_) return;
    wire::Map map;
    map.digest = digest_;
    map.size = *size_;
    map.complete = complete() && trust_.whole();
    map.first_hand = first_hand();
    map.chunks = opened_ ? have_ : ChunkMap(grid_.count());
    context_.send(out, node, std::move(map));
}

void Download::on_interest(Instant now, const NodeId& from, const wire::Interest& message, Outbox& out) {
    if (over_) return;
    if (size_ && message.size != 0 && message.size != *size_) {
        if (size_sure_) blame(now, from, "claims a size of " + std::to_string(message.size), out);
        return;
    }
    const bool known = swarm_.find(from) != nullptr;
    if (context_.peer(from).quarantined(now) || !swarm_.let_in(now, from, context_.options)) {
        context_.send(out, from, wire::Busy{0, digest_, others_with(grid_.count(), from)});
        return;
    }
    Neighbour& neighbour = *swarm_.find(from);
    if (!size_) return;  // answered by set_size()
    if (!known) {
        neighbour.answered = true;
        neighbour.has = ChunkMap(grid_.count());
    }
    send_map(from, out);
}

void Download::on_map(Instant now, const NodeId& from, const wire::Map& message, Outbox& out) {
    Neighbour* neighbour = swarm_.find(from);
    if (neighbour == nullptr || over_) return;
    on_others(message.others);
    if (neighbour->dialled && !neighbour->answered) context_.peer(from).on_round_trip(now - neighbour->since);
    if (!size_) {
        if (message.size <= kBlobSizeMax) size_claims_[from] = message.size;
        neighbour->answered = true;
        settle_size(now, out);
        return;
    }
    if (message.size != *size_) {
        if (size_sure_) {
            blame(now, from, "claims a size of " + std::to_string(message.size), out);
        } else {
            remove_neighbour(now, from, kRedialNotHere, out);
        }
        return;
    }
    if (!message.complete && message.chunks.count() != grid_.count()) return;
    if (neighbour->answered) picker_.on_map_gone(neighbour->has);
    neighbour->answered = true;
    neighbour->complete = message.complete;
    neighbour->offering = message.offering;
    neighbour->first_hand = message.first_hand;
    neighbour->has = message.complete ? ChunkMap(grid_.count(), true) : message.chunks;
    neighbour->last_offer = now;
    neighbour->chain_retry = now;
    if (!message.offering) neighbour->offered.clear();
    picker_.on_map(neighbour->has);
}

void Download::on_have(Instant now, const NodeId& from, const wire::Have& message, Outbox& out) {
    Neighbour* neighbour = swarm_.find(from);
    if (neighbour == nullptr || !neighbour->answered || !size_ || over_) return;
    for (const ChunkIndex chunk : message.chunks) {
        if (chunk >= grid_.count()) {
            blame(now, from, "claims chunk " + std::to_string(chunk) + " of " +
                                 std::to_string(grid_.count()), out);
            return;
        }
        if (neighbour->has.set(chunk)) picker_.on_copy(chunk);
    }
    neighbour->chain_retry = now;
    neighbour->chain_backoff = {};
}

void Download::on_offer(Instant now, const NodeId& from, const wire::Offer& message, Outbox& out) {
    Neighbour* neighbour = swarm_.find(from);
    if (neighbour == nullptr || !neighbour->answered || !size_ || message.size != *size_ || over_) return;
    if (message.chunk >= grid_.count()) return;
    neighbour->last_offer = now;
    if (has(message.chunk)) {
        context_.send(out, from, wire::Have{digest_, {message.chunk}});
        return;
    }
    if (neighbour->has.set(message.chunk)) picker_.on_copy(message.chunk);
    auto& offered = neighbour->offered;
    if (offered.size() >= kOffersKept || std::ranges::find(offered, message.chunk) != offered.end()) return;
    offered.push_back(message.chunk);
}

void Download::flush_haves(Outbox& out) {
    fresh_since_ = Instant::never();
    for (std::size_t at = 0; at < fresh_.size(); at += wire::kHaveMax) {
        const std::size_t end = std::min(fresh_.size(), at + wire::kHaveMax);
        wire::Have have{digest_, {fresh_.begin() + static_cast<std::ptrdiff_t>(at),
                                  fresh_.begin() + static_cast<std::ptrdiff_t>(end)}};
        for (const auto& [node, neighbour] : swarm_.all()) {
            // An offering seed counts copies; another complete holder needs to know nothing.
            if (neighbour.complete && !neighbour.offering) continue;
            context_.send(out, node, have);
        }
    }
    fresh_.clear();
}

}  // namespace fastreg::transfer
