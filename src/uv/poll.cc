#include "uv/poll.h"

#include <sys/socket.h>

#include <string>

#include "uv/bell.h"
#include "uv/handle.h"
#include "uv/loop.h"

namespace fastreg::uv {

struct Poll::State {
    uv_poll_t handle{};
    PollHandler* handler = nullptr;
    int fd = -1;
    int watched = 0;
    bool closed = false;

    void on_events(int status, int events) {
        if (closed) return;
        const Turn turn;
        if (status < 0) {
            watched = 0;  // libuv has stopped watching
            int error = 0;
            socklen_t size = sizeof error;
            if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
            return handler->on_poll_error(error != 0 ? error : -status);
        }
        if ((events & UV_READABLE) != 0 && (watched & UV_READABLE) != 0) handler->on_readable();
        if (closed) return;
        if ((events & UV_WRITABLE) != 0 && (watched & UV_WRITABLE) != 0) handler->on_writable();
    }
};

void Poll::Close::operator()(State* state) const { close_and_delete(state); }

Result<Poll> Poll::open(Loop& loop, int fd, PollHandler& handler) {
    auto state = std::make_unique<State>();
    const int rc = uv_poll_init(loop.raw(), &state->handle, fd);
    if (rc != 0) {
        return fail(Errc::network, "cannot watch descriptor " + std::to_string(fd) + " for events",
                    -rc);
    }
    state->handle.data = state.get();
    state->handler = &handler;
    state->fd = fd;
    Poll poll;
    poll.state_.reset(state.release());
    return poll;
}

void Poll::watch(bool readable, bool writable) {
    if (!state_) return;
    const int events = (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0);
    if (events == state_->watched) return;
    state_->watched = events;
    if (events == 0) {
        uv_poll_stop(&state_->handle);
        return;
    }
    uv_poll_start(&state_->handle, events, [](uv_poll_t* handle, int status, int fired) noexcept {
        static_cast<State*>(handle->data)->on_events(status, fired);
    });
}

bool Poll::reading() const { return state_ && (state_->watched & UV_READABLE) != 0; }

bool Poll::writing() const { return state_ && (state_->watched & UV_WRITABLE) != 0; }

void Poll::close() { state_.reset(); }

}  // namespace fastreg::uv
