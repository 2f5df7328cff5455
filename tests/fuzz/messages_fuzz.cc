// Any bytes as the body of any message of the mesh: refused, or a message that says the same when it is
// encoded and read again.
#include <cstdint>
#include <cstdlib>

#include "wire/directory.h"
#include "wire/gossip.h"
#include "wire/hello.h"
#include "wire/node.h"
#include "wire/repo.h"
#include "wire/transfer.h"

using namespace fastreg;
using namespace fastreg::wire;

namespace {

Bytes bytes_of(const Frame& frame) { return encode_frame(frame); }
Bytes bytes_of(const Bytes& bytes) { return bytes; }

Frame frame_of(const Bytes& bytes) {
    FrameReader reader;
    reader.feed(bytes);
    const auto frame = reader.next();
    if (!frame || !frame->has_value() || !reader.rest().empty()) std::abort();
    return **frame;
}

template <class Decode>
void read_twice(const Frame& frame, Decode decode) {
    const auto first = decode(frame);
    if (!first) return;
    const Bytes said = bytes_of(encode(*first));
    const auto second = decode(frame_of(said));
    if (!second || bytes_of(encode(*second)) != said) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 2 || size > 32'768) return 0;
    const ByteView body(reinterpret_cast<const std::byte*>(data) + 2, size - 2);
    const Frame frame{data[0], 0, data[1], Bytes(body.begin(), body.end())};
    read_twice(frame, decode_gossip);
    read_twice(frame, decode_directory);
    read_twice(frame, decode_repo);
    read_twice(frame, decode_transfer);
    read_twice(frame, decode_node);
    if (const auto hello = decode_hello(body)) {
        const auto again = decode_hello(encode_hello(*hello).body);
        if (!again || *again != *hello) std::abort();
    }
    (void)decode_close(body);
    return 0;
}
