// How much this node distrusts its own judgement (Lifeguard's local health multiplier). A value.
#pragma once

#include <algorithm>

#include "base/instant.h"

namespace fastreg::gossip {

class LocalHealth {
  public:
    explicit LocalHealth(unsigned max) : max_(max) {}

    /// A probe went well, -1; one failed, a helper's nack is missing, or an accusation had to be refuted, +1.
    void add(int delta) {
        const int next = static_cast<int>(score_) + delta;
        score_ = static_cast<unsigned>(std::clamp(next, 0, static_cast<int>(max_)));
    }
    [[nodiscard]] unsigned score() const { return score_; }
    /// A sick node probes more slowly and waits longer before it accuses.
    [[nodiscard]] Duration scale(Duration span) const { return span * (score_ + 1); }

  private:
    unsigned max_;
    unsigned score_ = 0;
};

}  // namespace fastreg::gossip
