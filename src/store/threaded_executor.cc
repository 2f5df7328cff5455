#include "store/threaded_executor.h"

#include <algorithm>
#include <string>
#include <utility>

namespace fastreg::store {

ThreadedExecutor::ThreadedExecutor(unsigned disk_workers,
                                   std::function<void(std::function<void()>)> post_to_loop)
    : post_to_loop_(std::move(post_to_loop)) {
    for (unsigned i = 0; i < std::max(disk_workers, 1U); ++i) {
        disk_.push_back(std::make_unique<Worker>("disk" + std::to_string(i)));
    }
    index_ = std::make_unique<Worker>("index");
}

void ThreadedExecutor::disk(std::uint64_t lane_key,
                            std::function<void()> job,
                            std::function<void()> then) {
    // Neighbouring keys are common (chunk numbers), and so are keys that share low bits.
    const std::uint64_t mixed = lane_key * 0x9E3779B97F4A7C15ULL;
    run(*disk_[(mixed >> 32U) % disk_.size()], std::move(job), std::move(then));
}

void ThreadedExecutor::index(std::function<void()> job, std::function<void()> then) {
    run(*index_, std::move(job), std::move(then));
}

void ThreadedExecutor::run(Worker& worker,
                           std::function<void()> job,
                           std::function<void()> then) {
    worker.post([this, job = std::move(job), then = std::move(then)]() mutable {
        job();
        job = nullptr;  // what it captured is dropped here, not on the loop
        post_to_loop_(std::move(then));
    });
}

}  // namespace fastreg::store
