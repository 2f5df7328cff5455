// Which operation of a MemoryFs fails: the nth, all from it on, or all since the machine stopped.
// Guarded by the mutex of the disk.
#pragma once

#include <cerrno>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace fastreg::test {

struct MemoryFaults {
    static constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();

    std::uint64_t operations = 0;
    std::uint64_t fail_at = kNever;
    bool fail_for_ever = false;
    int fail_errno = EIO;
    bool keep_on_failed_sync = false;
    std::uint64_t stop_at = kNever;
    std::uint64_t reads = 0;
    std::uint64_t fail_read_at = kNever;
    int fail_read_errno = EIO;
    std::string fail_stat_path;
    int fail_stat_errno = EIO;

    bool tracing = false;
    std::vector<std::string> trace;

    /// Counts one operation; the errno to fail with, or 0.
    int begin(std::string what) {
        const auto n = operations++;
        if (n >= stop_at) return EIO;
        if (tracing) trace.push_back(std::move(what));
        if (n == fail_at || (fail_for_ever && n > fail_at)) return fail_errno;
        return 0;
    }
    int begin_read() {
        const auto n = reads++;
        if (operations >= stop_at) return EIO;
        return n == fail_read_at ? fail_read_errno : 0;
    }
    /// The operation begun last came after the stop.
    [[nodiscard]] bool stopped() const { return operations > stop_at; }
    void clear() {
        fail_at = stop_at = fail_read_at = kNever;
        fail_for_ever = false;
        fail_stat_path.clear();
    }
};

}  // namespace fastreg::test
