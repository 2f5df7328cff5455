// A queue between two threads: many may post, one takes. Woken through a callback, so that a libuv
// loop and a plain thread can both own one. Posting never blocks on the taker and never fails; who
// sends a job holds a credit that bounds the queue.
#pragma once

#include <functional>
#include <mutex>
#include <utility>
#include <vector>

namespace fastreg {

template <class T>
class Mailbox {
  public:
    /// `wake` is called at most once per batch, from the posting thread, outside the lock.
    explicit Mailbox(std::function<void()> wake = {}) : wake_(std::move(wake)) {}

    /// Before the first post only.
    void set_wake(std::function<void()> wake) { wake_ = std::move(wake); }

    void post(T item) {
        bool was_empty = false;
        {
            const std::lock_guard lock(mutex_);
            was_empty = items_.empty();
            items_.push_back(std::move(item));
        }
        if (was_empty && wake_) wake_();
    }

    /// Everything posted so far, in order; the owner alone calls this.
    [[nodiscard]] std::vector<T> take() {
        std::vector<T> taken;
        const std::lock_guard lock(mutex_);
        taken.swap(items_);
        return taken;
    }

  private:
    std::mutex mutex_;
    std::vector<T> items_;
    std::function<void()> wake_;
};

}  // namespace fastreg
