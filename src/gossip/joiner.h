// Whom to ask to be let in: the seeds of the configuration and the peers of an earlier run, with
// growing pauses while alone, and one seed now and then for ever. Bookkeeping only.
#pragma once

#include <set>
#include <vector>

#include "base/endpoint.h"
#include "base/instant.h"
#include "base/random.h"
#include "gossip/options.h"

namespace fastreg::gossip {

class Joiner {
  public:
    explicit Joiner(const Options& options) : options_(options) {}

    void set_seeds(std::vector<Endpoint> seeds);
    void add_seed(const Endpoint& seed);
    void remove_seed(const Endpoint& seed) { std::erase(seeds_, seed); }
    void set_hints(std::vector<Endpoint> hints);
    /// This is the node's own address, under whatever name: never dial it again.
    void skip(const Endpoint& own) { own_.insert(own); }

    void begin(Instant now, Rng& rng);
    void stop() { at_ = Instant::never(); }
    [[nodiscard]] Instant next_deadline() const { return at_; }
    /// Whom to dial now, and when to come back. `alone`: nobody is known yet.
    [[nodiscard]] std::vector<Endpoint> turn(Instant now, bool alone, Rng& rng);

  private:
    Options options_;
    std::vector<Endpoint> seeds_;
    std::vector<Endpoint> hints_;
    std::set<Endpoint> own_;
    Instant at_ = Instant::never();
    Duration pause_{};
};

}  // namespace fastreg::gossip
