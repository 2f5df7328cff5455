// Spans of bytes and their printed forms. Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fastreg {

using Bytes = std::vector<std::byte>;
using ByteView = std::span<const std::byte>;

[[nodiscard]] inline ByteView as_bytes(std::string_view text) {
    return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
[[nodiscard]] inline std::string_view as_text(ByteView bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Lower-case hexadecimal, two characters a byte.
[[nodiscard]] std::string to_hex(ByteView bytes);
/// Accepts lower case only, and exactly `out.size() * 2` characters.
[[nodiscard]] bool from_hex(std::string_view text, std::span<std::byte> out);

/// "1.5 GiB", "310 B": powers of 1024, at most one decimal.
[[nodiscard]] std::string human_bytes(std::uint64_t count);

}  // namespace fastreg
