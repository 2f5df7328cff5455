#include "base/bytes.h"

#include <array>
#include <cstdio>

namespace fastreg {

std::string to_hex(ByteView bytes) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    text.reserve(bytes.size() * 2);
    for (std::byte b : bytes) {
        const auto value = std::to_integer<unsigned>(b);
        text.push_back(kDigits[value >> 4U]);
        text.push_back(kDigits[value & 15U]);
    }
    return text;
}

namespace {
int nibble(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}
}  // namespace

bool from_hex(std::string_view text, std::span<std::byte> out) {
    if (text.size() != out.size() * 2) return false;
    for (std::size_t i = 0; i < out.size(); ++i) {
        const int high = nibble(text[2 * i]);
        const int low = nibble(text[2 * i + 1]);
        if (high < 0 || low < 0) return false;
        out[i] = static_cast<std::byte>(high * 16 + low);
    }
    return true;
}

std::string human_bytes(std::uint64_t count) {
    static constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = static_cast<double>(count);
    std::size_t unit = 0;
    while (value >= 1024 && unit + 1 < kUnits.size()) {
        value /= 1024;
        ++unit;
    }
    std::array<char, 32> text{};
    const int precision = (unit == 0 || value >= 100) ? 0 : 1;
    std::snprintf(text.data(), text.size(), "%.*f %s", precision, value, kUnits[unit]);
    return text.data();
}

}  // namespace fastreg
