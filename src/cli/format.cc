#include "cli/format.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/bytes.h"
#include "base/chunk_map.h"

namespace fastreg::cli {

namespace {

constexpr std::uint64_t kChunksShownMax = 1U << 20U;  // four times those of the largest blob

}  // namespace

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

std::string chunk_line(std::string_view map, std::uint64_t chunks, std::size_t columns) {
    Bytes bits(map.size() / 2);
    ChunkMap has;
    if (map.empty() || chunks > kChunksShownMax || !from_hex(map, bits) ||
        !has.from_bytes(static_cast<ChunkIndex>(chunks), bits)) {
        return {};
    }
    const std::uint64_t width = std::min<std::uint64_t>(columns, chunks);
    std::string line;
    for (std::uint64_t column = 0; column < width; ++column) {
        const std::uint64_t first = column * chunks / width;
        const std::uint64_t end = (column + 1) * chunks / width;
        std::uint64_t there = 0;
        for (auto chunk = first; chunk < end; ++chunk) there += has.has(static_cast<ChunkIndex>(chunk)) ? 1 : 0;
        line += there == end - first ? '#' : there > 0 ? '+' : '.';
    }
    return line;
}

}  // namespace fastreg::cli
