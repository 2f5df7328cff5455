// The least work that moving a blob can cost, to hold FastReg's processor time against (bench/floor):
//   floor receive FILE OUT   a forked sendfile loop sends FILE over loopback; recv into 256 KiB blocks,
//                            pwrite to OUT, one SHA-256. Prints both processes' seconds of CPU.
//   floor hash FILE PARTS    reads FILE in PARTS parts at once, and hashes each. Prints bytes and seconds.
//   floor send FILE          answers one HTTP request on 127.0.0.1 with FILE by a sendfile loop. Prints the
//                            port first, then its seconds of CPU.
// A program of its own: it shares no code with FastReg, and stops at the first error.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

constexpr std::size_t kBlock = 256U << 10U;
constexpr std::size_t kBlocks = 64;  // reused round and round, as a pool is
constexpr std::size_t kSlice = 1U << 20U;

template <class T>
T need(T value, const char* what) {
    if (value < 0) {
        std::perror(what);
        std::exit(1);
    }
    return value;
}

double cpu_seconds() {
    rusage used{};
    need(getrusage(RUSAGE_SELF, &used), "getrusage");
    const auto seconds = [](const timeval& t) {
        return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
    };
    return seconds(used.ru_utime) + seconds(used.ru_stime);
}

int listener(std::uint16_t& port) {
    const int fd = need(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    // The sockets interface takes every kind of address through this cast.
    auto* any = reinterpret_cast<sockaddr*>(&at);
    need(bind(fd, any, size), "bind");
    need(listen(fd, 1), "listen");
    need(getsockname(fd, any, &size), "getsockname");
    port = ntohs(at.sin_port);
    return fd;
}

void speak_reno(int fd) {
    need(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4), "TCP_CONGESTION");
    const int on = 1;
    need(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "TCP_NODELAY");
}

void send_file(int to, int file, std::size_t size) {
    off_t at = 0;
    while (static_cast<std::size_t>(at) < size) {
        const auto left = size - static_cast<std::size_t>(at);
        if (need(sendfile(to, file, &at, left < kSlice ? left : kSlice), "sendfile") == 0) std::exit(1);
    }
}

std::size_t size_of(int file) {
    struct stat found {};
    need(fstat(file, &found), "fstat");
    return static_cast<std::size_t>(found.st_size);
}

int receive(const char* path, const char* out_path) {
    const int file = need(open(path, O_RDONLY | O_CLOEXEC), path);
    const std::size_t size = size_of(file);
    std::uint16_t port = 0;
    const int door = listener(port);
    std::array<int, 2> tell{};
    need(pipe(tell.data()), "pipe");
    const pid_t sender = need(fork(), "fork");
    if (sender == 0) {
        const int to = need(accept(door, nullptr, nullptr), "accept");
        speak_reno(to);
        send_file(to, file, size);
        const double used = cpu_seconds();
        need(write(tell[1], &used, sizeof used), "write");
        _exit(0);
    }
    const int out = need(open(out_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), out_path);
    need(ftruncate(out, static_cast<off_t>(size)), "ftruncate");
    std::vector<char> blocks(kBlock * kBlocks, 1);  // touched: a pool is, too
    const int from = need(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    at.sin_port = htons(port);
    const double before = cpu_seconds();
    need(connect(from, reinterpret_cast<const sockaddr*>(&at), sizeof at), "connect");
    EVP_MD_CTX* hash = EVP_MD_CTX_new();
    EVP_DigestInit_ex(hash, EVP_sha256(), nullptr);
    std::size_t done = 0;
    for (std::size_t number = 0; done < size; ++number) {
        char* block = blocks.data() + (number % kBlocks) * kBlock;
        std::size_t filled = 0;
        const std::size_t wanted = size - done < kBlock ? size - done : kBlock;
        while (filled < wanted) {
            const auto got = need(recv(from, block + filled, wanted - filled, 0), "recv");
            if (got == 0) return 1;
            filled += static_cast<std::size_t>(got);
        }
        need(pwrite(out, block, filled, static_cast<off_t>(done)), "pwrite");
        EVP_DigestUpdate(hash, block, filled);
        done += filled;
    }
    std::array<unsigned char, 32> digest{};
    EVP_DigestFinal_ex(hash, digest.data(), nullptr);
    const double used = cpu_seconds() - before;
    EVP_MD_CTX_free(hash);
    double sender_used = 0;
    need(read(tell[0], &sender_used, sizeof sender_used), "read");
    need(waitpid(sender, nullptr, 0), "waitpid");
    std::string hex;
    for (const unsigned byte : digest) {
        hex += "0123456789abcdef"[byte >> 4U];
        hex += "0123456789abcdef"[byte & 15U];
    }
    std::printf("{\"receiver_cpu\": %.6f, \"sender_cpu\": %.6f, \"sha256\": \"%s\"}\n", used, sender_used,
                hex.c_str());
    return 0;
}

int hash(const char* path, std::size_t parts) {
    const int file = need(open(path, O_RDONLY | O_CLOEXEC), path);
    const std::size_t size = size_of(file);
    const auto begin = std::chrono::steady_clock::now();
    std::vector<std::thread> threads;
    for (std::size_t part = 0; part < parts; ++part) {
        threads.emplace_back([=] {
            std::vector<char> block(kBlock, 1);
            EVP_MD_CTX* context = EVP_MD_CTX_new();
            EVP_DigestInit_ex(context, EVP_sha256(), nullptr);
            const std::size_t end = size / parts * (part + 1);
            for (std::size_t at = size / parts * part; at < end;) {
                const auto room = std::min(kBlock, end - at);
                const auto got = need(pread(file, block.data(), room, static_cast<off_t>(at)), path);
                if (got == 0) std::exit(1);
                EVP_DigestUpdate(context, block.data(), static_cast<std::size_t>(got));
                at += static_cast<std::size_t>(got);
            }
            EVP_MD_CTX_free(context);
        });
    }
    for (std::thread& thread : threads) thread.join();
    const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    std::printf("{\"bytes\": %zu, \"seconds\": %.6f}\n", size / parts * parts, took);
    return 0;
}

int send(const char* path) {
    const int file = need(open(path, O_RDONLY | O_CLOEXEC), path);
    const std::size_t size = size_of(file);
    std::uint16_t port = 0;
    const int door = listener(port);
    std::printf("{\"port\": %u}\n", port);
    std::fflush(stdout);
    const int to = need(accept(door, nullptr, nullptr), "accept");
    speak_reno(to);
    const double before = cpu_seconds();
    std::string request;
    std::array<char, 4096> piece{};
    while (request.find("\r\n\r\n") == std::string::npos) {
        const auto got = need(recv(to, piece.data(), piece.size(), 0), "recv");
        if (got == 0) return 1;
        request.append(piece.data(), static_cast<std::size_t>(got));
    }
    const std::string head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: " +
                             std::to_string(size) + "\r\n\r\n";
    need(::send(to, head.data(), head.size(), MSG_MORE), "send");
    send_file(to, file, size);
    std::printf("{\"sender_cpu\": %.6f}\n", cpu_seconds() - before);
    std::fflush(stdout);
    return 0;
}

}  // namespace

int main(int count, char** words) {
    const std::string_view what = count > 1 ? words[1] : "";
    if (what == "receive" && count == 4) return receive(words[2], words[3]);
    if (what == "send" && count == 3) return send(words[2]);
    if (what == "hash" && count == 4) return hash(words[2], std::strtoull(words[3], nullptr, 10));
    std::fputs("floor receive FILE OUT | floor hash FILE PARTS | floor send FILE\n", stderr);
    return 2;
}
