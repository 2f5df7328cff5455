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
/// What to put behind "unknown key 'x'": "; did you mean 'y'?", "; TLS is not in this version", or nothing.
[[nodiscard]] std::string hint(std::string_view word, std::span<const std::string> known);
/// What a key, variable or flag is for that this version does not have yet, if it is one of those.
[[nodiscard]] std::optional<std::string_view> not_yet(std::string_view word);

}  // namespace fastreg::config
