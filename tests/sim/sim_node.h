// One node of the simulated mesh: the shipped Store on a disk in memory and the shipped Core on the
// simulated network, with all the ways to die and to come back.
#pragma once

#include <memory>
#include <string>

#include "node/core.h"
#include "store/store.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_net.h"
#include "tests/support/memory_fs.h"

namespace fastreg::sim {

inline constexpr const char* kDataDir = "/data";

class SimNode {
  public:
    SimNode(World& world, Network& network, std::size_t index, node::CoreOptions options);
    ~SimNode();
    SimNode(const SimNode&) = delete;
    SimNode& operator=(const SimNode&) = delete;

    /// False when the store does not open (a disk fault); try again later.
    bool start(const std::vector<Endpoint>& seeds);
    /// SIGTERM: says so, waits until it was said, closes the store. `then` runs when the process is gone.
    void stop(std::function<void()> then);
    /// `fastreg leave`, after what it kept was handed off.
    void leave(std::function<void()> then);
    /// kill -9: memory is gone, what was written to files is there.
    void crash();
    /// The machine goes dark: what was not synced may be gone.
    void power_cut();
    /// A new disk; the node is not running.
    void wipe();
    /// Other addresses from the next start on.
    void move();
    /// Flips a bit in the file of a complete blob; false when there is none.
    bool flip_bit();

    [[nodiscard]] bool moved() const { return moves_ > 0; }
    [[nodiscard]] bool running() const { return core_ != nullptr && !stopping_; }
    [[nodiscard]] node::Core& core() { return *core_; }
    [[nodiscard]] const node::Core& core() const { return *core_; }
    [[nodiscard]] store::Store& store() { return *store_; }
    [[nodiscard]] test::MemoryFs& fs() { return *fs_; }
    [[nodiscard]] SimExecutor& executor() { return *executor_; }
    [[nodiscard]] const Endpoint& gossip() const { return options_.gossip; }
    [[nodiscard]] NodeId id() const { return id_; }
    [[nodiscard]] std::size_t index() const { return index_; }
    /// Grows with every start and every end of the process: what began before is void.
    [[nodiscard]] std::uint64_t life() const { return life_; }
    /// Grows with every new disk.
    [[nodiscard]] std::uint64_t disk_life() const { return disk_life_; }

    std::int64_t clock_skew_ms = 0;
    std::uint64_t store_max_bytes = 0;  // from the next start on; 0: no limit

  private:
    void end(bool abruptly);
    void close(std::function<void()> then);
    void set_addresses();

    World& world_;
    Network& network_;
    std::size_t index_;
    node::CoreOptions options_;
    Rng rng_;
    std::uint16_t moves_ = 0;
    std::uint64_t life_ = 0;
    std::uint64_t disk_life_ = 0;
    bool stopping_ = false;
    NodeId id_;
    std::unique_ptr<test::MemoryFs> fs_;
    std::unique_ptr<SimExecutor> executor_;
    std::unique_ptr<store::Store> store_;
    std::unique_ptr<Port> port_;
    std::unique_ptr<node::Core> core_;
};

}  // namespace fastreg::sim
