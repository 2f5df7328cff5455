#include "transport/tcp/serving.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

namespace fastreg::transport::tcp {

namespace {

Residency probe_byte(int fd, std::uint64_t at) {
    char byte = 0;
    iovec place{&byte, 1};
    const auto got = ::preadv2(fd, &place, 1, static_cast<off_t>(at), RWF_NOWAIT);
    if (got == 1) return Residency::cached;
    if (got == 0) return Residency::failed;  // the file is shorter than what was promised
    // EOPNOTSUPP: the file system cannot tell, so a worker reads it to be sure.
    return errno == EAGAIN || errno == EOPNOTSUPP || errno == EINTR ? Residency::cold
                                                                    : Residency::failed;
}

}  // namespace

Residency probe(const ServeOrder& order, std::uint64_t at, std::uint64_t length) {
    if (length == 0) return Residency::cached;
    const std::uint64_t begin = order.file_offset + at;
    if (at == 0) {  // else the byte before it was probed with the last piece
        const Residency first = probe_byte(order.file->fd(), begin);
        if (first != Residency::cached) return first;
    }
    return probe_byte(order.file->fd(), begin + length - 1);
}

bool read_ahead(int fd, std::uint64_t offset, std::uint64_t length) {
    (void)::posix_fadvise(fd, static_cast<off_t>(offset), static_cast<off_t>(length),
                          POSIX_FADV_WILLNEED);
    std::vector<char> scratch(std::min<std::uint64_t>(length, 128U << 10U));
    while (length > 0) {
        const std::size_t want = std::min<std::uint64_t>(length, scratch.size());
        const ssize_t got = ::pread(fd, scratch.data(), want, static_cast<off_t>(offset));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        offset += static_cast<std::uint64_t>(got);
        length -= static_cast<std::uint64_t>(got);
    }
    return true;
}

void ServingQueue::push(std::unique_ptr<Serving> serving) {
    (serving->order.urgent ? urgent_ : normal_).push_back(std::move(serving));
}

std::unique_ptr<Serving> ServingQueue::pop_ready() {
    for (Line* line : {&urgent_, &normal_}) {
        const auto at = std::find_if(line->begin(), line->end(),
                                     [](const auto& serving) { return !serving->warming; });
        if (at == line->end()) continue;
        auto serving = std::move(*at);
        line->erase(at);
        return serving;
    }
    return nullptr;
}

std::unique_ptr<Serving> ServingQueue::take(RequestId request) {
    for (Line* line : {&urgent_, &normal_}) {
        const auto at = std::find_if(line->begin(), line->end(), [&](const auto& serving) {
            return serving->order.request == request;
        });
        if (at == line->end()) continue;
        auto serving = std::move(*at);
        line->erase(at);
        return serving;
    }
    return nullptr;
}

std::unique_ptr<Serving> ServingQueue::take_any() {
    for (Line* line : {&urgent_, &normal_}) {
        if (line->empty()) continue;
        auto serving = std::move(line->front());
        line->pop_front();
        return serving;
    }
    return nullptr;
}

Serving* ServingQueue::by_serial(std::uint64_t serial) {
    for (const Line* line : {&urgent_, &normal_}) {
        for (const auto& serving : *line) {
            if (serving->serial == serial) return serving.get();
        }
    }
    return nullptr;
}

}  // namespace fastreg::transport::tcp
