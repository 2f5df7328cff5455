#include "node/system.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

namespace fastreg::node {

std::uint64_t raise_file_limit() {
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
    if (limit.rlim_cur < limit.rlim_max) {
        rlimit raised = limit;
        raised.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
    }
    return limit.rlim_cur;
}

namespace {

/// The source address the kernel would use towards a host far away; nothing is sent.
std::string route_source(int family, const sockaddr* far_away, socklen_t length) {
    const int fd = ::socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return {};
    std::string host;
    sockaddr_storage own{};
    socklen_t own_length = sizeof own;
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (::connect(fd, far_away, length) == 0 &&
        ::getsockname(fd, reinterpret_cast<sockaddr*>(&own), &own_length) == 0) {
        const void* address = family == AF_INET
                                  ? static_cast<const void*>(&reinterpret_cast<sockaddr_in*>(&own)->sin_addr)
                                  : &reinterpret_cast<sockaddr_in6*>(&own)->sin6_addr;
        if (::inet_ntop(family, address, text.data(), text.size()) != nullptr) host = text.data();
    }
    ::close(fd);
    return host;
}

}  // namespace

std::string advertised_host(const std::string& configured, const std::string& listen_host) {
    if (!configured.empty()) return configured;
    if (!listen_host.empty() && listen_host != "::" && listen_host != "0.0.0.0") return listen_host;
    sockaddr_in v4{};  // TEST-NET-1 and the documentation prefix: routed by default, never by hand
    v4.sin_family = AF_INET;
    v4.sin_port = htons(9);
    ::inet_pton(AF_INET, "192.0.2.1", &v4.sin_addr);
    std::string host = route_source(AF_INET, reinterpret_cast<sockaddr*>(&v4), sizeof v4);
    if (!host.empty()) return host;
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(9);
    ::inet_pton(AF_INET6, "2001:db8::1", &v6.sin6_addr);
    host = route_source(AF_INET6, reinterpret_cast<sockaddr*>(&v6), sizeof v6);
    return host.empty() ? "127.0.0.1" : host;
}

Result<std::uint64_t> file_system_size(const std::string& path) {
    std::filesystem::path at(path);
    std::error_code ignored;
    while (!at.empty() && !std::filesystem::exists(at, ignored)) {
        if (at == at.parent_path()) break;
        at = at.parent_path();
    }
    if (at.empty()) at = ".";
    struct statvfs info {};
    if (::statvfs(at.c_str(), &info) != 0) {
        return fail(Errc::io, "asking for the size of the file system of " + path, errno);
    }
    return std::uint64_t{info.f_blocks} * info.f_frsize;
}

Status write_whole_file(const std::string& path, const std::string& text) {
    const std::string temporary = path + ".new";
    std::FILE* file = std::fopen(temporary.c_str(), "we");
    if (file == nullptr) return fail(Errc::io, "writing " + temporary, errno);
    const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
    if (std::fclose(file) != 0 || !written) return fail(Errc::io, "writing " + temporary, errno);
    if (std::rename(temporary.c_str(), path.c_str()) != 0) {
        return fail(Errc::io, "renaming " + temporary, errno);
    }
    return {};
}

void remove_file(const std::string& path) {
    ::unlink(path.c_str());
}

}  // namespace fastreg::node
