#include "cli/admin_client.h"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "base/clock.h"
#include "http/client_response.h"

namespace fastreg::cli {
namespace {

class Socket {
  public:
    explicit Socket(int fd) : fd_(fd) {}
    Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Socket& operator=(Socket&&) = delete;
    ~Socket() {
        if (fd_ >= 0) ::close(fd_);
    }
    [[nodiscard]] int get() const { return fd_; }

  private:
    int fd_;
};

// Waits until the socket can go on or the deadline has passed.
Status wait_for(int fd, short events, Instant deadline) {
    for (;;) {
        const std::int64_t left = millis_of(deadline - monotonic_now());
        if (left <= 0) return fail(Errc::timeout, "no answer in time");
        pollfd poll_fd{fd, events, 0};
        const int ready = ::poll(&poll_fd, 1, static_cast<int>(std::min<std::int64_t>(left, 60'000)));
        if (ready > 0) return {};
        if (ready < 0 && errno != EINTR) return fail(Errc::network, "waiting for a socket", errno);
    }
}

Result<Socket> connect_to(const sockaddr* address, socklen_t length, int family, Instant deadline) {
    Socket socket(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (socket.get() < 0) return fail(Errc::network, "opening a socket", errno);
    if (::connect(socket.get(), address, length) == 0) return socket;
    // EAGAIN on a unix socket: its queue of waiting connections is full.
    if (errno != EINPROGRESS) return fail(Errc::network, "connecting", errno);
    FR_TRY(wait_for(socket.get(), POLLOUT, deadline));
    int reason = 0;
    socklen_t size = sizeof reason;
    if (::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &reason, &size) != 0) reason = errno;
    if (reason != 0) return fail(Errc::network, "connecting", reason);
    return socket;
}

Result<Socket> connect_unix(const std::string& path, Instant deadline) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) {
        return fail(Errc::invalid_argument, "the path is too long for a unix socket");
    }
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    return connect_to(reinterpret_cast<const sockaddr*>(&address), sizeof address, AF_UNIX, deadline);
}

Result<Socket> connect_tcp(const Endpoint& endpoint, Instant deadline) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    // "any address" of a listener is reached on this machine over loopback.
    const std::string host = endpoint.host == "::" || endpoint.host == "0.0.0.0" ? "localhost"
                                                                                 : endpoint.host;
    const int error = ::getaddrinfo(host.c_str(), std::to_string(endpoint.port).c_str(), &hints, &found);
    if (error != 0) {
        return fail(Errc::network, "looking up '" + host + "': " + ::gai_strerror(error));
    }
    const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, ::freeaddrinfo);
    Error last{Errc::network, 0, "no address"};
    for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
        auto socket = connect_to(at->ai_addr, at->ai_addrlen, at->ai_family, deadline);
        if (socket) return socket;
        last = socket.error();
    }
    return tl::unexpected<Error>(std::move(last));
}

Status send_all(int fd, std::string_view bytes, Instant deadline) {
    while (!bytes.empty()) {
        const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (n >= 0) {
            bytes.remove_prefix(static_cast<std::size_t>(n));
        } else if (errno == EAGAIN) {
            FR_TRY(wait_for(fd, POLLOUT, deadline));
        } else if (errno != EINTR) {
            return fail(Errc::network, "sending the question", errno);
        }
    }
    return {};
}

Result<AdminReply> read_reply(int fd, Instant deadline) {
    http::ResponseParser parser(false, kReplyBytesMax);
    std::array<std::byte, 16 * 1024> block;
    for (;;) {
        const ssize_t n = ::recv(fd, block.data(), block.size(), 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) {
            FR_TRY(wait_for(fd, POLLIN, deadline));
            continue;
        }
        if (n < 0) return fail(Errc::network, "reading the answer", errno);
        if (n == 0) {
            if (!parser.head_done()) return fail(Errc::protocol, "the connection ended before an answer");
            FR_TRY(parser.finish());
            break;
        }
        FR_TRY_ASSIGN(const bool done,
                      parser.feed(ByteView(block).first(static_cast<std::size_t>(n))));
        if (done) break;
    }
    return AdminReply{parser.status(), parser.take_body(), std::string(parser.headers().get("Date"))};
}

}  // namespace

std::string AdminTarget::str() const { return socket_path.empty() ? address.str() : socket_path; }

AdminClient::AdminClient(AdminTarget target, Duration connect_timeout, Duration reply_timeout)
    : target_(std::move(target)),
      connect_timeout_(connect_timeout),
      reply_timeout_(reply_timeout) {}

bool AdminClient::listens() const {
    const Instant connect_by = monotonic_now() + connect_timeout_;
    const auto socket = target_.socket_path.empty() ? connect_tcp(target_.address, connect_by)
                                                    : connect_unix(target_.socket_path, connect_by);
    if (socket) return true;
    const int reason = socket.error().os_errno;
    return reason != ECONNREFUSED && reason != ENOENT;
}

Result<AdminReply> AdminClient::ask(std::string_view method, std::string_view path,
                                    std::string_view body) const {
    const Instant connect_by = monotonic_now() + connect_timeout_;
    auto socket = target_.socket_path.empty() ? connect_tcp(target_.address, connect_by)
                                              : connect_unix(target_.socket_path, connect_by);
    if (!socket) {
        const std::string advice =
            socket.error().os_errno == EACCES
                ? "; run this as the user or in the group of the node"
            : target_.socket_path.empty()
                ? "; is it running, with that address as its admin.listen?"
                : "; is it running? --data-dir DIR or --admin ADDR:PORT names another node";
        return fail(Errc::unavailable,
                    "no node answers at " + target_.str() + " (" + describe(socket.error()) + ")" + advice);
    }
    const Instant reply_by = monotonic_now() + reply_timeout_;
    http::Headers headers;
    if (!body.empty()) headers.add("Content-Type", "application/json");
    const std::string request = http::make_request(method, path, "fastreg", headers, body);
    auto reply = [&]() -> Result<AdminReply> {
        FR_TRY(send_all(socket->get(), request, reply_by));
        return read_reply(socket->get(), reply_by);
    }();
    // A port of the mesh ends the connection, another program's speaks something else.
    if (!reply && reply.error().code == Errc::protocol && target_.socket_path.empty()) {
        return fail(Errc::unavailable, target_.str() + " is not an admin listener (" + describe(reply.error()) +
                                           "); name the node's admin.listen, or --data-dir DIR on its machine");
    }
    if (!reply) {
        return fail(reply.error().code, "asking the node at " + target_.str() + " for " +
                                            std::string(path) + ": " + describe(reply.error()));
    }
    return reply;
}

}  // namespace fastreg::cli
