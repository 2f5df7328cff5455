#include "config/units.h"

#include <array>
#include <charconv>
#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

namespace fastreg::config {
namespace {

constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();

struct Unit {
    std::string_view name;
    std::uint64_t factor;
};

constexpr std::array kSizeUnits{
    Unit{"", 1},
    Unit{"b", 1},
    Unit{"kib", std::uint64_t{1} << 10},
    Unit{"mib", std::uint64_t{1} << 20},
    Unit{"gib", std::uint64_t{1} << 30},
    Unit{"tib", std::uint64_t{1} << 40},
    Unit{"pib", std::uint64_t{1} << 50},
    Unit{"k", std::uint64_t{1} << 10},
    Unit{"m", std::uint64_t{1} << 20},
    Unit{"g", std::uint64_t{1} << 30},
    Unit{"t", std::uint64_t{1} << 40},
    Unit{"kb", 1'000},
    Unit{"mb", 1'000'000},
    Unit{"gb", 1'000'000'000},
    Unit{"tb", 1'000'000'000'000},
};

// Largest first: print_duration() takes the first that divides.
constexpr std::array kDurationUnits{
    Unit{"d", 86'400'000}, Unit{"h", 3'600'000}, Unit{"m", 60'000},
    Unit{"s", 1'000},      Unit{"ms", 1},
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

std::string lower(std::string_view text) {
    std::string out(text);
    for (char& c : out) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return out;
}

std::string_view trimmed(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
    return text;
}

// Splits the leading "12" or "1.5" off `text`.
std::string_view take_number(std::string_view& text) {
    std::size_t end = 0;
    bool dot = false;
    while (end < text.size() && (is_digit(text[end]) || (text[end] == '.' && !dot && end > 0))) {
        dot = dot || text[end] == '.';
        ++end;
    }
    const auto number = text.substr(0, end);
    text.remove_prefix(end);
    return number;
}

// number * factor, exact for whole numbers, rounded down for fractions.
std::optional<std::uint64_t> scaled(std::string_view number, std::uint64_t factor) {
    if (number.empty() || number.back() == '.') return std::nullopt;
    const auto dot = number.find('.');
    const auto whole_text = number.substr(0, dot);
    std::uint64_t whole = 0;
    const auto [end, error] =
        std::from_chars(whole_text.data(), whole_text.data() + whole_text.size(), whole);
    if (error != std::errc{} || end != whole_text.data() + whole_text.size()) return std::nullopt;
    if (whole > kMax / factor) return std::nullopt;
    std::uint64_t sum = whole * factor;
    if (dot == std::string_view::npos) return sum;
    double share = 0;
    double weight = 0.1;
    for (const char c : number.substr(dot + 1)) {
        share += weight * (c - '0');
        weight /= 10;
    }
    const auto rest = static_cast<std::uint64_t>(share * static_cast<double>(factor) + 1e-6);
    if (rest > kMax - sum) return std::nullopt;
    return sum + rest;
}

}  // namespace

Result<std::uint64_t> parse_size(std::string_view text) {
    const auto complain = [&] {
        return fail(Errc::invalid_argument,
                    "'" + std::string(text) +
                        "' is not a size; write bytes (4096) or a number with KiB, MiB, GiB, TiB");
    };
    std::string_view rest = trimmed(text);
    const auto number = take_number(rest);
    const std::string unit_name = lower(trimmed(rest));
    for (const Unit& unit : kSizeUnits) {
        if (unit.name != unit_name) continue;
        const auto value = scaled(number, unit.factor);
        if (!value) return complain();
        return *value;
    }
    return complain();
}

Result<Share> parse_share(std::string_view text) {
    const std::string_view body = trimmed(text);
    if (body.empty() || body.back() != '%') {
        auto size = parse_size(body);
        if (!size) {
            return fail(Errc::invalid_argument,
                        "'" + std::string(text) +
                            "' is neither a size (10GiB) nor a percentage of the file system (80%)");
        }
        return Share{*size, 0};
    }
    const std::string_view digits = trimmed(body.substr(0, body.size() - 1));
    std::uint32_t percent = 0;
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), percent);
    if (digits.empty() || error != std::errc{} || end != digits.data() + digits.size() ||
        percent < 1 || percent > 100) {
        return fail(Errc::invalid_argument,
                    "'" + std::string(text) + "' is not a percentage between 1% and 100%");
    }
    return Share{0, percent};
}

Result<Duration> parse_duration(std::string_view text) {
    const auto complain = [&] {
        return fail(Errc::invalid_argument,
                    "'" + std::string(text) +
                        "' is not a duration; write a number with its unit: 500ms, 30s, 5m, 1h, 2d");
    };
    // Ten thousand days keep every sum far from the end of 64 bits of nanoseconds.
    constexpr std::uint64_t kMostMillis = 10'000ULL * 86'400'000ULL;
    std::string_view rest = trimmed(text);
    if (rest == "0") return Duration{0};
    if (rest.empty()) return complain();
    std::uint64_t millis = 0;
    std::uint64_t last_factor = kMax;
    while (!rest.empty()) {
        const auto number = take_number(rest);
        std::size_t end = 0;
        while (end < rest.size() && is_letter(rest[end])) ++end;
        const std::string unit_name = lower(rest.substr(0, end));
        rest.remove_prefix(end);
        std::uint64_t factor = 0;
        for (const Unit& unit : kDurationUnits) {
            if (unit.name == unit_name) factor = unit.factor;
        }
        // "1h30m" is a sum with falling units; "30m1h" is a slip of the pen.
        if (factor == 0 || factor >= last_factor) return complain();
        last_factor = factor;
        const auto part = scaled(number, factor);
        if (!part || *part > kMostMillis || millis + *part > kMostMillis) return complain();
        millis += *part;
    }
    return Duration{static_cast<std::int64_t>(millis) * 1'000'000};
}

std::string print_size(std::uint64_t bytes) {
    constexpr std::array kNames{"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    std::size_t unit = 0;
    while (bytes != 0 && bytes % 1024 == 0 && unit + 1 < kNames.size()) {
        bytes /= 1024;
        ++unit;
    }
    return std::to_string(bytes) + (unit == 0 ? "" : kNames[unit]);
}

std::string print_share(const Share& share) {
    return share.percent != 0 ? std::to_string(share.percent) + "%" : print_size(share.bytes);
}

std::string print_duration(Duration span) {
    const auto millis = static_cast<std::uint64_t>(std::max<std::int64_t>(0, millis_of(span)));
    if (millis == 0) return "0s";
    for (const Unit& unit : kDurationUnits) {
        if (millis % unit.factor != 0) continue;
        return std::to_string(millis / unit.factor) + std::string(unit.name);
    }
    return std::to_string(millis) + "ms";
}

}  // namespace fastreg::config
