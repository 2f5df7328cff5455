// A blocking HTTP client of few words, and a server on real sockets to talk to.
#pragma once

#include <doctest/doctest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/client_response.h"
#include "node/http_server.h"

namespace fastreg::node {

class HttpClient {
  public:
    explicit HttpClient(std::uint16_t port) {
        fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = htons(port);
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        REQUIRE(::connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0);
    }
    explicit HttpClient(const std::string& path) {
        fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_un to{};
        to.sun_family = AF_UNIX;
        path.copy(to.sun_path, sizeof to.sun_path - 1);
        REQUIRE(::connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0);
    }
    ~HttpClient() { close(); }
    HttpClient(const HttpClient&) = delete;
    HttpClient& operator=(const HttpClient&) = delete;

    void close() {
        if (fd_ >= 0) ::close(fd_);
        fd_ = -1;
    }
    /// Ends with a reset, as a client does that has bytes unread.
    void reset() {
        const linger now{1, 0};
        ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        close();
    }
    void close_sending() const { ::shutdown(fd_, SHUT_WR); }

    // False when the server closed.
    bool send(std::string_view text) const {
        while (!text.empty()) {
            const ssize_t n = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
            if (n <= 0) return false;
            text.remove_prefix(static_cast<std::size_t>(n));
        }
        return true;
    }
    // As much as the socket takes without waiting longer than `ms` for room.
    std::size_t send_some(std::string_view text, int ms) const {
        std::size_t sent = 0;
        while (sent < text.size() && wait(POLLOUT, ms)) {
            const ssize_t n =
                ::send(fd_, text.data() + sent, text.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (n <= 0) break;
            sent += static_cast<std::size_t>(n);
        }
        return sent;
    }

    // The next bytes; empty at the end of the stream, nothing when none come for `ms`.
    std::optional<std::string> read(int ms = 5000) const {
        if (!wait(POLLIN, ms)) return std::nullopt;
        std::string buffer(65536, '\0');
        const ssize_t n = ::recv(fd_, buffer.data(), buffer.size(), 0);
        buffer.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
        return buffer;
    }
    // Everything up to the end of the stream.
    std::string read_all(int ms = 5000) {
        std::string all = std::exchange(left_, {});
        while (const auto more = read(ms)) {
            if (more->empty()) return all;
            all += *more;
        }
        return all + "<no end>";
    }
    [[nodiscard]] bool at_end(int ms = 5000) const {
        const auto more = read(ms);
        return more && more->empty();
    }

    struct Answer {
        int status = 0;
        std::string body;
        http::Headers headers;
        bool whole = false;
    };
    // One answer; what follows it stays for the next call.
    Answer answer(bool to_head = false, int ms = 5000) {
        http::ResponseParser parser(to_head, 1U << 30U);
        while (true) {
            // Byte by byte only for what was read too much: the parser does not tell where it
            // stopped.
            for (std::size_t i = 0; i < left_.size(); ++i) {
                const auto done = parser.feed(as_bytes(left_).subspan(i, 1));
                REQUIRE(done);
                if (*done) {
                    left_.erase(0, i + 1);
                    return {parser.status(), parser.take_body(), parser.headers(), true};
                }
            }
            left_.clear();
            const auto more = read(ms);
            if (!more || more->empty()) {
                return {parser.status(), parser.take_body(), parser.headers(), false};
            }
            left_ = *more;
        }
    }
    Answer ask(std::string_view text, bool to_head = false) {
        (void)send(text);
        return answer(to_head);
    }
    // A large body, without looking at each byte.
    std::string read_body(std::size_t size, int ms = 5000) {
        std::string all = std::exchange(left_, {});
        while (all.find("\r\n\r\n") == std::string::npos) {
            const auto more = read(ms);
            if (!more || more->empty()) return all;
            all += *more;
        }
        all.erase(0, all.find("\r\n\r\n") + 4);
        while (all.size() < size) {
            const auto more = read(ms);
            if (!more || more->empty()) return all;
            all += *more;
        }
        return all;
    }

  private:
    [[nodiscard]] bool wait(short events, int ms) const {
        pollfd watched{fd_, events, 0};
        return ::poll(&watched, 1, ms) == 1;
    }

    int fd_ = -1;
    std::string left_;
};

// A value set on one thread and waited for on another.
template <class T>
class Promise {
  public:
    void set(T value) {
        const std::lock_guard lock(mutex_);
        value_ = std::move(value);
        changed_.notify_all();
    }
    std::optional<T> wait(std::chrono::milliseconds span = std::chrono::seconds(5)) {
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, span, [&] { return value_.has_value(); });
        return value_;
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::optional<T> value_;
};

using Handle = std::function<void(std::shared_ptr<Exchange>)>;

class Served final : private HttpHandler {
  public:
    explicit Served(Handle handle, HttpOptions options = {}, std::size_t threads = 2)
        : handle_(std::move(handle)), meters(metrics, "test") {
        for (std::size_t i = 0; i < threads; ++i) {
            threads_.push_back(std::make_unique<uv::LoopThread>("io-" + std::to_string(i)));
        }
        std::vector<uv::LoopThread*> io;
        for (const auto& thread : threads_) io.push_back(thread.get());
        HttpHandler& handler = *this;
        server = std::make_unique<HttpServer>(io, options, handler, meters);
        const Status status = server->listen({"127.0.0.1", 0}, "--http-listen");
        REQUIRE_MESSAGE(status, (status ? "" : status.error().what));
    }
    ~Served() override { server.reset(); }
    [[nodiscard]] std::uint16_t port() const { return server->address().port; }
    // Waits until so many connections are left.
    [[nodiscard]] bool settles_at(std::size_t connections) const {
        for (int i = 0; i < 500; ++i) {
            if (server->connections() == connections) return true;
            ::usleep(10'000);
        }
        return false;
    }

  private:
    void on_request(std::shared_ptr<Exchange> exchange) override { handle_(std::move(exchange)); }
    Handle handle_;
    std::vector<std::unique_ptr<uv::LoopThread>> threads_;

  public:
    Metrics metrics;
    HttpMeters meters;
    std::unique_ptr<HttpServer> server;
};

// Bytes that tell their place.
inline std::string pattern(std::size_t size, std::size_t from = 0) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i) {
        const std::size_t at = from + i;
        text[i] = static_cast<char>((at * 2654435761U) >> 11U);
    }
    return text;
}

inline http::ResponseHead ok_head() {
    http::ResponseHead head;
    head.status = 200;
    return head;
}

}  // namespace fastreg::node
