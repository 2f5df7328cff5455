// Requests that are passed on to the node that holds the upload: what happens when one of the two goes.
#include "node/upload_proxy.h"

#include <atomic>
#include <chrono>

#include "http_rig.h"
#include "uv/socket.h"

using namespace fastreg;
using namespace fastreg::node;

namespace {

/// The node that holds the upload: takes connections and says nothing.
struct Holder {
    Holder() {
        sockaddr_in at{};
        at.sin_family = AF_INET;
        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof at;
        REQUIRE(::bind(listening.get(), reinterpret_cast<const sockaddr*>(&at), size) == 0);
        REQUIRE(::listen(listening.get(), 4) == 0);
        REQUIRE(::getsockname(listening.get(), reinterpret_cast<sockaddr*>(&at), &size) == 0);
        address = {"127.0.0.1", ntohs(at.sin_port)};
    }
    const uv::Fd listening{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    Endpoint address;
};

constexpr const char* kPut = "PUT /v2/a/blobs/uploads/u HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc";

}  // namespace

TEST_CASE("a request that was passed on ends when membership takes the other node for dead") {
    // A process that is stopped keeps its connections: the client waited a minute for nothing.
    const Holder holder;
    std::atomic<int> asked = 0;
    Served served([&](const std::shared_ptr<Exchange>& exchange) {
        proxy_upload(exchange, holder.address, {}, [&](std::function<void(bool)> answer) { answer(++asked < 2); });
    });
    HttpClient client(served.port());
    const auto began = std::chrono::steady_clock::now();
    const auto answer = client.ask(kPut);
    CHECK(answer.status == 503);
    CHECK(answer.body.find("does not answer the members of the mesh any more") != std::string::npos);
    CHECK(asked == 2);  // the first time it was there
    CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds(4));
}

TEST_CASE("a client that goes away takes the connection of its passed-on request with it") {
    // Else each client that gave up holds a descriptor here and one there for a minute.
    const Holder holder;
    Served served([&](const std::shared_ptr<Exchange>& exchange) {
        proxy_upload(exchange, holder.address, {});
    });
    HttpClient client(served.port());
    REQUIRE(client.send(kPut));

    const uv::Fd passed(::accept4(holder.listening.get(), nullptr, nullptr, SOCK_CLOEXEC));
    REQUIRE(passed);
    timeval limit{5, 0};
    REQUIRE(::setsockopt(passed.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    std::string got;
    char place[4096];
    while (!got.ends_with("\r\n\r\nabc")) {
        const ssize_t n = ::recv(passed.get(), place, sizeof place, 0);
        REQUIRE(n > 0);
        got.append(place, static_cast<std::size_t>(n));
    }
    client.reset();  // the answer is still to come
    CHECK(::recv(passed.get(), place, sizeof place, 0) == 0);
}
