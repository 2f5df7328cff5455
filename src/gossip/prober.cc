#include "gossip/prober.h"

#include <algorithm>

namespace fastreg::gossip {

void ProbeRing::add(NodeId id, Rng& rng) {
    if (!known_.insert(id).second) return;
    if (std::find(round_.begin(), round_.end(), id) != round_.end()) return;  // came back
    const auto place = at_ + static_cast<std::size_t>(rng.below(round_.size() - at_ + 1));
    round_.insert(round_.begin() + static_cast<std::ptrdiff_t>(place), id);
}

void ProbeRing::remove(NodeId id) { known_.erase(id); }

std::optional<NodeId> ProbeRing::next(Rng& rng) {
    if (known_.empty()) return std::nullopt;
    for (;;) {
        if (at_ == round_.size()) {
            round_.assign(known_.begin(), known_.end());
            rng.shuffle(round_);
            at_ = 0;
        }
        const NodeId id = round_[at_++];
        if (known_.contains(id)) return id;
    }
}

bool Prober::probing(NodeId target) const {
    return std::any_of(probes.begin(), probes.end(),
                       [&](const auto& item) { return item.second.target == target; });
}

Instant Prober::next_deadline() const {
    Instant next = Instant::never();
    for (const auto& [sequence, probe] : probes) next = std::min(next, probe.deadline);
    for (const auto& [sequence, forward] : forwards) {
        next = std::min({next, forward.nack_at, forward.end});
    }
    return next;
}

void Prober::postpone(Duration slept) {
    for (auto& [sequence, probe] : probes) probe.deadline = probe.deadline + slept;
    for (auto& [sequence, forward] : forwards) {
        forward.nack_at = forward.nack_at + slept;
        forward.end = forward.end + slept;
    }
}

}  // namespace fastreg::gossip
