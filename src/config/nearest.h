// What to say of a key, variable, flag or command that nobody knows. Pure; any thread.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace fastreg::config {

/// The known word that a misspelt one probably means (edit distance), if any is near.
[[nodiscard]] std::optional<std::string> nearest(std::string_view word,
                                                 std::span<const std::string> known);

}  // namespace fastreg::config
