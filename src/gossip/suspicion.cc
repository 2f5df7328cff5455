#include "gossip/suspicion.h"

#include <algorithm>
#include <cmath>

namespace fastreg::gossip {

std::pair<Duration, Duration> Suspicions::range(const Options& options, std::size_t live) {
    const double scale = std::max(1.0, std::log10(std::max(1.0, static_cast<double>(live))));
    const auto millis = options.suspicion_mult * scale *
                        static_cast<double>(millis_of(options.probe_interval));
    const Duration min = std::chrono::milliseconds(std::llround(millis));
    return {min, min * options.suspicion_max_mult};
}

void Suspicions::start(Instant now, NodeId subject, NodeId accuser, std::size_t live) {
    cancel(subject);
    Clock clock;
    clock.begin = now;
    std::tie(clock.min, clock.max) = range(options_, live);
    // With too few members to confirm, waiting for confirmations would only be slow.
    clock.wanted = live >= options_.suspicion_confirmations + 2 ? options_.suspicion_confirmations : 0;
    clock.end = now + (clock.wanted == 0 ? clock.min : clock.max);
    clock.accusers.push_back(accuser);
    order_.emplace(clock.end, subject);
    clocks_.emplace(subject, std::move(clock));
}

bool Suspicions::confirm(Instant now, NodeId subject, NodeId accuser) {
    const auto found = clocks_.find(subject);
    if (found == clocks_.end()) return false;
    Clock& clock = found->second;
    const bool enough = clock.accusers.size() > clock.wanted;
    if (enough || std::find(clock.accusers.begin(), clock.accusers.end(), accuser) !=
                      clock.accusers.end()) {
        return false;
    }
    const auto confirmations = static_cast<double>(clock.accusers.size());  // the first is no confirmation
    clock.accusers.push_back(accuser);
    const double fraction = std::log(confirmations + 1) / std::log(clock.wanted + 1.0);
    const double millis = static_cast<double>(millis_of(clock.max)) -
                          fraction * static_cast<double>(millis_of(clock.max - clock.min));
    const Duration span = std::max<Duration>(clock.min, std::chrono::milliseconds(std::llround(millis)));
    order_.erase({clock.end, subject});
    clock.end = std::max(now, clock.begin + span);
    order_.emplace(clock.end, subject);
    return true;
}

void Suspicions::cancel(NodeId subject) {
    const auto found = clocks_.find(subject);
    if (found == clocks_.end()) return;
    order_.erase({found->second.end, subject});
    clocks_.erase(found);
}

std::vector<NodeId> Suspicions::expired(Instant now) {
    std::vector<NodeId> over;
    while (!order_.empty() && order_.begin()->first <= now) {
        over.push_back(order_.begin()->second);
        cancel(over.back());
    }
    return over;
}

Instant Suspicions::next_deadline() const {
    return order_.empty() ? Instant::never() : order_.begin()->first;
}

void Suspicions::postpone(Duration slept) {
    order_.clear();
    for (auto& [subject, clock] : clocks_) {
        clock.begin = clock.begin + slept;
        clock.end = clock.end + slept;
        order_.emplace(clock.end, subject);
    }
}

}  // namespace fastreg::gossip
