// The download's chain of links: asked for, given, doubted, and what was verified under a dropped one.
#include <algorithm>
#include <utility>

#include "transfer/download.h"
#include "transfer/download_times.h"

namespace fastreg::transfer {
namespace {

constexpr Duration kChainRetryFirst = 5ms;  // of one that has no links yet
constexpr Duration kChainRetryMax = 500ms;
constexpr Duration kChainStall = 2s;        // without a chunk, under links that others contradict

}  // namespace

void Download::on_chain_request(const NodeId& from, const wire::ChainRequest& message, Outbox& out) const {
    wire::ChainPage page{digest_, message.size, message.offset, {}};
    const ByteView links = trust_.links();
    if (size_ && message.size == *size_ && message.offset < links.size() &&
        message.offset % link_size(digest_.alg) == 0) {
        const ByteView piece =
            links.subspan(message.offset, std::min(wire::kChainPageMax, links.size() - message.offset));
        page.links.assign(piece.begin(), piece.end());
    }
    context_.send(out, from, std::move(page));
}

void Download::on_chain_page(Instant now, const NodeId& from, const wire::ChainPage& message, Outbox& out) {
    Neighbour* neighbour = swarm_.find(from);
    if (neighbour == nullptr || !size_ || over_ || neighbour->chain_asked == Instant::never()) return;
    context_.peer(from).on_round_trip(now - neighbour->chain_asked);
    neighbour->chain_asked = Instant::never();
    if (message.size != *size_ || message.links.empty()) {
        neighbour->chain_backoff = neighbour->chain_backoff.count() == 0
                                       ? kChainRetryFirst
                                       : std::min(neighbour->chain_backoff * 2, kChainRetryMax);
        neighbour->chain_retry = now + neighbour->chain_backoff;
        return;
    }
    neighbour->chain_backoff = {};
    trust_.on_links(from, neighbour->authority(), message.offset, message.links);
    reconsider_chain(now, out);
    settle_limbo(out);
}

void Download::ask_for_chain(Instant now, Outbox& out) {
    if (!size_ || over_ || trust_.whole()) return;
    std::size_t asked_authorities = 0;
    std::size_t asked_others = 0;
    std::vector<NodeId> authorities;
    std::vector<NodeId> others;
    const std::size_t whole = std::size_t{grid_.count() - 1} * link_size(digest_.alg);
    for (const auto& [node, neighbour] : swarm_.all()) {
        if (!neighbour.answered || !trust_.may_give(node)) continue;
        if (neighbour.chain_asked != Instant::never() && now < neighbour.chain_asked + kChainWithin) {
            ++(neighbour.authority() ? asked_authorities : asked_others);
            continue;
        }
        if (now < neighbour.chain_retry || trust_.known_from(node) >= whole) continue;
        const ChunkIndex beyond = neighbour.has.first_set(trust_.usable_end());
        if (!neighbour.complete && beyond >= grid_.count() && limbo_.set_count() == 0) continue;
        (neighbour.authority() ? authorities : others).push_back(node);
    }
    auto ask_one = [&](std::vector<NodeId>& of) {
        const auto at = static_cast<std::size_t>(context_.rng.below(of.size()));
        ask_chain_of(now, of[at], *swarm_.find(of[at]), out);
        of.erase(of.begin() + static_cast<std::ptrdiff_t>(at));
    };
    if (asked_authorities == 0 && !authorities.empty()) {
        ask_one(authorities);
        ++asked_authorities;
    }
    if (asked_authorities != 0) return;
    while (asked_others < 2 && !others.empty()) {
        ask_one(others);
        ++asked_others;
    }
}

void Download::ask_chain_of(Instant now, const NodeId& node, Neighbour& neighbour, Outbox& out) {
    neighbour.chain_asked = now;
    const auto offset = static_cast<std::uint32_t>(trust_.known_from(node));
    context_.send(out, node, wire::ChainRequest{digest_, *size_, offset});
}

void Download::reconsider_chain(Instant now, Outbox& out) {
    // Links that end early and that others contradict lead nowhere: hear the others.
    const bool relayed = std::ranges::none_of(
        trust_.givers(), [](const auto& giver) { return giver.second; });
    const bool stalled = now >= stored_at_ + kChainStall;
    if (trust_.givers().empty() || (!relayed && !stalled) || !trust_.contradicted(relayed && !stalled)) return;
    stored_at_ = now;
    limbo_links_.assign(trust_.links().begin(), trust_.links().end());
    trust_.set_aside();
    chain_dropped(out);
}

void Download::chain_dropped(Outbox& out) {
    while (!requests_.all().empty()) cancel_request(requests_.all().front(), out);
    for (ChunkIndex i = have_.first_set(); i < have_.count(); i = have_.first_set(i + 1)) {
        if (trust_.same_links(limbo_links_, i)) continue;  // own links stand
        have_.clear(i);
        limbo_.set(i);
    }
    std::erase_if(fresh_, [&](ChunkIndex i) { return limbo_.has(i); });
    absolve_suspects();
    for (const auto& [node, neighbour] : swarm_.all()) send_map(node, out);  // withdraws what is in doubt
}

void Download::settle_limbo(Outbox& out) {
    if (limbo_.set_count() == 0) return;
    std::vector<ChunkIndex> lost;
    for (ChunkIndex i = limbo_.first_set(); i < trust_.usable_end(); i = limbo_.first_set(i + 1)) {
        limbo_.clear(i);
        if (trust_.same_links(limbo_links_, i)) {
            have_.set(i);
        } else {
            picker_.reopen(i);
            lost.push_back(i);
        }
    }
    if (limbo_.set_count() == 0) limbo_links_.clear();
    if (!lost.empty()) out.push_back(Unverify{digest_, std::move(lost)});
    report_progress(out);
    finish_if_complete(out);
}

}  // namespace fastreg::transfer
