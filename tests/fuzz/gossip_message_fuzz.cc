// Any frame of the gossip family: decoding never crashes, and what was understood says the same again.
#include <cstddef>
#include <cstdint>

#include "base/result.h"
#include "wire/gossip.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace fastreg;
    if (size < 1 || size > wire::kFrameBodyMax) return 0;
    wire::Frame frame;
    frame.type = static_cast<std::uint8_t>(0x10 + data[0] % 16);
    frame.request = 7;
    const auto* body = reinterpret_cast<const std::byte*>(data + 1);
    frame.body.assign(body, body + size - 1);
    const auto message = wire::decode_gossip(frame);
    if (!message) return 0;
    if (wire::body_size(*message) > wire::kFrameBodyMax) return 0;  // shorter names than the estimate
    const wire::Frame again = wire::encode(*message);
    FR_ASSERT(again.type == frame.type);
    const auto twice = wire::decode_gossip(again);
    FR_ASSERT(twice.has_value());
    FR_ASSERT(wire::encode(*twice).body == again.body);
    return 0;
}
