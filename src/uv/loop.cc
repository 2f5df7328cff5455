#include "uv/loop.h"

#include <atomic>

#include "base/clock.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "uv/handle.h"

namespace fastreg::uv {

namespace {

constexpr std::uint64_t kCloseWaitMs = 2000;
thread_local const void* running_loop = nullptr;

}  // namespace

struct Loop::State {
    State() {
        FR_ASSERT(uv_loop_init(&loop) == 0);
        FR_ASSERT(uv_async_init(&loop, &wake, [](uv_async_t* handle) noexcept {
                      static_cast<State*>(handle->data)->drain();
                  }) == 0);
        wake.data = this;
        mailbox.set_wake([this] { uv_async_send(&wake); });
    }

    void drain() {
        for (const Job& job : mailbox.take()) job();
        if (stopping.exchange(false)) uv_stop(&loop);
    }

    uv_loop_t loop{};
    uv_async_t wake{};
    Mailbox<Job> mailbox;
    std::atomic<bool> stopping{false};
};

Loop::Loop() : state_(std::make_unique<State>()) {}

Loop::~Loop() {
    running_loop = this;
    while (!state_->mailbox.take().empty()) {
    }
    uv_close(as_handle(&state_->wake), nullptr);
    uv_timer_t limit{};
    uv_timer_init(&state_->loop, &limit);
    uv_unref(as_handle(&limit));
    uv_timer_start(
        &limit, [](uv_timer_t* timer) noexcept { uv_stop(timer->loop); }, kCloseWaitMs, 0);
    uv_run(&state_->loop, UV_RUN_DEFAULT);
    uv_close(as_handle(&limit), nullptr);
    uv_run(&state_->loop, UV_RUN_NOWAIT);
    running_loop = nullptr;
    if (uv_loop_close(&state_->loop) != 0) {
        // A look-up that hangs in libuv's pool, or a handle that outlived its loop, still points here.
        log::warn("loop.left_open", {{"why", "something on the loop did not end within 2 s"}});
        (void)state_.release();
    }
}

void Loop::run() {
    const void* outer = std::exchange(running_loop, this);
    uv_run(&state_->loop, UV_RUN_DEFAULT);
    running_loop = outer;
}

void Loop::run_once(bool wait) {
    const void* outer = std::exchange(running_loop, this);
    uv_run(&state_->loop, wait ? UV_RUN_ONCE : UV_RUN_NOWAIT);
    running_loop = outer;
}

void Loop::stop() {
    state_->stopping.store(true);
    uv_async_send(&state_->wake);
}

Instant Loop::now() const { return monotonic_now(); }

void Loop::post(Job job) { state_->mailbox.post(std::move(job)); }

bool Loop::on_this_thread() const { return running_loop == this; }

uv_loop_s* Loop::raw() { return &state_->loop; }

}  // namespace fastreg::uv
