// Sizes, shares and durations as people write them. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/instant.h"
#include "base/result.h"
#include "config/config.h"

namespace fastreg::config {

/// "4096", "512KiB", "1.5 GiB", "10GB" (powers of 1000), "10G" (powers of 1024, as docker reads it).
[[nodiscard]] Result<std::uint64_t> parse_size(std::string_view text);
/// A size, or "80%" (1..100).
[[nodiscard]] Result<Share> parse_share(std::string_view text);
/// "500ms", "30s", "5m", "1h30m", "2d"; "0" alone needs no unit. Whole milliseconds.
[[nodiscard]] Result<Duration> parse_duration(std::string_view text);

/// The shortest exact text that the parsers take back.
[[nodiscard]] std::string print_size(std::uint64_t bytes);
[[nodiscard]] std::string print_share(const Share& share);
[[nodiscard]] std::string print_duration(Duration span);

}  // namespace fastreg::config
