// What the stories on real devices share: shipped engines over the device of FR_RDMA_ADDR, driven by hand on the
// real clock.
#pragma once

#include <poll.h>

#include <cstdlib>

#include "rdma_rig.h"
#include "transport/rdma/ibverbs.h"

namespace fastreg::transport::rdma::test {

inline std::string device_address() {
    const char* address = std::getenv("FR_RDMA_ADDR");
    if (address == nullptr) FAIL("FR_RDMA_ADDR names no address of an RDMA device");
    return address;
}

inline std::unique_ptr<Verbs> real_verbs() {
    auto opened = IbVerbs::open({.ack_timeout = 18});
    if (!opened) FAIL(describe(opened.error()));
    return std::move(*opened);
}

struct RealNode final : EngineNode {
    explicit RealNode(unsigned number, const std::function<void(Engine::Options&)>& adjust = {})
        : EngineNode(real_verbs(), number, adjust) {
        const auto port = engine->listen({device_address(), 0});
        if (!port) FAIL(describe(port.error()));
        address = {device_address(), *port};
    }
};

/// Two nodes on one device, driven by hand on the real clock.
struct RealWorld {
    explicit RealWorld(const std::function<void(Engine::Options&)>& adjust = {}) : a(1, adjust), b(2, adjust) {}

    bool until(const std::function<bool()>& holds, Duration patience = 60s) {
        const Instant end = clock.now() + patience;
        while (!holds()) {
            if (clock.now() > end) return false;
            turn();
        }
        return true;
    }
    void turn() {
        std::vector<pollfd> fds;
        for (EngineNode* each : {static_cast<EngineNode*>(&a), static_cast<EngineNode*>(&b)}) {
            fds.push_back({each->the_verbs->cm_descriptor(), POLLIN, 0});
            for (DeviceIndex i = 0; i < each->the_verbs->devices().size(); ++i) {
                fds.push_back({each->the_verbs->completion_descriptor(i), POLLIN, 0});
            }
        }
        (void)::poll(fds.data(), fds.size(), 2);
        for (EngineNode* each : {static_cast<EngineNode*>(&a), static_cast<EngineNode*>(&b)}) {
            each->now = clock.now();
            (void)each->step();
            each->engine->on_deadline(each->now);
        }
    }
    void connect() {
        a.now = b.now = clock.now();
        a.engine->connect(a.now, b.id, b.address);
        REQUIRE(until([&] { return a.ups == 1 && b.counters.links_in == 1; }));
    }

    uv::Loop clock;
    RealNode a;
    RealNode b;
};

}  // namespace fastreg::transport::rdma::test
