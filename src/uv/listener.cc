#include "uv/listener.h"

#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/log.h"
#include "base/rare_line.h"
#include "uv/handle.h"
#include "uv/loop.h"
#include "uv/poll.h"
#include "uv/timer.h"

namespace fastreg::uv {

namespace {

constexpr Duration kPause = 100ms;
/// One turn of the loop takes at most this many, so that open connections are served in between.
constexpr int kAcceptBatch = 64;

std::string hint(int os_errno, const Endpoint& address, const std::string& flag) {
    const std::string change = flag.empty() ? "choose another address" : "choose another with " + flag;
    switch (os_errno) {
        case EADDRINUSE:
            return "; another program uses port " + std::to_string(address.port) +
                   " (ss -ltnp shows which): stop it, or " + change;
        case EADDRNOTAVAIL: return "; no interface of this machine has that address: " + change;
        case EACCES: return "; a port below 1024 needs CAP_NET_BIND_SERVICE or root: " + change;
        default: return {};
    }
}

Result<Fd> bind_tcp(const Endpoint& address, const Listener::Options& options) {
    FR_TRY_ASSIGN(const SocketAddress where, to_socket_address(address));
    const std::string doing =
        "cannot listen on " + address.str() + (options.flag.empty() ? "" : " (" + options.flag + ")");
    Fd fd(::socket(where.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) return fail(Errc::network, doing, errno);
    const int on = 1;
    const int off = 0;
    (void)setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (where.storage.ss_family == AF_INET6) {
        (void)setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    }
    const auto* raw = reinterpret_cast<const sockaddr*>(&where.storage);
    if (::bind(fd.get(), raw, where.size) != 0 || ::listen(fd.get(), options.backlog) != 0) {
        const int error = errno;
        const Errc code = error == EADDRINUSE ? Errc::already_exists
                          : error == EACCES   ? Errc::permission_denied
                                              : Errc::network;
        return fail(code, doing + hint(error, address, options.flag), error);
    }
    return fd;
}

/// True when somebody answers on the socket file.
bool answers(const sockaddr_un& where) {
    const Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    const auto* raw = reinterpret_cast<const sockaddr*>(&where);
    return ::connect(probe.get(), raw, sizeof where) == 0 || errno == EAGAIN;
}

Result<Fd> bind_unix(const std::string& path) {
    const std::string doing = "cannot listen on the socket file " + path;
    sockaddr_un where{};
    where.sun_family = AF_UNIX;
    if (path.size() >= sizeof where.sun_path) {
        return fail(Errc::invalid_argument,
                    doing + "; the system takes at most " + std::to_string(sizeof where.sun_path - 1) +
                        " characters: choose a shorter directory");
    }
    std::memcpy(where.sun_path, path.data(), path.size());
    struct stat found {};
    if (::lstat(path.c_str(), &found) == 0) {
        if (!S_ISSOCK(found.st_mode)) {
            return fail(Errc::already_exists, doing + "; a file of another kind is there: remove it");
        }
        if (answers(where)) {
            return fail(Errc::already_exists, doing + "; another program serves it: stop it first");
        }
        ::unlink(path.c_str());
    }
    Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) return fail(Errc::network, doing, errno);
    // The mode of the descriptor becomes the mode of the file: no moment with a wider one.
    (void)::fchmod(fd.get(), 0660);
    const auto* raw = reinterpret_cast<const sockaddr*>(&where);
    if (::bind(fd.get(), raw, sizeof where) != 0) {
        const int error = errno;
        return fail(error == EACCES ? Errc::permission_denied : Errc::network, doing, error);
    }
    (void)::chmod(path.c_str(), 0660);
    if (::listen(fd.get(), 128) != 0) return fail(Errc::network, doing, errno);
    return fd;
}

}  // namespace

struct Listener::State final : PollHandler {
    State(Loop& l, Fd socket, OnAccepted handler)
        : loop(l),
          fd(std::move(socket)),
          on_accepted(std::make_shared<OnAccepted>(std::move(handler))),
          resume(loop, [this] { poll.watch(true, false); }),
          alive(std::make_shared<bool>(true)) {}
    ~State() override {
        *alive = false;
        poll.close();
        if (!path.empty()) ::unlink(path.c_str());
    }

    void on_readable() override {
        // on_accepted may close the listener: what it stands on must outlive the call.
        const std::shared_ptr<bool> still = alive;
        const std::shared_ptr<OnAccepted> accepted = on_accepted;
        for (int i = 0; i < kAcceptBatch; ++i) {
            Fd connection(::accept4(fd.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
            if (!connection) {
                if (errno == EINTR || errno == ECONNABORTED) continue;
                if (errno != EAGAIN && errno != EWOULDBLOCK) pause(errno);
                return;
            }
            Endpoint peer = peer_of(connection.get());
            (*accepted)(std::move(connection), std::move(peer));
            if (!*still) return;
        }
    }
    void on_writable() override {}
    void on_poll_error(int os_errno) override { pause(os_errno); }

    /// No descriptor or memory left: the connection stays in the backlog, and asking again at once
    /// would only spin.
    void pause(int os_errno) {
        poll.watch(false, false);
        resume.set(kPause);
        const auto unsaid = paused.pass(loop.now());
        if (!unsaid) return;
        log::warn("listener.paused",
                  {{"listen", path.empty() ? address.str() : path},
                   {"ms", millis_of(kPause)},
                   {"why", std::strerror(os_errno)},
                   {"repeats", *unsaid},
                   {"do", "raise the limit of open files (ulimit -n, LimitNOFILE)"}});
    }

    Loop& loop;
    Fd fd;
    std::shared_ptr<OnAccepted> on_accepted;
    Endpoint address;
    std::string path;
    Timer resume;
    RareLine paused;
    Poll poll;
    std::shared_ptr<bool> alive;
};

void Listener::Close::operator()(State* state) const { delete state; }

Result<Listener> Listener::tcp(Loop& loop, const Endpoint& address, Options options,
                               OnAccepted on_accepted) {
    auto fd = bind_tcp(address, options);
    if (!fd && fd.error().os_errno == EAFNOSUPPORT && address.host == "::") {
        fd = bind_tcp({"0.0.0.0", address.port}, options);
    }
    if (!fd) return tl::unexpected(std::move(fd).error());
    Listener listener(new State(loop, *std::move(fd), std::move(on_accepted)));
    State& state = *listener.state_;
    state.address = {address.host, local_of(state.fd.get()).port};
    FR_TRY_ASSIGN(state.poll, Poll::open(loop, state.fd.get(), state));
    state.poll.watch(true, false);
    return listener;
}

Result<Listener> Listener::unix_socket(Loop& loop, const std::string& path, OnAccepted on_accepted) {
    FR_TRY_ASSIGN(Fd fd, bind_unix(path));
    Listener listener(new State(loop, std::move(fd), std::move(on_accepted)));
    State& state = *listener.state_;
    state.path = path;
    FR_TRY_ASSIGN(state.poll, Poll::open(loop, state.fd.get(), state));
    state.poll.watch(true, false);
    return listener;
}

Endpoint Listener::address() const { return state_ ? state_->address : Endpoint{}; }

void Listener::close() { state_.reset(); }

}  // namespace fastreg::uv
