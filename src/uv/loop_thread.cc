#include "uv/loop_thread.h"

#include <semaphore>

#include "base/result.h"
#include "base/worker.h"
#include "uv/bell.h"

namespace fastreg::uv {

struct LoopThread::State {
    explicit State(std::string name) : thread(std::move(name), [this] { loop.run(); }) {}
    Loop loop;
    Thread thread;
};

LoopThread::LoopThread(std::string name) : state_(std::make_unique<State>(std::move(name))) {}

LoopThread::~LoopThread() {
    state_->loop.stop();
    state_->thread.join();
}

Loop& LoopThread::loop() { return state_->loop; }

void LoopThread::post(Job job) { state_->loop.post(std::move(job)); }

void LoopThread::call(Job job) {
    FR_ASSERT(!state_->loop.on_this_thread());
    std::binary_semaphore done{0};
    state_->loop.post([&] {
        job();
        done.release();
    });
    Turn::ring_owed();  // also what this thread owes others that the job may wait for
    done.acquire();
}

}  // namespace fastreg::uv
