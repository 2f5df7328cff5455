// The parser stands where the network begins: what it lets through, every other room believes.
#include "http/parser.h"

#include <doctest/doctest.h>

#include "events.h"

using namespace fastreg;
using namespace fastreg::http;

namespace {

struct Refused {
    std::string what;
    std::string bytes;
    int status;
};

const std::string kGet = "GET /v2/ HTTP/1.1\r\nHost: r\r\n";

}  // namespace

TEST_CASE("the parser stops behind a head and behind a message") {
    // The driver decides about a body (100 Continue, 403, 413) before a byte of it is looked at,
    // and a pipelined request must wait until the first one is answered.
    const std::string text =
        "PUT /a HTTP/1.1\r\nHost: r\r\nContent-Length: 3\r\n\r\nabc" + kGet + "\r\n";
    Parser parser;
    ByteView rest = as_bytes(text);
    ParseStep step = parser.feed(rest);
    REQUIRE(std::holds_alternative<HeadDone>(step.event));
    CHECK(as_text(rest.subspan(step.consumed)).starts_with("abcGET"));
    CHECK_FALSE(parser.idle());
    rest = rest.subspan(step.consumed);

    step = parser.feed(rest);
    REQUIRE(std::holds_alternative<BodyData>(step.event));
    const ByteView body = std::get<BodyData>(step.event).bytes;
    CHECK(body.data() == rest.data());  // no copy
    CHECK(as_text(body) == "abc");
    rest = rest.subspan(step.consumed);

    step = parser.feed(rest);
    REQUIRE(std::holds_alternative<MessageDone>(step.event));
    CHECK(as_text(rest.subspan(step.consumed)) == kGet + "\r\n");
    CHECK(parser.idle());
}

TEST_CASE("a message without a body ends without another byte") {
    // Otherwise a GET would be answered only when the client sends the next one.
    Parser parser;
    const std::string text = kGet + "\r\n";
    CHECK(std::holds_alternative<HeadDone>(parser.feed(as_bytes(text)).event));
    CHECK(std::holds_alternative<MessageDone>(parser.feed({}).event));
    CHECK(std::holds_alternative<NeedMore>(parser.feed({}).event));
}

TEST_CASE("what two servers could read differently is refused") {
    // Each of these is a known way to smuggle a second request past a proxy in front of us.
    const std::vector<Refused> cases = {
        {"length and chunks",
         kGet + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
         400},
        {"chunks and length",
         kGet + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
         400},
        {"two lengths", kGet + "Content-Length: 3\r\nContent-Length: 4\r\n\r\n", 400},
        {"two equal lengths", kGet + "Content-Length: 3\r\nContent-Length: 3\r\n\r\n", 400},
        {"a list of lengths", kGet + "Content-Length: 3, 3\r\n\r\n", 400},
        {"a signed length", kGet + "Content-Length: +3\r\n\r\n", 400},
        {"a negative length", kGet + "Content-Length: -1\r\n\r\n", 400},
        {"a hex length", kGet + "Content-Length: 0x3\r\n\r\n", 400},
        {"an empty length", kGet + "Content-Length: \r\n\r\n", 400},
        {"a length past 64 bits", kGet + "Content-Length: 18446744073709551616\r\n\r\n", 400},
        {"bare LF after the request line", "GET /v2/ HTTP/1.1\nHost: r\r\n\r\n", 400},
        {"bare LF after a field", "GET /v2/ HTTP/1.1\r\nHost: r\n\r\n", 400},
        {"bare LF as the empty line", kGet + "\n", 400},
        {"bare CR in a field", kGet + "X: a\rb\r\n\r\n", 400},
        {"CR CR LF", "GET /v2/ HTTP/1.1\r\r\nHost: r\r\n\r\n", 400},
        {"folded field", kGet + "X: a\r\n b\r\n\r\n", 400},
        {"folded with a tab", kGet + "X: a\r\n\tb\r\n\r\n", 400},
        {"space before the first field", "GET /v2/ HTTP/1.1\r\n Host: r\r\n\r\n", 400},
        {"NUL in a value", kGet + std::string("X: a\0b\r\n\r\n", 10), 400},
        {"NUL in the target", std::string("GET /v2/\0x HTTP/1.1\r\n\r\n", 23), 400},
        {"space before the colon", kGet + "Content-Length : 3\r\n\r\n", 400},
        {"no colon", kGet + "Content-Length\r\n\r\n", 400},
        {"a field without a name", kGet + ": 3\r\n\r\n", 400},
        {"unknown coding", kGet + "Transfer-Encoding: gzip\r\n\r\n", 501},
        {"chunked twice", kGet + "Transfer-Encoding: chunked, chunked\r\n\r\n", 501},
        {"gzip, chunked", kGet + "Transfer-Encoding: gzip, chunked\r\n\r\n", 501},
        {"chunked in two fields",
         kGet + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
         501},
        {"a coding with a tail", kGet + "Transfer-Encoding: chunkedx\r\n\r\n", 501},
        {"chunks in HTTP/1.0",
         "POST /v2/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         400},
        {"no host", "GET /v2/ HTTP/1.1\r\n\r\n", 400},
        {"two hosts", kGet + "Host: s\r\n\r\n", 400},
        {"HTTP/2", "GET /v2/ HTTP/2.0\r\nHost: r\r\n\r\n", 505},
        {"HTTP/1.2", "GET /v2/ HTTP/1.2\r\nHost: r\r\n\r\n", 505},
        {"no version", "GET /v2/\r\nHost: r\r\n\r\n", 400},
        {"a broken version", "GET /v2/ HTTX/1.1\r\nHost: r\r\n\r\n", 400},
        {"two spaces", "GET  /v2/ HTTP/1.1\r\nHost: r\r\n\r\n", 400},
        {"an unknown method", "FROB /v2/ HTTP/1.1\r\nHost: r\r\n\r\n", 501},
        {"a lower-case method", "get /v2/ HTTP/1.1\r\nHost: r\r\n\r\n", 501},
        {"a relative target", "GET v2/ HTTP/1.1\r\nHost: r\r\n\r\n", 400},
        {"a tunnel", "CONNECT host:443 HTTP/1.1\r\nHost: host:443\r\n\r\n", 400},
        {"a broken percent sequence", "GET /v2/%zz HTTP/1.1\r\nHost: r\r\n\r\n", 400},
        {"a percent NUL", "GET /v2/%00 HTTP/1.1\r\nHost: r\r\n\r\n", 400},
        {"a high byte in the target", "GET /v2/\xc3\xa9 HTTP/1.1\r\nHost: r\r\n\r\n", 400},
        {"an expectation", kGet + "Expect: 200-ok\r\n\r\n", 417},
    };
    for (const Refused& c : cases) {
        CAPTURE(c.what);
        const EventLog log = parse_all(c.bytes);
        CHECK(log.status() == c.status);
        CHECK(log.requests().empty());
        // The same refusal at every cut: an attacker chooses the cuts.
        Parser parser;
        EventLog bytewise;
        for (const char& b : c.bytes) {
            if (!bytewise.feed(parser, as_bytes({&b, 1}))) break;
        }
        CHECK(bytewise.text() == log.text());
    }
}

TEST_CASE("malformed chunks are refused and never become a request") {
    const std::string head = kGet + "Transfer-Encoding: chunked\r\n\r\n";
    for (const std::string& body : std::vector<std::string>{"x\r\n",
                                                            "5\nhello\r\n0\r\n\r\n",
                                                            "-1\r\n",
                                                            "+5\r\nhello\r\n",
                                                            "0x5\r\nhello\r\n",
                                                            " 5\r\nhello\r\n",
                                                            "5\r\nhelloX\r\n0\r\n\r\n",
                                                            "5\r\nhello0\r\n\r\n",
                                                            "5\r\nhello\n0\r\n\r\n",
                                                            "FFFFFFFFFFFFFFFFF\r\n",
                                                            "\r\nhello",
                                                            "5;a\nb\r\nhello\r\n",
                                                            "5\r\nhello\r\n0\r\nX: y\n\r\n"}) {
        CAPTURE(body);
        const EventLog log = parse_all(head + body + kGet + "\r\n");
        CHECK(log.status() == 400);
        CHECK(log.requests().size() == 1);
    }
}

TEST_CASE("a chunked body cannot be mostly framing") {
    // One endless chunk extension, or endless trailers, would be read for ever at no cost to a
    // client.
    for (const std::string& lead : std::vector<std::string>{"5;", "0\r\nX: "}) {
        Parser parser;
        EventLog log;
        REQUIRE(log.feed(parser, as_bytes(kGet + "Transfer-Encoding: chunked\r\n\r\n" + lead)));
        const std::string block(4096, 'a');
        std::size_t sent = 0;
        while (log.feed(parser, as_bytes(block)) && sent < 1'000'000) sent += block.size();
        CHECK(log.status() == 400);
        CHECK(sent < 100'000);
    }
    // One byte a chunk is wasteful but honest.
    std::string bytes = kGet + "Transfer-Encoding: chunked\r\n\r\n";
    for (int i = 0; i < 50'000; ++i) bytes += "1\r\nx\r\n";
    const EventLog log = parse_all(bytes + "0\r\n\r\n");
    CHECK(log.status() == 0);
    CHECK(log.body().size() == 50'000);
}

TEST_CASE("other protocols on the port are told so") {
    // skopeo tries TLS first; a person who sees this in a log must know what to change.
    const EventLog tls = parse_all(std::string("\x16\x03\x01\x02\x00\x01\x00", 7));
    CHECK(tls.status() == 400);
    CHECK(tls.what().find("this port speaks plain HTTP") == 0);
    const EventLog h2 = parse_all("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    CHECK(h2.status() == 400);
    CHECK(h2.what().find("this port speaks plain HTTP") == 0);
    const EventLog ssh = parse_all(std::string("\x00\x00\x01", 3));
    CHECK(ssh.status() == 400);
}

TEST_CASE("each limit has its status, at exactly the limit") {
    const std::string target(8 * 1024 - 1, 'a');
    CHECK(parse_all("GET /" + target + " HTTP/1.1\r\nHost: r\r\n\r\n").status() == 0);
    CHECK(parse_all("GET /a" + target + " HTTP/1.1\r\nHost: r\r\n\r\n").status() == 414);

    std::string fields;
    for (int i = 0; i < 99; ++i) fields += "X: y\r\n";
    CHECK(parse_all(kGet + fields + "\r\n").status() == 0);
    CHECK(parse_all(kGet + fields + "X: y\r\n\r\n").status() == 431);

    const std::size_t room = 32 * 1024 - kGet.size() - std::string("X: \r\n\r\n").size();
    CHECK(parse_all(kGet + "X: " + std::string(room, 'v') + "\r\n\r\n").status() == 0);
    CHECK(parse_all(kGet + "X: " + std::string(room + 1, 'v') + "\r\n\r\n").status() == 431);
}

TEST_CASE("an endless head is refused without being kept") {
    Parser parser;
    EventLog log;
    const std::string block(1024, 'a');
    int blocks = 0;
    while (log.feed(parser, as_bytes(block)) && blocks < 100) ++blocks;
    CHECK(log.status() == 400);  // no method is that long
    CHECK(blocks == 0);
}

TEST_CASE("a refusal is final") {
    Parser parser;
    CHECK(std::get<BadMessage>(parser.feed(as_bytes("\x01")).event).status == 400);
    const ParseStep again = parser.feed(as_bytes(kGet + "\r\n"));
    CHECK(again.consumed == 0);
    CHECK(std::get<BadMessage>(again.event).status == 400);
}

TEST_CASE("empty lines before a request are skipped, and keep the connection idle") {
    Parser parser;
    EventLog log;
    CHECK(log.feed(parser, as_bytes("\r\n\r\n")));
    CHECK(parser.idle());
    CHECK(log.feed(parser, as_bytes(kGet + "\r\n")));
    CHECK(log.requests().size() == 1);
}

TEST_CASE("who keeps the connection") {
    const auto keep = [](const std::string& text) {
        return parse_all(text).requests().at(0).keep_alive;
    };
    CHECK(keep("GET / HTTP/1.1\r\nHost: r\r\n\r\n"));
    CHECK_FALSE(keep("GET / HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n"));
    CHECK_FALSE(keep("GET / HTTP/1.1\r\nHost: r\r\nConnection: keep-alive, Close\r\n\r\n"));
    CHECK_FALSE(keep("GET / HTTP/1.0\r\n\r\n"));
    CHECK(keep("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
}

TEST_CASE("an offer to upgrade is ignored, and the body still belongs to the request") {
    const EventLog log = parse_all(
        "POST /a HTTP/1.1\r\nHost: r\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: "
        "2\r\n\r\nhi" +
        kGet + "\r\n");
    CHECK(log.requests().size() == 2);
    CHECK(log.body() == "hi");
    const EventLog chunked = parse_all(
        "POST /a HTTP/1.1\r\nHost: r\r\nConnection: Upgrade\r\nUpgrade: "
        "h2c\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n" +
        kGet + "\r\n");
    CHECK(chunked.requests().size() == 2);
    CHECK(chunked.body() == "hi");
}

TEST_CASE("field values keep their bytes, without the space around them") {
    const EventLog log =
        parse_all("GET / HTTP/1.1\r\nHost:r\r\nA:  x y \t\r\nB:\r\na: second\r\nC: \xff\r\n\r\n");
    REQUIRE(log.requests().size() == 1);
    const Headers& headers = log.requests()[0].headers;
    CHECK(headers.get("a") == "x y");
    CHECK(headers.has("b"));
    CHECK(headers.get("B") == "");
    CHECK(headers.list("A") == std::vector<std::string>{"x y", "second"});
    CHECK(headers.get("C") == "\xff");
}
