// A story about rows that is told twice: as a test, and to catch a planted defect.
#pragma once

#include <optional>
#include <string>

#include "tests/sim/clients.h"

namespace fastreg::sim {

/// The promise that was broken, if any.
[[nodiscard]] std::optional<std::string> lost_disk_while_another_is_away(std::uint64_t seed);

}  // namespace fastreg::sim
