#include "gossip/broadcasts.h"

#include <cmath>

namespace fastreg::gossip {

Broadcasts::Order Broadcasts::order_of(const Entry& entry) {
    return {entry.sent, ~entry.number, entry.claim.subject.id};
}

void Broadcasts::add(wire::Claim claim) {
    const NodeId subject = claim.subject.id;
    forget(subject);
    Entry entry;
    entry.size = wire::claim_size(claim);
    entry.claim = std::move(claim);
    entry.number = ++number_;
    order_.insert(order_of(entry));
    queue_.emplace(subject, std::move(entry));
}

void Broadcasts::forget(NodeId subject) {
    const auto found = queue_.find(subject);
    if (found == queue_.end()) return;
    order_.erase(order_of(found->second));
    queue_.erase(found);
}

void Broadcasts::clear() {
    queue_.clear();
    order_.clear();
}

std::vector<wire::Claim> Broadcasts::take(std::size_t bytes, unsigned transmits, NodeId not_about) {
    std::vector<NodeId> chosen;
    std::size_t used = 0;
    for (const auto& [sent, number, subject] : order_) {
        if (chosen.size() == wire::kClaimsMax / 2) break;
        if (subject == not_about) continue;
        const std::size_t size = queue_.at(subject).size;
        if (used + size > bytes) break;
        used += size;
        chosen.push_back(subject);
    }
    std::vector<wire::Claim> claims;
    claims.reserve(chosen.size());
    for (const NodeId& subject : chosen) {
        Entry& entry = queue_.at(subject);
        claims.push_back(entry.claim);
        order_.erase(order_of(entry));
        if (++entry.sent >= transmits) {
            queue_.erase(subject);
        } else {
            order_.insert(order_of(entry));
        }
    }
    return claims;
}

unsigned transmit_limit(unsigned mult, std::size_t live) {
    return mult * static_cast<unsigned>(std::ceil(std::log10(static_cast<double>(live) + 1)));
}

}  // namespace fastreg::gossip
