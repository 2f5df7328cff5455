// A Unix signal as an event of a loop. Loop's thread only.
#pragma once

#include <functional>
#include <memory>

namespace fastreg::uv {

class Loop;

class Signal {
  public:
    /// `number` is SIGTERM, SIGINT, SIGHUP, ...
    Signal(Loop& loop, int number, std::function<void()> on_raised);

  private:
    struct State;
    struct Close {
        void operator()(State* state) const;
    };
    std::unique_ptr<State, Close> state_;
};

/// A write to a closed connection is an error of that write, not the end of the process. Once, at start.
void ignore_broken_pipes();

}  // namespace fastreg::uv
