#include "uv/signal.h"

#include <csignal>

#include "uv/handle.h"
#include "uv/loop.h"

namespace fastreg::uv {

struct Signal::State {
    uv_signal_t handle{};
    std::function<void()> on_raised;
    bool closed = false;
};

void Signal::Close::operator()(State* state) const { close_and_delete(state); }

Signal::Signal(Loop& loop, int number, std::function<void()> on_raised) : state_(new State) {
    FR_ASSERT(uv_signal_init(loop.raw(), &state_->handle) == 0);
    state_->handle.data = state_.get();
    state_->on_raised = std::move(on_raised);
    const int rc = uv_signal_start(
        &state_->handle,
        [](uv_signal_t* handle, int) noexcept {
            auto* state = static_cast<State*>(handle->data);
            if (!state->closed) state->on_raised();
        },
        number);
    FR_ASSERT(rc == 0);
}

void ignore_broken_pipes() { std::signal(SIGPIPE, SIG_IGN); }

}  // namespace fastreg::uv
