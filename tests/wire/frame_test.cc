// Every link of the mesh reads frames from a byte stream that may be cut anywhere, by anyone.
#include "wire/frame.h"

#include <doctest/doctest.h>

using namespace fastreg;
using namespace fastreg::wire;

TEST_CASE("a frame comes back as it was sent") {
    // The layout is fixed by the protocol: another implementation must find the same bytes.
    const Frame sent{0x21, kMustUnderstand, 0x0102030405060708ULL, {std::byte{7}, std::byte{9}}};
    const Bytes bytes = encode_frame(sent);
    CHECK(to_hex(bytes) == "0e000000" "21" "01" "0000" "0807060504030201" "0709");
    FrameReader reader;
    reader.feed(bytes);
    auto frame = reader.next();
    REQUIRE(frame);
    REQUIRE(frame->has_value());
    CHECK((*frame)->type == sent.type);
    CHECK((*frame)->flags == sent.flags);
    CHECK((*frame)->request == sent.request);
    CHECK((*frame)->body == sent.body);
    CHECK(reader.rest().empty());
}
