// Where the store's work runs: disk workers and the one index thread, never the loop. The loop thread
// calls; `job` runs elsewhere; `then` runs back on the loop thread.
#pragma once

#include <cstdint>
#include <functional>

namespace fastreg::store {

class Executor {
  public:
    virtual ~Executor() = default;
    /// Jobs with the same lane key run in the order they were given, and so do their `then`s.
    virtual void disk(std::uint64_t lane_key,
                      std::function<void()> job,
                      std::function<void()> then) = 0;
    /// On the thread that owns the databases, in order.
    virtual void index(std::function<void()> job, std::function<void()> then) = 0;

  protected:
    Executor() = default;
    Executor(const Executor&) = default;
    Executor& operator=(const Executor&) = default;
};

/// Runs everything at once, inside the call. For tests.
class InlineExecutor final : public Executor {
  public:
    void disk(std::uint64_t, std::function<void()> job, std::function<void()> then) override {
        job();
        then();
    }
    void index(std::function<void()> job, std::function<void()> then) override {
        job();
        then();
    }
};

}  // namespace fastreg::store
