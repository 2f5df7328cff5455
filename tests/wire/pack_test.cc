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

namespace {

/// The bytes that `hex` names, read as a message body.
Result<MapReader> parse_hex(std::string_view hex) {
    Bytes bytes(hex.size() / 2);
    REQUIRE(from_hex(hex, bytes));
    return MapReader::parse(std::move(bytes));
}

/// `depth` lists within each other, inside a map.
std::string nested(int depth) {
    std::string hex = "8101";
    for (int i = 1; i < depth - 1; ++i) hex += "91";
    return hex + "90";
}

}  // namespace

TEST_CASE("the bytes of a body are fixed") {
    // Another implementation writes the same; the smallest encoding of each number is used.
    MapWriter out;
    out.put(1, std::uint64_t{300}).put(2, "hi").put_bool(5, false).put_signed(127, -1);
    CHECK(to_hex(out.finish()) == "84" "01cd012c" "02a26869" "05c2" "7fff");
    CHECK(to_hex(MapWriter().finish()) == "80");
}

TEST_CASE("an absent field reads as its default") {
    // A peer of another version may leave out what this one knows.
    auto in = parse_hex("80");
    REQUIRE(in);
    CHECK_FALSE(in->has(1));
    CHECK(in->number(1, 9) == 9);
    CHECK(in->signed_number(1, -9) == -9);
    CHECK(in->boolean(1, true));
    CHECK(in->text(1, 5).empty());
    CHECK(in->bytes(1, 5).empty());
    CHECK_FALSE(in->node_id(1).known());
    CHECK(in->digest(1) == Digest{});
    CHECK(in->endpoint(1).empty());
    CHECK(in->numbers(1, 5).empty());
    const auto never = [](MapReader&) { FAIL("there is none"); };
    in->list(1, 5, never);
    in->map(1, never);
    CHECK(in->status());
    in->require(1);
    CHECK_FALSE(in->status());
}

TEST_CASE("unknown fields of any shape are skipped") {
    // This is how a later version adds to a message: floats, nested lists, what not.
    auto in = parse_hex("86" "0105" "02cb4000000000000000" "0393a161c090" "0481" "0192c3ca00000000"
                        "05c0" "0607");
    REQUIRE(in);
    CHECK(in->number(1) == 5);
    CHECK(in->number(6) == 7);
    CHECK(in->status());
}

TEST_CASE("bodies that break a rule are refused") {
    // Each line is one thing a hostile or broken peer might send.
    for (const char* bad : {
             "",                    // nothing
             "c0", "05", "90", "a0", "c1",        // no map
             "8000",                // bytes after the end
             "81", "8101", "820101",              // ends early
             "810161ff",            // trailing again
             "8101d90261",          // text longer than the body
             "8101c403",            // bytes longer than the body
             "82010102",            // second value missing
             "8201010102",          // a key twice
             "81a16101",            // a key that is text
             "81ff01",              // a negative key
             "81cc8001",            // a key over 127
             "818001", "819001", "81c001", "81c201", "81cb400000000000000001",  // odd keys
             "8101c1",              // a byte that msgpack never uses
             "8101d40100", "8101c7000500", "8101d8010000000000000000000000000000000000",  // ext
             "dfffffffff", "81" "01ddffffffff", "8101dc7fff00",                  // counts by claim
             "8101dbffffffff", "8101c6ffffffff",  // sizes by claim
             "8101930101",          // an item short
         }) {
        CAPTURE(std::string(bad));
        CHECK_FALSE(parse_hex(bad));
    }
}

TEST_CASE("nesting stops at eight") {
    // A deeper body is refused before anything of it is kept, whatever its shape.
    CHECK(parse_hex(nested(8)));
    CHECK_FALSE(parse_hex(nested(9)));
    CHECK_FALSE(parse_hex("8101" + std::string(130'000, '9')));
    std::string maps;
    for (int i = 0; i < 60'000; ++i) maps += "8101";
    CHECK_FALSE(parse_hex(maps));
}

TEST_CASE("the same key in two maps is no repetition") {
    // Uniqueness is per map: lists of records use the same keys over and over.
    auto in = parse_hex("8301" "8101" "8101a0" "02" "928101018101" "02" "0303");
    REQUIRE(in);
    std::vector<std::uint64_t> seen;
    in->list(2, 2, [&](MapReader& map) { seen.push_back(map.number(1)); });
    CHECK(seen == std::vector<std::uint64_t>{1, 2});
    CHECK(in->number(3) == 3);
    CHECK(in->status());
}

TEST_CASE("a wrong type or a broken limit is remembered, the first one for good") {
    // A caller reads all fields and asks once; it must not act on half of a message.
    const Digest digest = *Digest::parse("sha256:" + std::string(64, 'a'));
    const auto body = [&] {
        MapWriter map;
        MapWriter inner;
        inner.put(1, "text");
        map.put(1, std::uint64_t{300}).put(2, "abc").put_bytes(3, as_bytes("abc"));
        map.put_maps(4, {inner, inner}).put_numbers(5, {1, 2, 3}).put(6, inner);
        map.put_signed(7, -4).put(8, UINT64_MAX).put(9, digest);
        return *MapReader::parse(map.finish());
    };
    const auto refused = [&](auto read) {
        MapReader in = body();
        CHECK(in.status());
        read(in);
        REQUIRE_FALSE(in.status());
        CHECK(in.status().error().code == Errc::protocol);
        const std::string first = in.status().error().what;
        in.reject("later");
        CHECK(in.status().error().what == first);
    };
    refused([](MapReader& in) { CHECK(in.number(1, 0, 299) == 0); });
    refused([](MapReader& in) { CHECK(in.number(2, 5) == 5); });
    refused([](MapReader& in) { CHECK(in.number(7) == 0); });
    refused([](MapReader& in) { CHECK(in.signed_number(8) == 0); });
    refused([](MapReader& in) { CHECK(in.signed_number(2) == 0); });
    refused([](MapReader& in) { CHECK_FALSE(in.boolean(1)); });
    refused([](MapReader& in) { CHECK(in.text(2, 2).empty()); });
    refused([](MapReader& in) { CHECK(in.text(3, 9).empty()); });
    refused([](MapReader& in) { CHECK(in.bytes(3, 2).empty()); });
    refused([](MapReader& in) { CHECK(in.bytes(2, 9).empty()); });
    refused([](MapReader& in) { CHECK_FALSE(in.node_id(3).known()); });
    refused([](MapReader& in) { CHECK_FALSE(in.node_id(9).known()); });
    refused([](MapReader& in) { CHECK(in.digest(3) == Digest{}); });
    refused([](MapReader& in) { CHECK(in.digest(2) == Digest{}); });
    refused([](MapReader& in) { CHECK(in.endpoint(2).empty()); });
    refused([](MapReader& in) { CHECK(in.endpoint(1).empty()); });
    refused([](MapReader& in) { CHECK(in.numbers(5, 2).empty()); });
    refused([](MapReader& in) { CHECK(in.numbers(4, 9).empty()); });
    refused([](MapReader& in) { in.list(4, 1, [](MapReader&) {}); });
    refused([](MapReader& in) { in.list(5, 9, [](MapReader&) {}); });
    refused([](MapReader& in) { in.list(6, 9, [](MapReader&) {}); });
    refused([](MapReader& in) { in.map(4, [](MapReader&) {}); });
    refused([](MapReader& in) { in.map(6, [](MapReader& map) { CHECK(map.number(1) == 0); }); });
    refused([](MapReader& in) {
        in.list(4, 9, [](MapReader& map) { map.reject("no such thing"); });
    });
}

TEST_CASE("a digest field of every length but two is refused") {
    // The algorithm byte and the length must agree; the value becomes a file name.
    for (int alg = 0; alg < 4; ++alg) {
        for (std::size_t size = 0; size < 70; ++size) {
            Bytes raw(size);
            if (size > 0) raw[0] = static_cast<std::byte>(alg);
            MapWriter out;
            out.put_bytes(1, raw);
            auto in = MapReader::parse(out.finish());
            REQUIRE(in);
            const Digest digest = in->digest(1);
            const bool fine = (alg == 1 && size == 33) || (alg == 2 && size == 65);
            CHECK(in->status().has_value() == fine);
            if (fine) CHECK(digest.bytes().size() == size - 1);
        }
    }
}

TEST_CASE("every cut of a body is refused and none reads past its end") {
    // The sanitizers watch the edges: each cut lives in an allocation of its own size.
    MapWriter inner;
    inner.put(1, "inner").put_numbers(2, {1, 1000, 100'000});
    MapWriter out;
    out.put(0, std::uint64_t{70'000}).put(1, "text").put_maps(2, {inner, inner}).put_signed(3, -300);
    const Bytes whole = out.finish();
    for (std::size_t size = 0; size < whole.size(); ++size) {
        Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
        cut.shrink_to_fit();
        CHECK_FALSE(MapReader::parse(ByteView(cut)));
    }
    CHECK(MapReader::parse(ByteView(whole)));
}
