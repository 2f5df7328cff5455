#include "uv/loop.h"

#include <atomic>

#include "base/clock.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "uv/bell.h"
#include "uv/handle.h"

namespace fastreg::uv {

namespace {

constexpr std::uint64_t kCloseWaitMs = 2000;
/// Others are woken at least after so many jobs of a long queue.
constexpr std::size_t kJobsATurn = 32;
thread_local const void* running_loop = nullptr;

}  // namespace

struct Loop::State {
    State() : bell(std::make_shared<const Bell>()) {
        FR_ASSERT(uv_loop_init(&loop) == 0);
        FR_ASSERT(uv_poll_init(&loop, &wake, bell->fd()) == 0);
        wake.data = this;
        const auto heard = [](uv_poll_t* handle, int, int) noexcept {
            static_cast<State*>(handle->data)->drain();
        };
        FR_ASSERT(uv_poll_start(&wake, UV_READABLE, heard) == 0);
        mailbox.set_wake([this] { Turn::ring_soon(bell); });
    }

    void drain() {
        const Turn turn;
        bell->hear();  // before the jobs are taken: what is posted later rings again
        std::size_t done = 0;
        for (const Job& job : mailbox.take()) {
            job();
            if (++done % kJobsATurn == 0) Turn::ring_owed();
        }
        if (stopping.exchange(false)) uv_stop(&loop);
    }

    // Not uv_async_t: libuv 1.44 makes the woken thread spin (997 pauses, then sched_yield) until the
    // waking one has returned from its write.
    const std::shared_ptr<const Bell> bell;
    uv_loop_t loop{};
    uv_poll_t wake{};
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
    state_->bell->ring();
}

Instant Loop::now() const { return monotonic_now(); }

void Loop::post(Job job) { state_->mailbox.post(std::move(job)); }

bool Loop::on_this_thread() const { return running_loop == this; }

uv_loop_s* Loop::raw() { return &state_->loop; }

}  // namespace fastreg::uv
