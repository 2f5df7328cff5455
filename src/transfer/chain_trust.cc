#include "transfer/chain_trust.h"

#include <algorithm>
#include <cstring>

#include "base/chain.h"

namespace fastreg::transfer {
namespace {

bool starts_with(ByteView whole, ByteView prefix) {
    return prefix.empty() || (whole.size() >= prefix.size() &&
                              std::memcmp(whole.data(), prefix.data(), prefix.size()) == 0);
}

/// How many bytes are equal in both; the first `known` are known to be.
std::size_t common_prefix(ByteView a, ByteView b, std::size_t known) {
    const auto skip = static_cast<std::ptrdiff_t>(known);
    const auto stop = std::mismatch(a.begin() + skip, a.end(), b.begin() + skip, b.end());
    return static_cast<std::size_t>(stop.first - a.begin());
}

}  // namespace

ChainTrust::ChainTrust(HashAlg alg, const ChunkGrid& grid)
    : link_(link_size(alg)), count_(grid.count()), whole_size_((grid.count() - 1) * link_) {}

void ChainTrust::set_own(ByteView links) {
    if (links.size() != whole_size_) return;
    adopted_.assign(links.begin(), links.end());
    own_size_ = whole_size_;
    givers_.clear();
    claims_.clear();
}

bool ChainTrust::add_own(ChunkIndex chunk, ByteView end_link) {
    const std::size_t at = chunk * link_;
    if (end_link.size() != link_ || at >= whole_size_ || at > adopted_.size()) return true;
    const bool was_known = at < adopted_.size();
    if (was_known && at >= own_size_ &&
        !std::ranges::equal(ByteView(adopted_).subspan(at, link_), end_link)) {
        if (at != own_size_) return true;  // whose start was another's word proves nothing
        for (const auto& [giver, authority] : givers_) caught_.insert(giver);
        std::erase_if(claims_, [&](const Claim& claim) { return caught_.contains(claim.giver); });
        givers_.clear();
        adopted_.resize(own_size_);
        ++generation_;
        append_own(end_link);
        return false;
    }
    if (at == own_size_ && was_known) own_size_ += link_;
    if (!was_known) append_own(end_link);
    if (own_size_ == whole_size_) givers_.clear();
    return true;
}

void ChainTrust::append_own(ByteView end_link) {
    if (own_size_ == adopted_.size()) own_size_ += link_;
    adopted_.insert(adopted_.end(), end_link.begin(), end_link.end());
    adopt();
}

void ChainTrust::on_links(const NodeId& giver, bool authority, std::size_t offset, ByteView links) {
    if (whole() || caught_.contains(giver)) return;
    auto claim = std::ranges::find(claims_, giver, &Claim::giver);
    if (claim == claims_.end()) {
        if (claims_.size() >= kClaimsMax) {
            // Room for a better voice; what disagrees with the adopted links goes first.
            const auto worst = std::ranges::find(claims_, false, &Claim::authority);
            if (worst == claims_.end()) return;
            claims_.erase(worst);
        }
        claims_.push_back(Claim{giver, authority, {}});
        claim = std::prev(claims_.end());
    }
    if (authority && !claim->authority) {
        claim->authority = true;
        claim->links.clear();  // these it had only heard itself; now it vouches for all, from the start
    }
    if (offset != claim->links.size() || links.size() % link_ != 0) return;
    if (offset + links.size() > whole_size_) return;
    claim->links.insert(claim->links.end(), links.begin(), links.end());
    adopt();
}

std::size_t ChainTrust::known_from(const NodeId& giver) const {
    const auto claim = std::ranges::find(claims_, giver, &Claim::giver);
    return claim == claims_.end() ? 0 : claim->links.size();
}

ChunkIndex ChainTrust::usable_end() const {
    return whole() ? count_ : static_cast<ChunkIndex>(adopted_.size() / link_);
}

ByteView ChainTrust::start_of(ChunkIndex chunk) const {
    if (chunk == 0) return {};
    return ByteView(adopted_).subspan((chunk - 1) * link_, link_);
}

ByteView ChainTrust::end_of(ChunkIndex chunk) const {
    if (chunk + 1 >= count_) return {};
    return ByteView(adopted_).subspan(chunk * link_, link_);
}

void ChainTrust::drop(const std::map<NodeId, bool>& caught) {
    for (const auto& [giver, authority] : caught) caught_.insert(giver);
    givers_.clear();
    adopted_.resize(own_size_);
    std::erase_if(claims_, [&](const Claim& claim) { return caught_.contains(claim.giver); });
    ++generation_;
    adopt();
}

bool ChainTrust::contradicted(bool by_authority) const {
    if (whole()) return false;
    return std::ranges::any_of(claims_, [&](const Claim& claim) {
        const std::size_t both = std::min(claim.links.size(), adopted_.size());
        return (claim.authority || !by_authority) &&
               !starts_with(claim.links, ByteView(adopted_).first(both));
    });
}

void ChainTrust::set_aside() {
    std::erase_if(claims_, [&](const Claim& claim) { return starts_with(claim.links, adopted_); });
    givers_.clear();
    adopted_.resize(own_size_);
    ++generation_;
    adopt();
}

bool ChainTrust::same_links(ByteView old_links, ChunkIndex chunk) const {
    if (!usable(chunk)) return false;
    const std::size_t begin = chunk == 0 ? 0 : (chunk - 1) * link_;
    const std::size_t end = std::min((chunk + 1) * link_, whole_size_);
    if (old_links.size() < end) return false;
    return std::ranges::equal(old_links.subspan(begin, end - begin),
                              ByteView(adopted_).subspan(begin, end - begin));
}

void ChainTrust::adopt() {
    for (bool grew = true; grew && !whole();) {
        grew = false;
        for (const Claim& a : claims_) {
            if (a.links.size() <= adopted_.size() || !starts_with(a.links, adopted_)) continue;
            if (a.authority) {
                givers_[a.giver] = true;
                extend(a.links);
                grew = true;
                break;
            }
            for (const Claim& b : claims_) {
                if (&a == &b || !starts_with(b.links, adopted_)) continue;
                std::size_t agreed = common_prefix(a.links, b.links, adopted_.size());
                agreed -= agreed % link_;
                if (agreed <= adopted_.size()) continue;
                givers_.try_emplace(a.giver, false);
                givers_.try_emplace(b.giver, b.authority);
                extend(ByteView(a.links).first(agreed));
                grew = true;
                break;
            }
            if (grew) break;
        }
    }
    if (whole()) tidy();
}

void ChainTrust::extend(ByteView links) {
    adopted_.insert(adopted_.end(), links.begin() + static_cast<std::ptrdiff_t>(adopted_.size()),
                    links.end());
}

void ChainTrust::tidy() {
    claims_.clear();
    claims_.shrink_to_fit();
}

}  // namespace fastreg::transfer
