// One running node: builds every part in order, wires them, and takes them down again. Holds no
// policy. The thread that calls run() is the loop thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/metrics.h"
#include "config/config.h"
#include "node/admin.h"
#include "node/core.h"
#include "node/file_budget.h"
#include "node/http_front.h"
#include "node/mesh.h"
#include "node/run.h"
#include "node/service.h"
#include "store/posix_fs.h"
#include "store/threaded_executor.h"
#include "uv/loop.h"
#include "uv/loop_thread.h"
#include "uv/signal.h"
#include "uv/timer.h"

namespace fastreg::node {

class Node {
  public:
    Node(config::Config config, Reread reread);
    ~Node();
    Node(const Node&) = delete;
    Node& operator=(const Node&) = delete;

    /// Serves until SIGTERM, SIGINT or `leave`.
    [[nodiscard]] Status run();

    /// What the keys rdma.* mean for the transport.
    [[nodiscard]] static transport::RdmaTransport::Options rdma_options(const config::Rdma& rdma);

  private:
    enum class State { starting, alive, draining, stopping, leaving };

    [[nodiscard]] Status start();
    [[nodiscard]] Status open_store();
    [[nodiscard]] Status open_mesh();
    [[nodiscard]] Status open_fronts();
    [[nodiscard]] Status announce();
    void take_down();
    void close_store();
    void reload();
    /// Hands off what this node keeps, for so long at most, then leaves.
    [[nodiscard]] Status begin_leave(std::optional<Duration> patience);
    void leave_step();
    void begin_stop(State state, const std::string& why);
    void stop_step();
    void arm_service();
    [[nodiscard]] std::string_view state_name() const;
    [[nodiscard]] std::string ready_file() const { return config_.data_dir + "/ready.json"; }

    config::Config config_;
    Reread reread_;
    std::string key_;
    FileBudget files_;  // shares of the descriptors this process may open
    State state_ = State::starting;
    std::string http_, admin_;  // addresses, as in ready.json
    Instant stop_by_;
    Instant leave_by_;  // whatever is not handed off then
    Instant linger_until_;  // so that who waits for the leave sees how it ended
    Metrics metrics_;
    std::unique_ptr<Meters> meters_;

    // Destroyed in the reverse order: what lives on a loop goes before the loop.
    uv::Loop loop_;
    std::vector<std::unique_ptr<uv::LoopThread>> io_;
    std::unique_ptr<store::Fs> fs_;
    std::unique_ptr<store::ThreadedExecutor> executor_;
    std::unique_ptr<store::Store> store_;
    std::unique_ptr<Mesh> mesh_;
    std::unique_ptr<Core> core_;
    std::unique_ptr<Service> service_;
    std::unique_ptr<Admin> admin_pages_;
    std::unique_ptr<HttpFront> front_;
    std::unique_ptr<uv::Timer> stop_timer_;
    std::unique_ptr<uv::Timer> leave_timer_;
    std::unique_ptr<uv::Timer> service_timer_;
    std::vector<uv::Signal> signals_;
};

}  // namespace fastreg::node
