// Byte ranges: the Range field of requests (RFC 9110 section 14) and the Content-Range of uploads
// (OCI distribution). Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"

namespace fastreg::http {

/// Both ends inclusive.
struct ByteRange {
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    [[nodiscard]] std::uint64_t size() const { return last - first + 1; }
    bool operator==(const ByteRange&) const = default;
};

inline constexpr std::size_t kMaxRanges = 64;

struct RangeIgnored {};        // no Range, another unit, or not a range at all: answer 200 in full
struct RangeUnsatisfiable {};  // answer 416 with "bytes */size"
struct RangeTooMany {};        // over kMaxRanges, or together larger than the body: answer 400
using RangeAnswer =
    std::variant<RangeIgnored, RangeUnsatisfiable, RangeTooMany, ByteRange, std::vector<ByteRange>>;

/// `field` is the value of Range ("" when absent). Ends are clamped to `size`; of several ranges
/// those that lie outside are dropped, and a single one left is a plain ByteRange. An inverted range
/// ("500-0") counts as unsatisfiable, which is what registries' clients expect.
[[nodiscard]] RangeAnswer parse_range(std::string_view field, std::uint64_t size);

/// "a-b" or "bytes a-b/total" or "bytes a-b/*", as clients put it into PATCH and PUT.
[[nodiscard]] Result<ByteRange> parse_content_range(std::string_view field);

/// "bytes a-b/size".
[[nodiscard]] std::string content_range(const ByteRange& range, std::uint64_t size);
/// "bytes */size".
[[nodiscard]] std::string content_range_unsatisfied(std::uint64_t size);

}  // namespace fastreg::http
