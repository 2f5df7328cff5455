// Readiness of one descriptor, level-triggered. The owner does its own recv, send and sendfile and
// closes the descriptor after this object is gone. Loop's thread only; may be destroyed from its own
// callbacks.
#pragma once

#include <memory>

#include "base/result.h"

namespace fastreg::uv {

class Loop;

class PollHandler {
  public:
    virtual ~PollHandler() = default;
    /// Data, or the end of the stream: recv tells.
    virtual void on_readable() = 0;
    /// Room in the send buffer, or a connect that is over: uv::connect_result tells.
    virtual void on_writable() = 0;
    /// The socket is broken (refused, reset): `os_errno` is its SO_ERROR. Nothing more comes.
    virtual void on_poll_error(int os_errno) = 0;
};

class Poll {
  public:
    Poll() = default;  // watches nothing
    /// `fd` is non-blocking and outlives this object; so does `handler`.
    [[nodiscard]] static Result<Poll> open(Loop& loop, int fd, PollHandler& handler);

    /// Replaces what is watched. Watching nothing also hides hang-ups.
    void watch(bool readable, bool writable);
    [[nodiscard]] bool reading() const;
    [[nodiscard]] bool writing() const;
    /// No callback comes after this; the descriptor may be closed at once. Twice is harmless.
    void close();
    [[nodiscard]] explicit operator bool() const { return state_ != nullptr; }

  private:
    struct State;
    struct Close {
        void operator()(State* state) const;
    };
    std::unique_ptr<State, Close> state_;
};

}  // namespace fastreg::uv
