// A listening socket, TCP or unix. Loop's thread only (open() included). Accepted descriptors are
// non-blocking and close-on-exec; hand them to another loop with post() if they shall live there.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/endpoint.h"
#include "base/result.h"
#include "uv/socket.h"

namespace fastreg::uv {

class Loop;

class Listener {
  public:
    /// `peer` is empty for a unix socket.
    using OnAccepted = std::function<void(Fd connection, Endpoint peer)>;

    struct Options {
        int backlog = 1024;
        /// Said in errors, so that the reader knows what to change: "--http-listen".
        std::string flag;
    };

    /// A numeric address; "::" takes IPv4 too (IPv4 alone where the machine has no IPv6); port 0 means
    /// any free port. "In use", "not an address of this machine" and "a port below 1024" are said in
    /// words that tell what to do.
    [[nodiscard]] static Result<Listener> tcp(Loop& loop, const Endpoint& address, Options options,
                                              OnAccepted on_accepted);
    /// Mode 0660. A socket file nobody listens on is replaced; one that answers is an error, and so is a
    /// file of another kind. The file is removed when the listener goes.
    [[nodiscard]] static Result<Listener> unix_socket(Loop& loop, const std::string& path,
                                                      OnAccepted on_accepted);

    Listener() = default;  // listens on nothing

    /// With the real port.
    [[nodiscard]] Endpoint address() const;
    [[nodiscard]] std::uint16_t port() const { return address().port; }
    /// Stops accepting and closes the socket. Twice is harmless.
    void close();
    [[nodiscard]] explicit operator bool() const { return state_ != nullptr; }

  private:
    struct State;
    struct Close {
        void operator()(State* state) const;
    };
    explicit Listener(State* state) : state_(state) {}
    std::unique_ptr<State, Close> state_;
};

}  // namespace fastreg::uv
