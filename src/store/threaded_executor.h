// The Executor of a running node: `disk_workers` threads and one index thread. disk() and index() are
// for the loop thread. Destroy it after the Store; its destructor waits for the jobs in hand.
#pragma once

#include <memory>
#include <vector>

#include "base/worker.h"
#include "store/executor.h"

namespace fastreg::store {

class ThreadedExecutor final : public Executor {
  public:
    /// `post_to_loop` runs its argument on the loop thread, in order; called from any thread.
    ThreadedExecutor(unsigned disk_workers,
                     std::function<void(std::function<void()>)> post_to_loop);

    void disk(std::uint64_t lane_key,
              std::function<void()> job,
              std::function<void()> then) override;
    void index(std::function<void()> job, std::function<void()> then) override;

  private:
    void run(Worker& worker, std::function<void()> job, std::function<void()> then);

    std::function<void(std::function<void()>)> post_to_loop_;
    std::vector<std::unique_ptr<Worker>> disk_;
    std::unique_ptr<Worker> index_;
};

}  // namespace fastreg::store
