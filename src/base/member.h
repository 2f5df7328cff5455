// What a node knows of another node. Gossip makes these; every other core is told of changes.
// A value.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/endpoint.h"
#include "base/ids.h"
#include "base/instant.h"

namespace fastreg {

enum class MemberState : std::uint8_t {
    alive = 1,
    suspect = 2,
    stopping = 3,  // SIGTERM: comes back soon, keeps what it owns for 10 min
    dead = 4,
    left = 5,  // handed off and gone for good, or replaced by another node at its address
};

[[nodiscard]] std::string_view name_of(MemberState state);

struct Member {
    NodeId id;
    BootEpoch boot_epoch = 0;
    std::uint64_t incarnation = 0;
    MemberState state = MemberState::alive;
    Instant state_since;  // local clock; never on the wire
    std::string name;     // a label, not a key
    std::string zone;
    Endpoint gossip;
    Endpoint transfer;
    Endpoint rdma;  // empty: no RDMA
    Endpoint http;

    /// May be asked for something now.
    [[nodiscard]] bool reachable() const {
        return state == MemberState::alive || state == MemberState::suspect;
    }
};

}  // namespace fastreg
