// For the .cc files of this room: the memory of a libuv handle outlives uv_close. A State owns its
// handle as the member `handle`, whose data points back to the State, and is deleted by libuv's close
// callback; `closed` says that no event may reach the owner any more.
#pragma once

#include <uv.h>

#include "base/result.h"

namespace fastreg::uv {

template <class Handle>
[[nodiscard]] uv_handle_t* as_handle(Handle* handle) {
    return reinterpret_cast<uv_handle_t*>(handle);
}

template <class State>
void close_and_delete(State* state) {
    state->closed = true;
    uv_close(as_handle(&state->handle), [](uv_handle_t* handle) noexcept {
        delete static_cast<State*>(handle->data);
    });
}

}  // namespace fastreg::uv
