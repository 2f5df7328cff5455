// Chunks by RDMA, as the loop thread sees it: orders go to the rdma thread, which owns the devices and all
// links, and its news come back. No words of the transfer protocol but those of chunk requests travel here;
// which chunk goes this way is the router's to say (transport/router.h). Called on the loop thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "transport/data.h"
#include "transport/rdma/counters.h"
#include "transport/rdma/engine.h"
#include "transport/rdma/verbs.h"
#include "transport/router.h"

namespace fastreg::uv {
class Loop;
}

namespace fastreg::transport {

class RdmaTransport final : public RdmaRoad {
  public:
    struct Options {
        rdma::Engine::Options engine;
        Endpoint listen{"0.0.0.0", 9999};  // numeric; port 0 means any
        std::string advertise;             // empty: the listen address, or the first active device's
        std::uint8_t ack_timeout = 14;     // 4.096 us * 2^n
        std::uint8_t tos = 0;
        /// Fewer are pinned where the limit of memlock allows no more; below this many RDMA is not worth it.
        std::size_t landing_slots_min = 16;
    };

    /// Opens all devices, pins the pools and listens. The error says in one sentence why there is no RDMA,
    /// and what to do. Events come from later turns of `loop`.
    [[nodiscard]] static Result<std::unique_ptr<RdmaTransport>> open(uv::Loop& loop, Options options,
                                                                     rdma::RdmaEvents& events);
    /// Closes all links; no event comes after.
    ~RdmaTransport() override;
    RdmaTransport(const RdmaTransport&) = delete;
    RdmaTransport& operator=(const RdmaTransport&) = delete;

    /// What peers connect to now; without a host while no device works or none has an address to name.
    [[nodiscard]] const Endpoint& advertised() const;
    /// Those of the start, as they are now.
    [[nodiscard]] const std::vector<rdma::Device>& devices() const;
    [[nodiscard]] const rdma::Counters& counters() const;
    [[nodiscard]] std::size_t landing_slots() const;
    /// Chunks of one peer that are under way at once, at most.
    [[nodiscard]] std::size_t at_once() const;
    [[nodiscard]] std::size_t source_slots() const;

    void connect(NodeId peer, const Endpoint& address) override;
    [[nodiscard]] std::size_t active_devices() const override;
    void fetch(FetchOrder order) override;
    void cancel_fetch(NodeId from, RequestId request) override;
    void serve(ServeOrder order) override;
    void refuse(NodeId to, const wire::Busy& busy) override;
    void refuse(NodeId to, const wire::NotHere& absent) override;
    void drop(NodeId peer, const std::string& why) override;

  private:
    struct Impl;
    explicit RdmaTransport(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace fastreg::transport
