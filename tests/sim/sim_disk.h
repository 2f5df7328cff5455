// The threads of the store, as events: what takes a random time, and keeps its order per lane.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "store/executor.h"
#include "tests/sim/world.h"

namespace fastreg::sim {

class SimExecutor final : public store::Executor {
  public:
    SimExecutor(World& world, std::size_t node)
        : world_(world), node_(node), self_(std::make_shared<SimExecutor*>(this)) {}
    /// The process died: what waits is never run.
    ~SimExecutor() override { *self_ = nullptr; }
    SimExecutor(const SimExecutor&) = delete;
    SimExecutor& operator=(const SimExecutor&) = delete;

    void set_slow(bool slow) { slow_ = slow; }

    void disk(std::uint64_t lane_key, std::function<void()> job, std::function<void()> then) override {
        run(lanes_[lane_key % 4], std::move(job), std::move(then));
    }
    void index(std::function<void()> job, std::function<void()> then) override {
        run(index_, std::move(job), std::move(then));
    }

  private:
    void run(Instant& free, std::function<void()> job, std::function<void()> then) {
        std::uint64_t micros = 20 + world_.rng.below(world_.rng.chance(0.02) ? 20'000 : 800);
        if (slow_) micros = micros * 20 + 5'000;
        free = std::max(free, world_.now()) + std::chrono::microseconds(micros);
        later(free, std::move(job));
        free = free + 20us;
        later(free, std::move(then));
    }
    /// Jobs are kept here and not in the queue of the world: they own parts of the store.
    void later(Instant when, std::function<void()> job) {
        const std::uint64_t id = next_++;
        jobs_.emplace(id, std::move(job));
        world_.at(when, [self = self_, id] {
            if (*self == nullptr) return;
            (*self)->world_.touched = (*self)->node_;
            const auto found = (*self)->jobs_.extract(id);
            found.mapped()();
        });
    }

    World& world_;
    std::size_t node_;
    std::shared_ptr<SimExecutor*> self_;
    std::map<std::uint64_t, std::function<void()>> jobs_;
    std::uint64_t next_ = 0;
    std::map<std::uint64_t, Instant> lanes_;
    Instant index_;
    bool slow_ = false;
};

}  // namespace fastreg::sim
