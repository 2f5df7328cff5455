// What the RDMA transport counts and shows; written on the rdma thread, read on any.
#pragma once

#include <atomic>
#include <cstdint>

namespace fastreg::transport::rdma {

struct Counters {
    using Number = std::atomic<std::uint64_t>;
    Number chunks_in{0};         // landed
    Number chunks_out{0};        // written, and known to be there
    Number timeouts{0};          // requests without an end in time
    Number protocol_errors{0};   // links closed for what a peer said
    Number connects_failed{0};
    Number links_broken{0};      // that had been up
    Number greetings_refused{0}; // of strangers: turned away, or never proven
    Number works_broken{0};      // sends and writes that were posted, and did not end well
    Number late_ends{0};         // of requests that were given up before: the slot waited for them
    Number reads{0};             // source chunks read from files
    Number read_hits{0};         // and those that were in a slot already
    Number links_out{0};         // now
    Number links_in{0};
    Number slots_free{0};
    Number slots_quarantined{0};
    Number sources_in_use{0};
};

}  // namespace fastreg::transport::rdma
