// How long a chunk takes (tau) and how many requests keep the pipe full (O).
// tau = EWMA of request-to-complete times, each sample clamped to 3 tau. A value.
#pragma once

#include <algorithm>
#include <cmath>

#include "base/instant.h"
#include "transfer/options.h"

namespace fastreg::transfer {

class Pacing {
  public:
    /// `guess` stands in until the first sample; zero: nothing is known.
    explicit Pacing(Duration guess = {}) : guess_(guess) {}

    void on_sample(Duration took) {
        took = std::max(took, Duration(1us));
        if (tau_.count() == 0) {
            tau_ = took;
            return;
        }
        took = std::min(took, tau_ * 3);
        tau_ += (took - tau_) / 8;
    }
    /// False: staleness and end-game wait until something arrived.
    [[nodiscard]] bool measured() const { return tau_.count() != 0; }
    [[nodiscard]] Duration tau() const { return measured() ? tau_ : guess_; }

    [[nodiscard]] std::size_t outstanding(const Options& options, Duration rtt) const {
        if (tau().count() == 0) return options.outstanding_base;
        const double extra = std::round(3 * seconds_of(rtt) / seconds_of(tau()));
        const double all = static_cast<double>(options.outstanding_base) + extra;
        return static_cast<std::size_t>(
            std::min(all, static_cast<double>(options.outstanding_max)));
    }

  private:
    Duration guess_;
    Duration tau_{};
};

}  // namespace fastreg::transfer
