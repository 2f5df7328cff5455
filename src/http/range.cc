#include "http/range.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "http/request.h"

namespace fastreg::http {

namespace {

// Digits only; numbers past 64 bits saturate, for they are past every body too.
std::optional<std::uint64_t> parse_number(std::string_view text) {
    if (text.empty() || text.find_first_not_of("0123456789") != std::string_view::npos) {
        return std::nullopt;
    }
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc::result_out_of_range) return UINT64_MAX;
    if (error != std::errc{}) return std::nullopt;
    return value;
}

enum class SpecKind { malformed, outside, inside };

SpecKind parse_spec(std::string_view spec, std::uint64_t size, ByteRange& range) {
    const std::size_t dash = spec.find('-');
    if (dash == std::string_view::npos) return SpecKind::malformed;
    const std::string_view first_text = trim(spec.substr(0, dash));
    const std::string_view last_text = trim(spec.substr(dash + 1));
    const auto first = parse_number(first_text);
    const auto last = parse_number(last_text);
    if (first_text.empty()) {  // "-n": the last n bytes
        if (!last) return SpecKind::malformed;
        if (*last == 0 || size == 0) return SpecKind::outside;
        range = {size - std::min(*last, size), size - 1};
        return SpecKind::inside;
    }
    if (!first || (!last && !last_text.empty())) return SpecKind::malformed;
    if (*first >= size || (last && *last < *first)) return SpecKind::outside;
    range = {*first, std::min(last.value_or(UINT64_MAX), size - 1)};
    return SpecKind::inside;
}

}  // namespace

RangeAnswer parse_range(std::string_view field, std::uint64_t size) {
    field = trim(field);
    const std::size_t equals = field.find('=');
    if (equals == std::string_view::npos ||
        !equal_ignoring_case(trim(field.substr(0, equals)), "bytes")) {
        return RangeIgnored{};
    }
    std::string_view rest = field.substr(equals + 1);
    std::vector<ByteRange> ranges;
    std::size_t specs = 0;
    std::uint64_t total = 0;
    bool too_large = false;
    while (true) {
        const std::size_t comma = rest.find(',');
        const std::string_view spec = trim(rest.substr(0, comma));
        if (!spec.empty()) {
            if (++specs > kMaxRanges) return RangeTooMany{};
            ByteRange range;
            switch (parse_spec(spec, size, range)) {
                case SpecKind::malformed:
                    return RangeIgnored{};
                case SpecKind::outside:
                    break;
                case SpecKind::inside:
                    too_large = too_large || range.size() > size - total;
                    total += too_large ? 0 : range.size();
                    ranges.push_back(range);
                    break;
            }
        }
        if (comma == std::string_view::npos) break;
        rest.remove_prefix(comma + 1);
    }
    if (specs == 0) return RangeIgnored{};
    if (ranges.empty()) return RangeUnsatisfiable{};
    if (ranges.size() == 1) return ranges.front();
    if (too_large) return RangeTooMany{};
    return ranges;
}

Result<ByteRange> parse_content_range(std::string_view field) {
    std::string_view text = trim(field);
    if (text.size() >= 5 && equal_ignoring_case(text.substr(0, 5), "bytes")) {
        text = trim(text.substr(5));
        if (text.starts_with('=')) text.remove_prefix(1);
    }
    const std::size_t slash = text.find('/');
    std::optional<std::uint64_t> total;
    if (slash != std::string_view::npos) {
        const std::string_view total_text = trim(text.substr(slash + 1));
        total = parse_number(total_text);
        if (!total && total_text != "*") {
            return fail(Errc::invalid_argument, "Content-Range has a total that is not a number");
        }
        text = trim(text.substr(0, slash));
    }
    const std::size_t dash = text.find('-');
    const auto first =
        dash == std::string_view::npos ? std::nullopt : parse_number(text.substr(0, dash));
    const auto last =
        dash == std::string_view::npos ? std::nullopt : parse_number(text.substr(dash + 1));
    if (!first || !last || *last == UINT64_MAX) {
        return fail(Errc::invalid_argument, "Content-Range must read FIRST-LAST, both inclusive");
    }
    if (*last < *first || (total && *last >= *total)) {
        return fail(Errc::out_of_range, "Content-Range ends before it starts, or past its total");
    }
    return ByteRange{*first, *last};
}

std::string content_range(const ByteRange& range, std::uint64_t size) {
    return "bytes " + std::to_string(range.first) + '-' + std::to_string(range.last) + '/' +
           std::to_string(size);
}

std::string content_range_unsatisfied(std::uint64_t size) {
    return "bytes */" + std::to_string(size);
}

}  // namespace fastreg::http
