// What /metrics says of RDMA. Loop thread only; the transport counts on its own thread.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "base/metrics.h"
#include "base/result.h"
#include "transport/rdma/counters.h"

namespace fastreg::node {

class RdmaMeters {
  public:
    /// What the router counts.
    struct Routed {
        std::uint64_t fallbacks = 0;
        std::uint64_t slotless = 0;
        std::uint64_t stalls = 0;
    };

    explicit RdmaMeters(Metrics& metrics);
    /// RDMA was asked for, and its start failed so.
    void set_off(Errc why);
    /// Brings everything up to date; `counters` is null where there is no RDMA, `up` says that a device works.
    void update(const transport::rdma::Counters* counters, bool up, Routed routed);

  private:
    using Number = transport::rdma::Counters::Number transport::rdma::Counters::*;
    struct Grown {
        Counter& shown;
        Number from;
    };
    struct Now {
        Gauge& shown;
        Number from;
    };
    static void raise(Counter& counter, std::uint64_t to);

    std::vector<Grown> grown_;
    std::vector<Now> now_;
    Gauge& up_;
    Gauge& no_device_;
    Gauge& no_memory_;
    Gauge& no_other_;
    Counter& fallbacks_;
    Counter& slotless_;
    Counter& stalls_;
};

}  // namespace fastreg::node
