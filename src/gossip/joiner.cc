#include "gossip/joiner.h"

#include <algorithm>

namespace fastreg::gossip {

void Joiner::set_seeds(std::vector<Endpoint> seeds) {
    if (seeds.size() > options_.seeds_max) seeds.resize(options_.seeds_max);
    seeds_ = std::move(seeds);
}

void Joiner::add_seed(const Endpoint& seed) {
    if (std::find(seeds_.begin(), seeds_.end(), seed) != seeds_.end()) return;
    if (seeds_.size() == options_.seeds_max) seeds_.erase(seeds_.begin());
    seeds_.push_back(seed);
}

void Joiner::set_hints(std::vector<Endpoint> hints) {
    if (hints.size() > options_.hints_max) hints.resize(options_.hints_max);
    hints_ = std::move(hints);
}

void Joiner::begin(Instant now, Rng& rng) {
    pause_ = options_.join_retry;
    const auto span = static_cast<std::uint64_t>(options_.join_jitter.count());
    at_ = now + Duration{static_cast<std::int64_t>(rng.below(span + 1))};
}

std::vector<Endpoint> Joiner::turn(Instant now, bool alone, Rng& rng) {
    std::vector<Endpoint> places = seeds_;
    if (alone) places.insert(places.end(), hints_.begin(), hints_.end());
    std::erase_if(places, [&](const Endpoint& place) { return place.empty() || own_.contains(place); });
    rng.shuffle(places);
    std::size_t count = 1;
    if (alone) {
        // The first turn meets a mesh that is there; later ones must not hammer one that is not.
        at_ = now + pause_ + Duration{static_cast<std::int64_t>(static_cast<double>(pause_.count()) * rng.unit() / 4)};
        pause_ = std::min(2 * pause_, options_.join_retry_max);
        count = options_.join_parallel;
    } else {
        pause_ = options_.join_retry;
        const Duration spread = options_.seed_redial_max - options_.seed_redial_min;
        at_ = now + options_.seed_redial_min +
              Duration{static_cast<std::int64_t>(static_cast<double>(spread.count()) * rng.unit())};
    }
    if (places.size() > count) places.resize(count);
    // Who was there in an earlier run may be where no seed leads to: each is tried once after the join.
    for (std::size_t tried = 0; !alone && !hints_.empty() && tried < options_.join_parallel; ++tried) {
        if (!hints_.back().empty() && !own_.contains(hints_.back())) places.push_back(hints_.back());
        hints_.pop_back();
    }
    return places;
}

}  // namespace fastreg::gossip
