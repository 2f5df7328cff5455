// Clients resume and read in parallel by ranges; off by one here is a corrupt layer there.
#include "http/range.h"

#include <doctest/doctest.h>

using namespace fastreg;
using namespace fastreg::http;

namespace {

bool ignored(std::string_view field, std::uint64_t size = 2048) {
    return std::holds_alternative<RangeIgnored>(parse_range(field, size));
}
bool unsatisfiable(std::string_view field, std::uint64_t size = 2048) {
    return std::holds_alternative<RangeUnsatisfiable>(parse_range(field, size));
}
ByteRange one(std::string_view field, std::uint64_t size = 2048) {
    const RangeAnswer answer = parse_range(field, size);
    REQUIRE(std::holds_alternative<ByteRange>(answer));
    return std::get<ByteRange>(answer);
}

}  // namespace

TEST_CASE("single ranges, as the conformance suite asks them") {
    CHECK(one("bytes=500-1499") == ByteRange{500, 1499});
    CHECK(one("bytes=500-") == ByteRange{500, 2047});
    CHECK(one("bytes=-500") == ByteRange{1548, 2047});
    CHECK(one("bytes=2000-5000") == ByteRange{2000, 2047});
    CHECK(one("bytes=0-") == ByteRange{0, 2047});
    CHECK(one("bytes=0-0").size() == 1);
    CHECK(one("bytes=-5000") == ByteRange{0, 2047});
    CHECK(one("Bytes = 1 - 2 ") == ByteRange{1, 2});
    CHECK(unsatisfiable("bytes=500-0"));
    CHECK(unsatisfiable("bytes=5000-10000"));
    CHECK(unsatisfiable("bytes=2048-"));
    CHECK(unsatisfiable("bytes=-0"));
    CHECK(unsatisfiable("bytes=0-", 0));
    CHECK(unsatisfiable("bytes=-1", 0));
}

TEST_CASE("what is no byte range is ignored, as the RFC asks") {
    for (const std::string field : {"",
                                    "bytes",
                                    "bytes=",
                                    "bytes=,",
                                    "items=0-1",
                                    "bytes=a-b",
                                    "bytes=1",
                                    "bytes=-",
                                    "bytes=1-2x",
                                    "bytes=0x1-2",
                                    "bytes=1-2,z",
                                    "bytes=--1"}) {
        CAPTURE(field);
        CHECK(ignored(field));
    }
}

TEST_CASE("absurd numbers are past the end, not wrapped around it") {
    CHECK(one("bytes=5-99999999999999999999999") == ByteRange{5, 2047});
    CHECK(unsatisfiable("bytes=99999999999999999999999-"));
    CHECK(one("bytes=-99999999999999999999999") == ByteRange{0, 2047});
    CHECK(one("bytes=0-18446744073709551615", UINT64_MAX) == ByteRange{0, UINT64_MAX - 1});
}

TEST_CASE("several ranges come back in the order asked, without those outside") {
    const RangeAnswer answer = parse_range("bytes=100-199, 0-9, 5000-, -1", 2048);
    REQUIRE(std::holds_alternative<std::vector<ByteRange>>(answer));
    CHECK(std::get<std::vector<ByteRange>>(answer) ==
          std::vector<ByteRange>{{100, 199}, {0, 9}, {2047, 2047}});
    CHECK(one("bytes=5000-,1-2") == ByteRange{1, 2});
    CHECK(unsatisfiable("bytes=5000-,6000-"));
}

TEST_CASE("ranges cannot be used to make a small request a huge answer") {
    std::string many = "bytes=0-0";
    for (int i = 1; i < 64; ++i) many += "," + std::to_string(2 * i) + "-" + std::to_string(2 * i);
    CHECK(std::holds_alternative<std::vector<ByteRange>>(parse_range(many, 2048)));
    CHECK(std::holds_alternative<RangeTooMany>(parse_range(many + ",1000-1001", 2048)));
    CHECK(std::holds_alternative<RangeTooMany>(parse_range("bytes=0-,0-,0-", 2048)));
    CHECK(std::holds_alternative<RangeTooMany>(parse_range("bytes=0-2046,0-1", 2048)));
    CHECK(std::holds_alternative<RangeTooMany>(
        parse_range("bytes=0-18446744073709551613,0-18446744073709551613", UINT64_MAX)));
}

TEST_CASE("the ranges of upload chunks, in both spellings") {
    CHECK(*parse_content_range("0-99") == ByteRange{0, 99});
    CHECK(*parse_content_range("bytes 100-199/500") == ByteRange{100, 199});
    CHECK(*parse_content_range("bytes 100-199/*") == ByteRange{100, 199});
    CHECK(*parse_content_range("bytes=5-5") == ByteRange{5, 5});
    for (const std::string bad : {"",
                                  "-",
                                  "5",
                                  "5-",
                                  "-5",
                                  "a-b",
                                  "bytes 0-1/x",
                                  "0-18446744073709551615",
                                  "bytes */500",
                                  "0 - 5"}) {
        CAPTURE(bad);
        CHECK(parse_content_range(bad).error().code == Errc::invalid_argument);
    }
    CHECK(parse_content_range("9-5").error().code == Errc::out_of_range);
    CHECK(parse_content_range("0-9/9").error().code == Errc::out_of_range);
    CHECK(content_range({0, 9}, 100) == "bytes 0-9/100");
    CHECK(content_range_unsatisfied(7) == "bytes */7");
}
