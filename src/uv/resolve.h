// A host name as a list of addresses, asked of the system's resolver on libuv's own thread pool.
// Loop's thread only. Destroying the object cancels: no callback comes after that.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "base/endpoint.h"
#include "base/result.h"

namespace fastreg::uv {

class Loop;

class Resolve {
  public:
    using OnDone = std::function<void(Result<std::vector<Endpoint>>)>;

    Resolve() = default;  // asks nothing
    /// All A and AAAA addresses of `name.host` with `name.port`, in the system's order, each once, at
    /// most 64. A numeric host is answered too. `on_done` is called once, on a later turn of the loop;
    /// the object may be destroyed from it.
    Resolve(Loop& loop, const Endpoint& name, OnDone on_done);

    [[nodiscard]] explicit operator bool() const { return state_ != nullptr; }

  private:
    struct Request;
    struct State;
    struct Cancel {
        void operator()(State* state) const;
    };
    std::unique_ptr<State, Cancel> state_;
};

}  // namespace fastreg::uv
