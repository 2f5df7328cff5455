// The rdma thread: the engine on real verbs and a loop of its own. Made, used and destroyed on that thread.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "base/worker.h"
#include "transport/rdma/engine.h"
#include "transport/rdma/ibverbs.h"
#include "uv/loop_thread.h"
#include "uv/poll.h"
#include "uv/timer.h"

namespace fastreg::transport::rdma {

class Driver final : private EngineOwner {
  public:
    /// News for the loop thread: `tell` runs a job on it.
    using Tell = std::function<void(std::function<void(RdmaEvents&)>)>;
    /// Told, on this thread, whenever a port came up or went down, an address came or went, or a device was removed.
    using OnDevices = std::function<void(const std::vector<Device>&)>;

    Driver(uv::LoopThread& thread, Tell tell, OnDevices on_devices, Counters& counters);
    ~Driver() override;
    Driver(const Driver&) = delete;
    Driver& operator=(const Driver&) = delete;

    /// Opens devices and pools; half as many slots, and again, while memlock refuses them.
    Status start(IbVerbs::Options verbs, Engine::Options engine, std::size_t landing_slots_min, const Endpoint& listen);
    [[nodiscard]] std::uint16_t port() const { return port_; }
    [[nodiscard]] const Verbs& verbs() const { return *verbs_; }
    [[nodiscard]] const Engine::Options& options() const { return options_; }

    /// Calls `job(engine, now)` and plans the next wake-up.
    template <class F>
    void run(F job) {
        job(*engine_, loop_.now());
        plan();
    }

  private:
    struct Watch;  // one descriptor
    struct Gate {
        std::mutex mutex;
        uv::LoopThread* thread = nullptr;
    };

    void on_message(NodeId from, wire::TransferMessage message) override;
    void on_fetch_done(NodeId from, RequestId request, FetchEnd end) override;
    void on_progress(NodeId from, RequestId request, std::uint64_t bytes) override;
    void on_served(NodeId to, RequestId request, bool ok, std::uint64_t bytes) override;
    void on_link_up(NodeId peer) override;
    void on_asker_gone(NodeId peer) override;
    void on_link_down(NodeId peer, const std::string& why, bool orderly) override;
    void read(std::size_t slot, std::shared_ptr<const FileRef> file, std::uint64_t offset,
              std::span<std::byte> into) override;

    Status watch(std::optional<DeviceIndex> device, int fd, std::function<void()> on_readable);
    void on_completions(DeviceIndex device);
    void plan();
    void on_cm_events();
    /// A job for this thread, if the driver still lives.
    void later(std::function<void(Driver&)> job);

    uv::LoopThread& thread_;
    uv::Loop& loop_;
    Tell tell_;
    OnDevices on_devices_;
    std::vector<Device> told_;  // the devices as last told
    Counters& counters_;
    Engine::Options options_;
    std::uint16_t port_ = 0;
    std::shared_ptr<Driver*> self_;
    std::shared_ptr<Gate> gate_;
    std::unique_ptr<IbVerbs> verbs_;
    std::unique_ptr<Engine> engine_;
    std::vector<std::unique_ptr<Watch>> watches_;
    uv::Timer timer_;
    std::vector<std::unique_ptr<Worker>> readers_;
    std::size_t turn_ = 0;
};

}  // namespace fastreg::transport::rdma
