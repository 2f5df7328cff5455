// Any Range and Content-Range against any size: what is granted lies inside.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "http/range.h"
#include "registry/answers.h"

using namespace fastreg;
using namespace fastreg::http;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::uint64_t total = 0;
    if (size < sizeof total) return 0;
    std::memcpy(&total, data, sizeof total);
    const std::string_view field(reinterpret_cast<const char*>(data + sizeof total),
                                 size - sizeof total);
    const auto check = [&](const ByteRange& range) {
        if (range.first > range.last || range.last >= total) std::abort();
    };
    const RangeAnswer answer = parse_range(field, total);
    if (const auto* one = std::get_if<ByteRange>(&answer)) check(*one);
    if (const auto* many = std::get_if<std::vector<ByteRange>>(&answer)) {
        if (many->size() > kMaxRanges) std::abort();
        for (const ByteRange& range : *many) check(range);
    }
    const auto upload = parse_content_range(field);
    if (upload && upload->first > upload->last) std::abort();
    (void)registry::blob_plan(Digest{}, total, field);
    return 0;
}
