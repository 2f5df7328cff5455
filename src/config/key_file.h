// What a cluster key file may hold. Pure; reading and making the file is the work of node/key_file.h.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/result.h"

namespace fastreg::config {

inline constexpr std::size_t kKeyBytesMin = 16;
inline constexpr std::size_t kKeyBytesMax = 4096;

/// The key: the content without blanks and line ends around it.
[[nodiscard]] Result<std::string> parse_key(std::string_view content);

}  // namespace fastreg::config
