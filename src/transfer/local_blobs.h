// What the transfer core asks of the store. Loop thread only.
#pragma once

#include <cstdint>
#include <optional>

#include "base/digest.h"

namespace fastreg::transfer {

/// Answers from memory; never waits on a disk.
class LocalBlobs {
  public:
    virtual ~LocalBlobs() = default;
    /// The size of a blob that is here, whole and proven; nothing otherwise.
    [[nodiscard]] virtual std::optional<std::uint64_t> complete_size(const Digest& digest) const = 0;
};

}  // namespace fastreg::transfer
