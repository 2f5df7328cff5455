// Words of an RDMA peer: whatever the bytes, a greeting, reject or message is refused, or means something that
// can be written and read again.
#include <cstddef>
#include <cstdint>

#include "base/result.h"
#include "wire/rdma.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace fastreg;
    const ByteView bytes = as_bytes({reinterpret_cast<const char*>(data), size});
    if (const auto message = wire::decode_rdma(bytes)) {
        const auto again = wire::decode_rdma(wire::encode_rdma(*message));
        FR_ASSERT(again.has_value());
        FR_ASSERT(*again == *message);
    }
    if (const auto hello = wire::decode_rdma_hello(bytes)) {
        const auto again = wire::decode_rdma_hello(wire::encode_rdma_hello(*hello));
        FR_ASSERT(again.has_value());
        FR_ASSERT(*again == *hello);
    }
    if (const auto welcome = wire::decode_rdma_welcome(bytes)) {
        const auto again = wire::decode_rdma_welcome(wire::encode_rdma_welcome(*welcome));
        FR_ASSERT(again.has_value());
        FR_ASSERT(*again == *welcome);
    }
    if (const auto reject = wire::decode_rdma_reject(bytes)) {
        FR_ASSERT(reject->text.size() <= wire::kRdmaRejectSize);
        FR_ASSERT(wire::decode_rdma_reject(wire::encode_rdma_reject(*reject)) == *reject);
    }
    return 0;
}
