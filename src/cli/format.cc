#include "cli/format.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

namespace fastreg::cli {

std::string human_span(std::uint64_t seconds) {
    struct Unit {
        std::uint64_t seconds;
        char letter;
    };
    constexpr std::array kUnits{Unit{86'400, 'd'}, Unit{3'600, 'h'}, Unit{60, 'm'}, Unit{1, 's'}};
    for (std::size_t i = 0; i + 1 < kUnits.size(); ++i) {
        if (seconds < kUnits[i].seconds) continue;
        const std::uint64_t rest = seconds % kUnits[i].seconds / kUnits[i + 1].seconds;
        std::string text = fmt::format("{}{}", seconds / kUnits[i].seconds, kUnits[i].letter);
        if (rest > 0) text += fmt::format(" {}{}", rest, kUnits[i + 1].letter);
        return text;
    }
    return fmt::format("{}s", seconds);
}

std::string human_millis(double millis) {
    if (!std::isfinite(millis) || millis < 0) return "-";
    if (millis < 9.95) return fmt::format("{:.1f} ms", millis);
    if (millis < 999.5) return fmt::format("{:.0f} ms", millis);
    return fmt::format("{:.1f} s", millis / 1000);
}

std::string human_share(std::uint64_t part, std::uint64_t whole) {
    if (whole == 0) return "-";
    const double percent = 100 * static_cast<double>(part) / static_cast<double>(whole);
    return part == 0 || percent >= 9.95 ? fmt::format("{:.0f} %", percent)
                                        : fmt::format("{:.1f} %", percent);
}

std::string grouped(std::uint64_t count) {
    const std::string digits = std::to_string(count);
    std::string text;
    for (std::size_t i = 0; i < digits.size(); ++i) {
        if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
        text += digits[i];
    }
    return text;
}

std::string counted(std::uint64_t count, std::string_view noun) {
    return grouped(count) + " " + std::string(noun) + (count == 1 ? "" : "s");
}

}  // namespace fastreg::cli
