// An executor whose answers wait while they are held, for stories of what happens in between.
#pragma once

#include <deque>
#include <functional>
#include <utility>

#include "store/executor.h"

namespace fastreg::test {

/// Holds back what the disk and its answers would do, until they are let go.
class HoldingExecutor final : public store::Executor {
  public:
    void disk(std::uint64_t, std::function<void()> job, std::function<void()> then) override {
        give(std::move(job), std::move(then));
    }
    void index(std::function<void()> job, std::function<void()> then) override {
        give(std::move(job), std::move(then));
    }
    /// Every job is done at once, its answer waits.
    void hold() { holding_ = true; }
    void let_go() {
        holding_ = false;
        while (!waiting_.empty()) {
            const auto then = std::move(waiting_.front());
            waiting_.pop_front();
            then();
        }
    }

  private:
    void give(const std::function<void()>& job, std::function<void()> then) {
        job();
        if (holding_) {
            waiting_.push_back(std::move(then));
        } else {
            then();
        }
    }
    bool holding_ = false;
    std::deque<std::function<void()>> waiting_;
};

}  // namespace fastreg::test
