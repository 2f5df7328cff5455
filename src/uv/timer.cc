#include "uv/timer.h"

#include "base/clock.h"
#include "uv/handle.h"
#include "uv/loop.h"

namespace fastreg::uv {

struct Timer::State {
    uv_timer_t handle{};
    std::function<void()> on_fired;
    bool closed = false;
};

void Timer::Close::operator()(State* state) const { close_and_delete(state); }

Timer::Timer(Loop& loop, std::function<void()> on_fired) : state_(new State) {
    uv_timer_init(loop.raw(), &state_->handle);
    state_->handle.data = state_.get();
    state_->on_fired = std::move(on_fired);
}

void Timer::set(Instant at) {
    if (at == Instant::never()) return cancel();
    set(at - monotonic_now());
}

void Timer::set(Duration from_now) {
    // libuv counts in milliseconds from its own idea of now, which is older than ours.
    constexpr std::int64_t kMillisecond = 1'000'000;
    const std::int64_t ns = std::max<std::int64_t>(from_now.count(), 0);
    uv_update_time(state_->handle.loop);
    const auto ms = static_cast<std::uint64_t>(ns / kMillisecond + (ns % kMillisecond != 0 ? 1 : 0));
    uv_timer_start(
        &state_->handle,
        [](uv_timer_t* timer) noexcept {
            auto* state = static_cast<State*>(timer->data);
            if (!state->closed) state->on_fired();
        },
        ms, 0);
}

void Timer::cancel() { uv_timer_stop(&state_->handle); }

bool Timer::is_set() const { return uv_is_active(as_handle(&state_->handle)) != 0; }

}  // namespace fastreg::uv
