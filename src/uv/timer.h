// A one-shot timer of a loop; set it again from its own callback for the next round. Resolution 1 ms,
// never early. Loop's thread only; may be destroyed from its own callback.
#pragma once

#include <functional>
#include <memory>

#include "base/instant.h"

namespace fastreg::uv {

class Loop;

class Timer {
  public:
    Timer(Loop& loop, std::function<void()> on_fired);

    /// Replaces an earlier setting. A moment that has passed fires on the next turn of the loop;
    /// Instant::never() cancels.
    void set(Instant at);
    void set(Duration from_now);
    void cancel();
    [[nodiscard]] bool is_set() const;

  private:
    struct State;
    struct Close {
        void operator()(State* state) const;
    };
    std::unique_ptr<State, Close> state_;
};

}  // namespace fastreg::uv
