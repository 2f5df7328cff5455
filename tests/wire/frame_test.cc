// Every link of the mesh reads frames from a byte stream that may be cut anywhere, by anyone.
#include "wire/frame.h"

#include <doctest/doctest.h>

#include <vector>

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

namespace {

Bytes stream_of(const std::vector<Frame>& frames) {
    Bytes stream;
    for (const Frame& frame : frames) {
        const Bytes bytes = encode_frame(frame);
        stream.insert(stream.end(), bytes.begin(), bytes.end());
    }
    return stream;
}

std::vector<Frame> drain(FrameReader& reader) {
    std::vector<Frame> frames;
    for (;;) {
        auto frame = reader.next();
        REQUIRE(frame);
        if (!frame->has_value()) return frames;
        frames.push_back(**std::move(frame));
    }
}

bool same(const std::vector<Frame>& a, const std::vector<Frame>& b) {
    return stream_of(a) == stream_of(b);
}

Bytes header_bytes(std::uint32_t rest, std::uint8_t zero = 0) {
    Bytes header(kFrameHeaderSize);
    for (std::size_t i = 0; i < 4; ++i) header[i] = static_cast<std::byte>(rest >> (8 * i));
    header[7] = static_cast<std::byte>(zero);
    return header;
}

}  // namespace

TEST_CASE("every split of a stream gives the same frames") {
    // TCP keeps bytes, not messages.
    const std::vector<Frame> sent = {
        {1, 0, 0, {}}, {2, 1, 7, Bytes(5, std::byte{1})}, {255, 255, UINT64_MAX, Bytes(40)}, {3, 0, 1, {}}};
    const Bytes stream = stream_of(sent);
    for (std::size_t first = 0; first <= stream.size(); ++first) {
        for (std::size_t second = first; second <= stream.size(); second += 7) {
            FrameReader reader;
            std::vector<Frame> got;
            const auto feed = [&](std::size_t from, std::size_t to) {
                reader.feed(ByteView(stream).subspan(from, to - from));
                for (auto& frame : drain(reader)) got.push_back(std::move(frame));
            };
            feed(0, first);
            feed(first, second);
            feed(second, stream.size());
            if (!same(got, sent)) FAIL("split at " << first << " and " << second);
        }
    }
    FrameReader reader;
    std::vector<Frame> got;
    for (const std::byte b : stream) {
        reader.feed({&b, 1});
        for (auto& frame : drain(reader)) got.push_back(std::move(frame));
    }
    CHECK(same(got, sent));
}

TEST_CASE("the largest frame passes and a larger one does not") {
    // Nothing is allocated for a length that only a header claims.
    const Frame largest{9, 0, 1, Bytes(kFrameBodyMax, std::byte{3})};
    FrameReader reader;
    reader.feed(encode_frame(largest));
    CHECK(same(drain(reader), {largest}));
    CHECK(decode_header(header_bytes(65'536)));
    CHECK_FALSE(decode_header(header_bytes(65'537)));
    CHECK_FALSE(decode_header(header_bytes(UINT32_MAX)));
    CHECK(decode_header(header_bytes(12))->body_size == 0);
    CHECK_FALSE(decode_header(header_bytes(11)));
    CHECK_FALSE(decode_header(header_bytes(0)));
    CHECK_FALSE(decode_header(header_bytes(12, 1)));
}

TEST_CASE("a broken stream stays broken") {
    // After a wrong length nobody knows where the next frame starts: the link must be closed.
    FrameReader reader;
    reader.feed(encode_frame({1, 0, 0, {}}));
    reader.feed(as_bytes("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
    CHECK(reader.next()->has_value());
    const auto broken = reader.next();
    REQUIRE_FALSE(broken);
    CHECK(broken.error().code == Errc::protocol);
    reader.feed(encode_frame({1, 0, 0, {}}));
    CHECK_FALSE(reader.next());
}

TEST_CASE("a raw body after a frame is left to the driver") {
    // Chunks follow their header frame as plain bytes, which never pass through a frame.
    FrameReader reader;
    Bytes stream = encode_frame({0x41, 0, 1, {}});
    const ByteView raw = as_bytes("raw body");
    stream.insert(stream.end(), raw.begin(), raw.end());
    reader.feed(stream);
    CHECK(reader.next()->has_value());
    CHECK(as_text(reader.rest()) == "raw body");
    reader.consume(4);
    CHECK(as_text(reader.rest()) == "body");
    reader.consume(4);
    CHECK(reader.rest().empty());
    reader.feed(encode_frame({5, 0, 2, {}}));
    CHECK(drain(reader).size() == 1);
}
