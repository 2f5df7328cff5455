// A named thread that runs a Loop of its own (the io threads). Made and destroyed by one owner thread.
#pragma once

#include <memory>
#include <string>

#include "uv/loop.h"

namespace fastreg::uv {

class LoopThread {
  public:
    explicit LoopThread(std::string name);
    /// Runs what was posted, stops the loop and joins. What lives on the loop must be gone: use call().
    ~LoopThread();
    LoopThread(const LoopThread&) = delete;
    LoopThread& operator=(const LoopThread&) = delete;

    [[nodiscard]] Loop& loop();
    /// loop().post(job).
    void post(Job job);
    /// Runs `job` on the loop's thread and waits until it is done: for start and stop only, never
    /// from the loop's own thread and never from a thread this loop may wait for.
    void call(Job job);

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace fastreg::uv
