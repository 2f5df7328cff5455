// The command line reads answers of a node that may be old, broken or something else altogether.
#include "http/client_response.h"

#include <doctest/doctest.h>

using namespace fastreg;
using namespace fastreg::http;

namespace {

struct Outcome {
    bool ok = false;
    int status = 0;
    std::string body;
};

Outcome read(std::string_view bytes, bool to_head = false, std::size_t step = 1) {
    ResponseParser parser(to_head);
    while (!bytes.empty()) {
        const std::size_t n = std::min(step, bytes.size());
        const auto done = parser.feed(as_bytes(bytes.substr(0, n)));
        if (!done) return {};
        bytes.remove_prefix(n);
        if (*done) break;
    }
    if (!parser.finish()) return {};
    return {true, parser.status(), parser.body()};
}

}  // namespace

TEST_CASE("an answer is read by length, by chunks and until the end") {
    for (const std::size_t step : {1U, 3U, 1000U}) {
        CHECK(read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, step).body ==
              "hello");
        CHECK(read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                   false,
                   step)
                  .body == "hello");
        CHECK(read("HTTP/1.1 200 OK\r\n\r\nhello", false, step).body == "hello");
        CHECK(read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, step).ok);
        CHECK(read("HTTP/1.1 204 No Content\r\n\r\n", false, step).status == 204);
    }
}

TEST_CASE("100 Continue is not the answer") {
    const Outcome outcome =
        read("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno");
    CHECK(outcome.status == 503);
    CHECK(outcome.body == "no");
}

TEST_CASE("half an answer is an error, and so is something else") {
    CHECK_FALSE(read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel").ok);
    CHECK_FALSE(read("HTTP/1.1 200 OK\r\nContent-").ok);
    CHECK_FALSE(read("").ok);
    CHECK_FALSE(read("SSH-2.0-OpenSSH_9.2\r\n").ok);
    ResponseParser parser(false, 4);
    const auto over = parser.feed(as_bytes("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"));
    REQUIRE_FALSE(over);
    CHECK(over.error().code == Errc::too_large);
}

TEST_CASE("requests carry what a server needs") {
    Headers headers;
    headers.add("Accept", "application/json");
    CHECK(make_request("GET", "/status", "admin", headers) ==
          "GET /status HTTP/1.1\r\nHost: admin\r\nAccept: application/json\r\nConnection: "
          "close\r\n\r\n");
    CHECK(make_request("POST", "/gc", "admin", {}, "{}", true) ==
          "POST /gc HTTP/1.1\r\nHost: admin\r\nContent-Length: 2\r\n\r\n{}");
}
