// The HTTP server on real sockets: requests and their answers, from clients of every kind.
#include <atomic>
#include <thread>

#include "http_rig.h"

using namespace fastreg;
using namespace fastreg::node;

TEST_CASE("a connection answers one request after another, pipelined or not") {
    Served served(echo_path);
    HttpClient client(served.port());
    CHECK(client.ask(get("/a")).body == "/a");
    CHECK(client.ask(get("/b")).body == "/b");
    std::string many;
    for (int i = 0; i < 500; ++i) many += get("/" + std::to_string(i));
    REQUIRE(client.send(many));
    for (int i = 0; i < 500; ++i) REQUIRE(client.answer().body == "/" + std::to_string(i));
    CHECK(served.server->connections() == 1);
    CHECK(served.meters.requests.value() == 502);
}

TEST_CASE("answers that come later, from another thread, keep their order") {
    std::atomic<int> count = 0;
    std::vector<std::thread> threads;
    std::mutex mutex;
    Served served([&](const std::shared_ptr<Exchange>& exchange) {
        const std::lock_guard lock(mutex);
        threads.emplace_back([exchange, n = count++] {
            ::usleep(n % 2 == 0 ? 3000 : 0);
            exchange->post([exchange] { echo_path(exchange); });
        });
    });
    HttpClient client(served.port());
    std::string many;
    for (int i = 0; i < 20; ++i) many += get("/" + std::to_string(i));
    REQUIRE(client.send(many));
    for (int i = 0; i < 20; ++i) CHECK(client.answer().body == "/" + std::to_string(i));
    for (std::thread& thread : threads) thread.join();
}

TEST_CASE("HEAD gets the length and not the body") {
    Served served(echo_path);
    HttpClient client(served.port());
    const auto head = client.ask("HEAD /abc HTTP/1.1\r\nHost: t\r\n\r\n", true);
    CHECK(head.headers.get("Content-Length") == "4");
    CHECK(head.headers.has("Date"));
    CHECK(client.ask(get("/next")).body == "/next");
}

TEST_CASE("who asks for it is closed after the answer") {
    Served served(echo_path);
    HttpClient one(served.port());
    REQUIRE(one.send(get("/a", "Connection: close\r\n")));
    CHECK(one.read_all().ends_with("Connection: close\r\n\r\n/a"));
    HttpClient old(served.port());
    REQUIRE(old.send("GET /a HTTP/1.0\r\n\r\n"));
    CHECK(old.read_all().ends_with("/a"));
    // A client may close its half first, as `nc` does.
    HttpClient half(served.port());
    REQUIRE(half.send(get("/half")));
    half.close_sending();
    CHECK(half.read_all().ends_with("/half"));
    CHECK(served.settles_at(0));
}

TEST_CASE("what is not HTTP gets one clear answer") {
    Served served(echo_path);
    HttpClient tls(served.port());
    REQUIRE(tls.send(std::string_view("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11)));
    const auto answer = tls.answer();
    CHECK(answer.status == 400);
    CHECK(answer.body.find("this port speaks plain HTTP") != std::string::npos);
    CHECK(tls.at_end());
    HttpClient smuggler(served.port());
    CHECK(smuggler
              .ask("PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nTransfer-Encoding: "
                   "chunked\r\n\r\n")
              .status == 400);
    CHECK(smuggler.at_end());
}

TEST_CASE("a unix socket has no remote address") {
    Served served([](const std::shared_ptr<Exchange>& exchange) {
        exchange->respond(ok_head(),
                          exchange->remote().empty() ? "local" : exchange->remote().host);
    });
    const std::string path = "/tmp/fr-http-" + std::to_string(::getpid()) + ".sock";
    REQUIRE(served.server->listen_unix(path));
    HttpClient local(path);
    CHECK(local.ask(get("/")).body == "local");
    HttpClient remote(served.port());
    CHECK(remote.ask(get("/")).body == "127.0.0.1");
}

TEST_CASE("a port in use says which flag to change") {
    Served served(echo_path);
    const Status status = served.server->listen({"127.0.0.1", served.port()}, "--http-listen");
    REQUIRE_FALSE(status);
    CHECK(status.error().what.find("--http-listen") != std::string::npos);
}

TEST_CASE("an answer whose length is wrong becomes an error, not a broken connection") {
    Served served([](const std::shared_ptr<Exchange>& exchange) {
        http::ResponseHead head = ok_head();
        head.content_length = 100;
        exchange->respond(head, "short");
    });
    HttpClient client(served.port());
    CHECK(client.ask(get("/")).status == 500);
    CHECK(client.ask(get("/")).status == 500);
}
