// Stories about rows that are told twice: as a test, and to catch a planted defect.
#pragma once

#include <optional>
#include <string>

#include "tests/sim/clients.h"

namespace fastreg::sim {

/// Each answers with the promise that was broken, if any.
[[nodiscard]] std::optional<std::string> lost_disk_while_another_is_away(std::uint64_t seed);
[[nodiscard]] std::optional<std::string> power_goes_after_two_owners_were_away(std::uint64_t seed);

}  // namespace fastreg::sim
