// What the file system must keep free (min-free), asked for before bytes are written. Any thread.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>

#include "store/fs.h"

namespace fastreg::store {

class FreeSpace {
  public:
    /// Bytes that may be written between two looks at the file system.
    static constexpr std::uint64_t kLookBytes = 4ULL << 20U;

    FreeSpace(Fs& fs, std::string dir) : fs_(fs), dir_(std::move(dir)) {}

    /// Looks at the file system. What may be written now, when `bytes` beside the `promised` leave
    /// `min_free`; else Errc::no_space. Takes nothing.
    [[nodiscard]] Result<std::uint64_t> room_for(std::uint64_t bytes,
                                                 std::uint64_t min_free,
                                                 std::uint64_t promised = 0) const;

    /// Asks for room for `bytes` that are written next; Errc::no_space when they would leave less than
    /// `min_free`. All writers share what a look allows, so many small uploads do not pass the floor;
    /// what others than uploads write is seen at the next look.
    [[nodiscard]] Status take(std::uint64_t bytes, std::uint64_t min_free);

  private:
    Fs& fs_;
    const std::string dir_;
    std::mutex mutex_;
    std::uint64_t allowed_ = 0;  // seen to be free, not taken yet
};

}  // namespace fastreg::store
