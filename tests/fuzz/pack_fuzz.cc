// Any bytes as a message body: refused, or readable to its last field by every getter.
#include <cstdint>
#include <cstdlib>

#include "wire/pack.h"

using namespace fastreg;
using namespace fastreg::wire;

namespace {

/// The text or bytes of a field, touched so that the sanitizers see a view past its end.
void touch(ByteView view, std::uint64_t& sum) {
    for (const std::byte b : view) sum += std::to_integer<std::uint64_t>(b);
}

void read_all(MapReader& in, std::uint64_t& sum, int depth) {
    if (depth > 8) std::abort();
    for (int key = 0; key < 128; ++key) {
        if (!in.has(key)) continue;
        sum += in.number(key) + static_cast<std::uint64_t>(in.signed_number(key));
        sum += in.boolean(key) ? 1 : 0;
        touch(as_bytes(in.text(key, SIZE_MAX)), sum);
        touch(in.bytes(key, SIZE_MAX), sum);
        touch(in.node_id(key).bytes, sum);
        touch(in.digest(key).bytes(), sum);
        sum += in.endpoint(key).port;
        for (const auto number : in.numbers(key, SIZE_MAX)) sum += number;
        const auto inner = [&](MapReader& map) { read_all(map, sum, depth + 1); };
        in.list(key, SIZE_MAX, inner);
        in.map(key, inner);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    auto reader = MapReader::parse(ByteView(reinterpret_cast<const std::byte*>(data), size));
    if (!reader) return 0;
    if (!reader->status()) std::abort();
    volatile std::uint64_t kept = 0;
    std::uint64_t sum = 0;
    read_all(*reader, sum, 1);
    kept = sum;
    static_cast<void>(kept);
    return 0;
}
