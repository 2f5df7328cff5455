#include "uv/socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

namespace fastreg::uv {

namespace {

Endpoint name_of_socket(int fd, int (*ask)(int, sockaddr*, socklen_t*)) {
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    auto* address = reinterpret_cast<sockaddr*>(&storage);
    if (ask(fd, address, &size) != 0) return {};
    return to_endpoint(address);
}

}  // namespace

Fd& Fd::operator=(Fd&& other) noexcept {
    if (this != &other) {
        reset();
        fd_ = other.release();
    }
    return *this;
}

int Fd::release() { return std::exchange(fd_, -1); }

void Fd::reset() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

Result<SocketAddress> to_socket_address(const Endpoint& numeric) {
    SocketAddress result;
    auto* v4 = reinterpret_cast<sockaddr_in*>(&result.storage);
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&result.storage);
    if (inet_pton(AF_INET, numeric.host.c_str(), &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(numeric.port);
        result.size = sizeof *v4;
        return result;
    }
    // v4 and v6 share the storage: what inet_pton left behind is overwritten here.
    result.storage = {};
    if (inet_pton(AF_INET6, numeric.host.c_str(), &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(numeric.port);
        result.size = sizeof *v6;
        return result;
    }
    return fail(Errc::invalid_argument,
                "'" + numeric.host + "' is not an IPv4 or IPv6 address; a host name does not work here");
}

Endpoint to_endpoint(const sockaddr* address) {
    char text[INET6_ADDRSTRLEN] = {};
    if (address->sa_family == AF_INET) {
        const auto* v4 = reinterpret_cast<const sockaddr_in*>(address);
        inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
        return {text, ntohs(v4->sin_port)};
    }
    if (address->sa_family == AF_INET6) {
        const auto* v6 = reinterpret_cast<const sockaddr_in6*>(address);
        if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
            inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], text, sizeof text);
        } else {
            inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
        }
        return {text, ntohs(v6->sin6_port)};
    }
    return {};
}

Result<Fd> connect_start(const Endpoint& numeric) {
    FR_TRY_ASSIGN(const SocketAddress address, to_socket_address(numeric));
    Fd fd(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) {
        const int error = errno;
        const bool out_of_fds = error == EMFILE || error == ENFILE;
        return fail(Errc::network,
                    "cannot make a socket to reach " + numeric.str() +
                        (out_of_fds ? "; raise the limit of open files (ulimit -n)" : ""),
                    error);
    }
    const auto* raw = reinterpret_cast<const sockaddr*>(&address.storage);
    if (::connect(fd.get(), raw, address.size) != 0 && errno != EINPROGRESS) {
        return fail(Errc::network, "cannot connect to " + numeric.str(), errno);
    }
    return fd;
}

Status connect_result(int fd, const Endpoint& to) {
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
    if (error != 0) return fail(Errc::network, "cannot connect to " + to.str(), error);
    return {};
}

void tune_stream(int fd) {
    const int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (is_loopback(peer_of(fd))) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
    }
}

void set_user_timeout(int fd, Duration span) {
    const auto ms = static_cast<unsigned>(millis_of(span));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);
}

void set_abortive_close(int fd) {
    const linger now{1, 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

Endpoint peer_of(int fd) {
    return name_of_socket(fd, [](int s, sockaddr* a, socklen_t* n) { return ::getpeername(s, a, n); });
}

Endpoint local_of(int fd) {
    return name_of_socket(fd, [](int s, sockaddr* a, socklen_t* n) { return ::getsockname(s, a, n); });
}

bool is_loopback(const Endpoint& address) {
    return address.host == "::1" || (address.host.starts_with("127.") && is_numeric(address));
}

bool is_numeric(const Endpoint& address) { return to_socket_address(address).has_value(); }

}  // namespace fastreg::uv
