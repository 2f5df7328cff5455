// A real RDMA connection from this process to itself: two ends with threads, pools and queue pairs of their
// own, and one chunk between them. For `fastreg doctor`. Blocks; any thread.
#pragma once

#include <cstdint>
#include <string>

#include "base/instant.h"
#include "base/result.h"

namespace fastreg::transport::rdma {

struct SelfTest {
    std::string address;            // numeric, of this machine; it leads to the device that is tested
    std::uint8_t ack_timeout = 14;  // 4.096 us * 2^n
    std::uint8_t tos = 0;
    Duration patience = 15s;
};

struct SelfTested {
    std::uint64_t bytes = 0;  // of the chunk; every one was compared
    Duration connected{};     // how long the connection took
    Duration moved{};         // how long the chunk took
};

/// Pins 16 MiB for each device of the machine. The error says what did not work, and when.
[[nodiscard]] Result<SelfTested> run_self_test(const SelfTest& test);

}  // namespace fastreg::transport::rdma
