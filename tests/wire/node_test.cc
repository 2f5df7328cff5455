// Copies of pushed blobs are asked for and promised with these messages; a misread one loses a copy.
#include "wire/node.h"

#include <doctest/doctest.h>

#include "base/hash.h"

using namespace fastreg;
using namespace fastreg::wire;

TEST_CASE("the messages about homes come back as they were") {
    const Digest digest = digest_of(HashAlg::sha512, as_bytes("x"));
    for (const NodeMessage& message :
         {NodeMessage(HomeRequest{7, digest, 123456789}), NodeMessage(HomeReply{7, true, {}}),
          NodeMessage(HomeReply{8, false, "disk full"}), NodeMessage(HomeReply{9, false, "it leaves", true})}) {
        const auto back = decode_node(encode(message));
        REQUIRE(back.has_value());
        CHECK(*back == message);
    }
}

TEST_CASE("a home request without a digest, or for a blob over the limit, is refused") {
    Frame frame = encode(HomeRequest{1, digest_of(HashAlg::sha256, {}), 1});
    frame.body = Bytes{std::byte{0x80}};  // an empty map
    CHECK_FALSE(decode_node(frame).has_value());
    CHECK_FALSE(
        decode_node(encode(HomeRequest{1, digest_of(HashAlg::sha256, {}), (1ULL << 40U) + 1})).has_value());
    frame.type = 0x6e;
    CHECK(decode_node(frame).error().code == Errc::unsupported);
}
