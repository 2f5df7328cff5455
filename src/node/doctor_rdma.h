// The RDMA part of `fastreg doctor`: modules, device files, devices, locked memory, the address for peers,
// and a real connection through each device. Blocking; main thread.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "node/doctor.h"
#include "transport/rdma/machine.h"
#include "transport/rdma/self_test.h"
#include "transport/rdma/verbs.h"

namespace fastreg::node {

struct RdmaFacts {
    transport::rdma::System system;
    Status opened;  // whether the verbs could be; the rest is empty if not
    std::vector<transport::rdma::Device> devices;
    std::vector<OwnAddress> own;
    std::map<std::string, std::uint32_t> mtus;  // by interface
    Status listened;                            // whether the port of connections is free
    struct Loopback {
        std::string device;
        std::string address;
        Result<transport::rdma::SelfTested> outcome;
    };
    std::vector<Loopback> loopbacks;
};

/// Where the system shows no device nothing else is looked at.
[[nodiscard]] RdmaFacts look_at_rdma(const config::Rdma& rdma);
/// With RDMA switched off what is wrong is a warning at most: the node does not use it.
[[nodiscard]] std::vector<Finding> judge_rdma(const RdmaFacts& facts, const config::Rdma& rdma, const Running& running);

/// Landing slots that a node gets pinned under that limit, which the pools share with each other and each
/// device takes anew; as many as configured, half as many, and so on. 0: too few to be worth it.
[[nodiscard]] std::uint64_t landing_slots_within(std::uint64_t limit, const config::Rdma& rdma, std::size_t devices);
/// The largest packet of RoCE that fits an interface of that MTU.
[[nodiscard]] std::uint32_t roce_mtu_of(std::uint32_t interface_mtu);

}  // namespace fastreg::node
