// How a loop is woken from another thread, and a turn: the work of one event, at whose end the loops that
// got jobs meanwhile are woken, each once. Without turns five messages of one read would wake the other
// thread five times, which costs more than what it then does.
#pragma once

#include <memory>

#include "uv/socket.h"

namespace fastreg::uv {

class Bell {
  public:
    Bell();
    [[nodiscard]] int fd() const { return fd_.get(); }
    /// Any thread; never blocks, never fails.
    void ring() const;
    /// Takes back every ring so far. The loop's thread.
    void hear() const;

  private:
    Fd fd_;
};

/// While one lives, ring_soon() of its thread is put off to its end. One inside another is part of it.
class Turn {
  public:
    Turn();
    ~Turn();
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

    /// Rings at the end of this thread's turn; at once when it is in none.
    static void ring_soon(const std::shared_ptr<const Bell>& bell);
    /// Rings all that are owed now: before this thread waits for another one, or when a turn gets long.
    static void ring_owed();

  private:
    bool outermost_;
};

}  // namespace fastreg::uv
