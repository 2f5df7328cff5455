// What the stories of the HTTP server share: handlers that echo, requests, files, an exchange that
// is held.
#pragma once

#include <fcntl.h>

#include <atomic>
#include <filesystem>
#include <fstream>

#include "http_client.h"
#include "store/posix_fs.h"

namespace fastreg::node {

/// Answers with the path, at once.
inline void echo_path(const std::shared_ptr<Exchange>& exchange) {
    exchange->respond(ok_head(), exchange->request().path);
}

/// Answers with the whole body.
inline void echo_body(const std::shared_ptr<Exchange>& exchange) {
    exchange->read_body(64U << 20U, [exchange](Result<Bytes> body) {
        http::ResponseHead head = ok_head();
        if (!body) head.status = body.error().code == Errc::too_large ? 413 : 400;
        exchange->respond(head, body ? std::string(as_text(*body)) : body.error().what);
    });
}

inline std::string get(std::string_view path, std::string_view fields = {}) {
    return "GET " + std::string(path) + " HTTP/1.1\r\nHost: t\r\n" + std::string(fields) + "\r\n";
}

inline std::size_t open_descriptors() {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry :
         std::filesystem::directory_iterator("/proc/self/fd")) {
        ++count;
    }
    return count;
}

/// A file with `pattern`, gone at the end.
class TempFile {
  public:
    explicit TempFile(std::size_t size) : size_(size) {
        char name[] = "/tmp/fr-http-XXXXXX";
        const int fd = ::mkstemp(name);
        REQUIRE(fd >= 0);
        ::close(fd);
        path_ = name;
        std::ofstream out(path_, std::ios::binary);
        out << pattern(size);
    }
    ~TempFile() { ::unlink(path_.c_str()); }
    TempFile(const TempFile&) = delete;
    TempFile& operator=(const TempFile&) = delete;
    std::shared_ptr<store::File> open() const {
        store::PosixFs fs;
        auto file = fs.open(path_, store::OpenMode::read);
        REQUIRE(file);
        return *std::move(file);
    }
    [[nodiscard]] std::size_t size() const { return size_; }
    // Out of the page cache, where the file system can.
    void evict() const {
        const int fd = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
        ::fsync(fd);
        ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        ::close(fd);
    }

  private:
    std::string path_;
    std::size_t size_;
};

/// Keeps the exchange for the test's thread to play with.
struct Held {
    Promise<std::shared_ptr<Exchange>> exchange;
    std::atomic<int> status = -1;  // set before `done`
    Promise<bool> done;
    Handle handle() {
        return [this](std::shared_ptr<Exchange> e) {
            e->add_on_done([this](bool complete, int answered) {
                status = answered;
                done.set(complete);
            });
            exchange.set(std::move(e));
        };
    }
    // Runs on the connection's thread.
    void with(const std::function<void(Exchange&)>& action) {
        const auto e = *exchange.wait();
        e->post([e, action] { action(*e); });
    }
};

}  // namespace fastreg::node
