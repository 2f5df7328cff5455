// A wrong length or a stray line in a response breaks the client's next request, not this one.
#include "http/response.h"

#include <doctest/doctest.h>

using namespace fastreg::http;

TEST_CASE("framing follows the body that is announced") {
    ResponseHead head;
    head.headers.add("Content-Type", "text/plain");
    head.content_length = 5;
    CHECK(serialize_whole(head, "hello", false, {}) ==
          "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello");
    CHECK(serialize_whole(head, "hello", true, {}) ==
          "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\n");
    head.content_length.reset();
    CHECK(serialize(head, {}).find("Transfer-Encoding: chunked\r\n") != std::string::npos);
    const std::string old = serialize(head, {.minor = 0, .keep_alive = true});
    CHECK(old.find("Transfer-Encoding") == std::string::npos);
    CHECK(old.find("Connection: close\r\n") != std::string::npos);
}

TEST_CASE("the connection field says what will happen") {
    ResponseHead head;
    head.content_length = 0;
    CHECK(serialize(head, {}).find("Connection") == std::string::npos);
    CHECK(serialize(head, {.keep_alive = false}).find("Connection: close") != std::string::npos);
    CHECK(serialize(head, {.minor = 0}).find("Connection: keep-alive") != std::string::npos);
}

TEST_CASE("answers that never have a body have no framing either") {
    // A Content-Length on 204 makes some clients wait for it.
    for (const int status : {100, 204, 304}) {
        ResponseHead head;
        head.status = status;
        head.content_length = 7;
        const std::string text = serialize_whole(head, "1234567", false, {});
        CHECK(text.find("Content-Length") == std::string::npos);
        CHECK(text.find("Transfer-Encoding") == std::string::npos);
        CHECK(text.ends_with("\r\n\r\n"));
    }
}

TEST_CASE("a value cannot become a line of its own") {
    // Content types come from clients and are sent to other clients.
    ResponseHead head;
    head.content_length = 0;
    head.headers.add("Content-Type", "a/b\r\nSet-Cookie: x");
    const std::string text = serialize(head, {});
    CHECK(text.find("\r\nSet-Cookie") == std::string::npos);
    CHECK(text.find("Content-Type: a/b??Set-Cookie: x\r\n") != std::string::npos);
}

TEST_CASE("chunk prefixes are hexadecimal") {
    CHECK(chunk_prefix(1) == "1\r\n");
    CHECK(chunk_prefix(262144) == "40000\r\n");
}

TEST_CASE("dates are those of the standard") {
    CHECK(format_date(784111777) == "Sun, 06 Nov 1994 08:49:37 GMT");
    CHECK(format_date(0) == "Thu, 01 Jan 1970 00:00:00 GMT");
    CHECK(format_date(951782400) == "Tue, 29 Feb 2000 00:00:00 GMT");
}
