#include "uv/bell.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/result.h"

namespace fastreg::uv {
namespace {

thread_local bool in_turn = false;

/// Bells to be rung by this thread; shared, as the loop of one may end before the turn does.
std::vector<std::shared_ptr<const Bell>>& owed() {
    thread_local std::vector<std::shared_ptr<const Bell>> bells;
    return bells;
}

}  // namespace

Bell::Bell() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    FR_ASSERT(fd_.get() >= 0);
}

void Bell::ring() const {
    const std::uint64_t one = 1;
    (void)!::write(fd_.get(), &one, sizeof one);  // fails when the counter is full: it rings already
}

void Bell::hear() const {
    std::uint64_t rung = 0;
    (void)!::read(fd_.get(), &rung, sizeof rung);
}

Turn::Turn() : outermost_(!in_turn) { in_turn = true; }

Turn::~Turn() {
    if (!outermost_) return;
    in_turn = false;
    ring_owed();
}

void Turn::ring_soon(const std::shared_ptr<const Bell>& bell) {
    if (!in_turn) return bell->ring();
    auto& bells = owed();
    if (std::find(bells.begin(), bells.end(), bell) == bells.end()) bells.push_back(bell);
}

void Turn::ring_owed() {
    auto& bells = owed();
    for (const auto& bell : bells) bell->ring();
    bells.clear();
}

}  // namespace fastreg::uv
