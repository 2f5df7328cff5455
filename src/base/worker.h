// A named thread that runs posted jobs in order; joined on destruction after the queue is empty.
#pragma once

#include <functional>
#include <memory>
#include <string>

namespace fastreg {

class Worker {
  public:
    explicit Worker(std::string name);
    ~Worker();
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    /// Any thread. Jobs run in the order they were posted.
    void post(std::function<void()> job);

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

/// Starts a named thread that the owner must join.
class Thread {
  public:
    Thread() = default;
    Thread(std::string name, std::function<void()> body);
    ~Thread();  // joins
    Thread(Thread&&) noexcept;
    Thread& operator=(Thread&&) noexcept;
    void join();

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

/// Processors this process may run on.
[[nodiscard]] unsigned processor_count();

}  // namespace fastreg
