// Transfer messages from a hostile peer: whatever the bytes, a frame is refused or means something
// that can be written and read again.
#include <cstddef>
#include <cstdint>

#include "base/result.h"
#include "wire/transfer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace fastreg;
    if (size < 2) return 0;
    wire::Frame frame;
    frame.type = static_cast<std::uint8_t>(0x40 + data[0] % 0x10);
    frame.request = data[1];
    const ByteView body = as_bytes({reinterpret_cast<const char*>(data + 2), size - 2});
    if (body.size() > wire::kFrameBodyMax) return 0;
    frame.body.assign(body.begin(), body.end());
    const auto message = wire::decode_transfer(frame);
    if (!message) return 0;
    const auto again = wire::decode_transfer(wire::to_frame(*message));
    FR_ASSERT(again.has_value());
    FR_ASSERT(*again == *message);
    return 0;
}
