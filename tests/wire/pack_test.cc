// Message bodies come from peers that may be old, new, broken or hostile.
#include "wire/pack.h"

#include <doctest/doctest.h>

using namespace fastreg;
using namespace fastreg::wire;

TEST_CASE("every kind of field comes back as it was put") {
    // All messages of the mesh are made of these fields and nothing else.
    MapWriter inner;
    inner.put(1, std::uint64_t{5}).put(2, "five");
    const Digest digest = *Digest::parse("sha256:" + std::string(64, 'a'));
    const Endpoint endpoint{"::1", 7946};
    NodeId id;
    id.bytes[3] = std::byte{9};
    MapWriter out;
    out.put(0, UINT64_MAX).put_signed(1, -5).put_bool(2, true).put(3, "text");
    out.put_bytes(4, as_bytes("bytes")).put(5, id).put(6, digest).put(7, endpoint);
    out.put(8, inner).put_maps(9, {inner, inner}).put_numbers(10, {1, 300, 70'000});
    auto in = MapReader::parse(out.finish());
    REQUIRE(in);
    CHECK(in->number(0) == UINT64_MAX);
    CHECK(in->signed_number(1) == -5);
    CHECK(in->boolean(2));
    CHECK(in->text(3, 10) == "text");
    CHECK(as_text(in->bytes(4, 10)) == "bytes");
    CHECK(in->node_id(5) == id);
    CHECK(in->digest(6) == digest);
    CHECK(in->endpoint(7) == endpoint);
    int seen = 0;
    const auto check_inner = [&](MapReader& map) {
        ++seen;
        CHECK(map.number(1) == 5);
        CHECK(map.text(2, 10) == "five");
    };
    in->map(8, check_inner);
    in->list(9, 2, check_inner);
    CHECK(seen == 3);
    CHECK(in->numbers(10, 3) == std::vector<std::uint64_t>{1, 300, 70'000});
    CHECK(in->status());
}
