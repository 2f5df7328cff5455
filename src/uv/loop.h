// One libuv loop. run() makes the calling thread the loop's thread: timers, polls, listeners and
// resolvers of this loop are made, used and destroyed there. post() and stop() may be called from any
// thread. Everything that was made on a loop must be destroyed before the loop.
#pragma once

#include <memory>

#include "base/instant.h"
#include "uv/job.h"

struct uv_loop_s;

namespace fastreg::uv {

class Loop {
  public:
    Loop();
    /// Drops what was posted and not run, and waits (at most 2 s, a name look-up may hang) for libuv
    /// to let go of the memory of closed handles.
    ~Loop();
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;

    /// Runs until stop(). Jobs posted before the stop are run.
    void run();
    /// One turn: runs what is ready, waits for events at most until the next timer when `wait`.
    void run_once(bool wait);
    /// Any thread; early and twice are harmless.
    void stop();

    /// CLOCK_MONOTONIC, read now; the origin all Instants of the process share.
    [[nodiscard]] Instant now() const;

    /// Any thread; never blocks, never fails. Jobs run on the loop's thread in the order they were
    /// posted, in batches: one wake-up carries all that is waiting.
    void post(Job job);
    /// True on the thread that is inside run() or run_once().
    [[nodiscard]] bool on_this_thread() const;

    /// For the files of src/uv only.
    [[nodiscard]] uv_loop_s* raw();

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace fastreg::uv
