// What real clients send must parse to the same thing however TCP cuts it.
#include "recorded.h"

#include <doctest/doctest.h>

#include "events.h"

using namespace fastreg;
using namespace fastreg::http;

TEST_CASE("every recorded request parses, whole") {
    for (const Recorded& recorded : recorded_requests()) {
        CAPTURE(recorded.what);
        Parser parser;
        EventLog log;
        CHECK(log.feed(parser, as_bytes(recorded.bytes)));
        CHECK(log.requests().size() == recorded.requests);
        CHECK(parser.idle());
    }
}

TEST_CASE("every split point of every recorded request gives the same events") {
    // A parser that keeps state between reads wrongly fails only at one unlucky boundary.
    for (const Recorded& recorded : recorded_requests()) {
        CAPTURE(recorded.what);
        const EventLog whole = parse_all(recorded.bytes);
        const ByteView bytes = as_bytes(recorded.bytes);
        for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
            Parser parser;
            EventLog log;
            log.feed(parser, bytes.first(cut));
            log.feed(parser, bytes.subspan(cut));
            REQUIRE_MESSAGE(log.text() == whole.text(), "cut at ", cut);
        }
        Parser parser;
        EventLog bytewise;
        for (const std::byte& b : bytes) bytewise.feed(parser, {&b, 1});
        CHECK(bytewise.text() == whole.text());
    }
}

TEST_CASE("a parser that moves between two reads goes on where it was") {
    // Connections live in containers; llhttp keeps pointers that must not point at the old place.
    const std::string text =
        "PATCH /v2/a/blobs/uploads/x HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: "
        "chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    for (std::size_t cut = 0; cut <= text.size(); ++cut) {
        Parser first;
        EventLog log;
        log.feed(first, as_bytes(text).first(cut));
        Parser second = std::move(first);
        log.feed(second, as_bytes(text).subspan(cut));
        REQUIRE(log.body() == "hello");
        REQUIRE(second.idle());
    }
}
