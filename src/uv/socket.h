// Descriptors with an owner, and the few socket options FastReg sets. Any thread.
#pragma once

#include <sys/socket.h>

#include <cstdint>

#include "base/endpoint.h"
#include "base/instant.h"
#include "base/result.h"

namespace fastreg::uv {

/// Closes its descriptor when it goes.
class Fd {
  public:
    Fd() = default;
    explicit Fd(int fd) : fd_(fd) {}
    ~Fd() { reset(); }
    Fd(Fd&& other) noexcept : fd_(other.release()) {}
    Fd& operator=(Fd&& other) noexcept;
    Fd(const Fd&) = delete;
    Fd& operator=(const Fd&) = delete;

    [[nodiscard]] int get() const { return fd_; }
    [[nodiscard]] explicit operator bool() const { return fd_ >= 0; }
    [[nodiscard]] int release();
    void reset();

  private:
    int fd_ = -1;
};

/// Starts a non-blocking connect to a numeric address (see uv/resolve.h for names). The socket is
/// writable when it is over.
[[nodiscard]] Result<Fd> connect_start(const Endpoint& numeric);
/// After the socket became writable: whether the connect worked.
[[nodiscard]] Status connect_result(int fd, const Endpoint& to);

/// TCP_NODELAY, and TCP_CONGESTION=reno when the peer is on loopback (BBR, a common default, costs up
/// to 2x there; real networks are left alone). Failures are ignored: both only cost time.
void tune_stream(int fd);
/// The connection breaks when sent bytes stay unacknowledged this long.
void set_user_timeout(int fd, Duration span);
/// Closing sends a reset and drops what is unsent.
void set_abortive_close(int fd);

/// The other end; an IPv4 address mapped into IPv6 is printed as IPv4. Empty for a unix socket.
[[nodiscard]] Endpoint peer_of(int fd);
[[nodiscard]] Endpoint local_of(int fd);
/// 127.0.0.0/8 or ::1.
[[nodiscard]] bool is_loopback(const Endpoint& address);
/// True for an IPv4 or IPv6 address, false for a name.
[[nodiscard]] bool is_numeric(const Endpoint& address);

/// A numeric endpoint as the kernel wants it.
struct SocketAddress {
    sockaddr_storage storage{};
    socklen_t size = 0;
};
[[nodiscard]] Result<SocketAddress> to_socket_address(const Endpoint& numeric);
[[nodiscard]] Endpoint to_endpoint(const sockaddr* address);

}  // namespace fastreg::uv
