#include "base/worker.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

namespace fastreg {

struct Thread::Impl {
    std::thread thread;
};

Thread::Thread(std::string name, std::function<void()> body) : impl_(std::make_unique<Impl>()) {
    impl_->thread = std::thread([name = std::move(name), body = std::move(body)] {
        pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());  // the kernel keeps 15
        body();
    });
}

Thread::~Thread() {
    join();
}

Thread::Thread(Thread&&) noexcept = default;

Thread& Thread::operator=(Thread&& other) noexcept {
    join();
    impl_ = std::move(other.impl_);
    return *this;
}

void Thread::join() {
    if (impl_ && impl_->thread.joinable()) impl_->thread.join();
}

struct Worker::Impl {
    std::mutex mutex;
    std::condition_variable posted;
    std::deque<std::function<void()>> jobs;
    bool stopping = false;
    Thread thread;

    void run() {
        std::unique_lock lock(mutex);
        for (;;) {
            posted.wait(lock, [&] { return stopping || !jobs.empty(); });
            if (jobs.empty()) return;
            {
                const auto job = std::move(jobs.front());
                jobs.pop_front();
                lock.unlock();
                job();
            }  // what the job captured is dropped outside the lock
            lock.lock();
        }
    }
};

Worker::Worker(std::string name) : impl_(std::make_unique<Impl>()) {
    impl_->thread = Thread(std::move(name), [impl = impl_.get()] { impl->run(); });
}

Worker::~Worker() {
    {
        const std::lock_guard lock(impl_->mutex);
        impl_->stopping = true;
    }
    impl_->posted.notify_one();
    impl_->thread.join();
}

void Worker::post(std::function<void()> job) {
    {
        const std::lock_guard lock(impl_->mutex);
        impl_->jobs.push_back(std::move(job));
    }
    impl_->posted.notify_one();
}

unsigned processor_count() {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
        return static_cast<unsigned>(std::max(1, CPU_COUNT(&allowed)));
    }
    return std::max(1U, std::thread::hardware_concurrency());  // over 1,024 processors
}

}  // namespace fastreg
