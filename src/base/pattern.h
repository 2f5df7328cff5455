// Bytes that are made up where they are compared: what a test of a road sends.
#pragma once

#include "base/bytes.h"

namespace fastreg {

/// The same bytes each time, a longer answer beginning with a shorter one; no two pages of the first 4 MiB are alike,
/// so that bytes that landed at a wrong place are noticed. Not random: nobody's secret.
[[nodiscard]] Bytes pattern_bytes(std::size_t size);

}  // namespace fastreg
