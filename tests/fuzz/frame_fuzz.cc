// Any bytes as a link's input: the frames do not depend on how the bytes are cut, and each one encodes
// to the bytes that it came from.
#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "wire/frame.h"

using namespace fastreg;
using namespace fastreg::wire;

namespace {

struct Seen {
    Bytes frames;
    bool broken = false;
};

void drain(FrameReader& reader, Seen& seen) {
    while (!seen.broken) {
        const auto frame = reader.next();
        seen.broken = !frame;
        if (!frame || !frame->has_value()) return;
        const Bytes bytes = encode_frame(**frame);
        seen.frames.insert(seen.frames.end(), bytes.begin(), bytes.end());
    }
}

Seen read_in_pieces(ByteView input, std::size_t piece) {
    FrameReader reader;
    Seen seen;
    while (!input.empty() && !seen.broken) {
        const auto size = std::min(piece, input.size());
        reader.feed(input.first(size));
        input = input.subspan(size);
        drain(reader, seen);
    }
    return seen;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size == 0) return 0;
    const ByteView input(reinterpret_cast<const std::byte*>(data) + 1, size - 1);
    const Seen whole = read_in_pieces(input, size);
    const Seen pieces = read_in_pieces(input, std::size_t{data[0]} + 1);
    if (whole.broken != pieces.broken || whole.frames != pieces.frames) std::abort();
    if (whole.frames.size() > input.size()) std::abort();
    if (!std::equal(whole.frames.begin(), whole.frames.end(), input.begin())) std::abort();
    return 0;
}
