// The HTTP server on real sockets: bodies of requests, whole, broken off, too long and unread.
#include <atomic>
#include <thread>

#include "http_rig.h"

using namespace fastreg;
using namespace fastreg::node;

TEST_CASE("bodies arrive whole, by length and by chunks, however they are cut") {
    Served served(echo_body);
    const std::string body = pattern(3'000'000);
    {
        HttpClient client(served.port());
        REQUIRE(client.send("PUT /x HTTP/1.1\r\nHost: t\r\nContent-Length: 3000000\r\n\r\n"));
        std::thread sender([&] { CHECK(client.send(body)); });
        const std::string back = client.read_body(body.size());
        sender.join();
        CHECK(back == body);
        CHECK(client.ask("PUT /x HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\nhi").body == "hi");
        CHECK(client.ask("PUT /x HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n").status == 200);
    }
    for (const std::size_t chunk : {1000U, 65536U, 1'000'000U}) {
        HttpClient client(served.port());
        std::string text = "PATCH /x HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n";
        for (std::size_t at = 0; at < body.size(); at += chunk) {
            const std::string piece = body.substr(at, chunk);
            text += http::chunk_prefix(piece.size()) + piece + "\r\n";
        }
        text += "0\r\n\r\n" + get("/after");
        std::thread sender([&] { CHECK(client.send(text)); });
        const std::string back = client.read_body(body.size());
        sender.join();
        CHECK(back.substr(0, body.size()) == body);
    }
}

TEST_CASE("a client that waits for 100 Continue is told to go on, once") {
    Served served(echo_body);
    HttpClient client(served.port());
    REQUIRE(
        client.send("PUT /x HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: "
                    "5\r\n\r\n"));
    CHECK(client.read() == "HTTP/1.1 100 Continue\r\n\r\n");
    REQUIRE(client.send("hello"));
    CHECK(client.answer().body == "hello");
}

TEST_CASE("an answer before the body reaches a client that is still sending") {
    // docker reads a 403 only when its own writing failed or ended; a reset would hide the reason.
    Served served([](const std::shared_ptr<Exchange>& exchange) {
        http::ResponseHead head;
        head.status = 403;
        exchange->respond(head, "no writes here");
    });
    HttpClient client(served.port());
    REQUIRE(client.send("PUT /x HTTP/1.1\r\nHost: t\r\nContent-Length: 8000000\r\n\r\n"));
    const std::string body = pattern(4'000'000);
    CHECK(client.send(body));
    const auto answer = client.answer();
    CHECK(answer.status == 403);
    CHECK(answer.body == "no writes here");
    CHECK(answer.headers.get("Connection") == "close");
    client.close();
    CHECK(served.settles_at(0));
}

TEST_CASE("a small unread body does not cost the connection") {
    Served served(echo_path);
    HttpClient client(served.port());
    CHECK(client.ask("DELETE /a HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\n{}").body == "/a");
    CHECK(client.ask(get("/b")).body == "/b");
}

TEST_CASE("a body over the limit is refused, announced or not") {
    Served served([](const std::shared_ptr<Exchange>& exchange) {
        exchange->read_body(1000, [exchange](Result<Bytes> body) {
            http::ResponseHead head;
            head.status = body ? 200 : 413;
            exchange->respond(head, "x");
        });
    });
    HttpClient announced(served.port());
    CHECK(announced.ask("PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 1001\r\n\r\n").status == 413);
    HttpClient chunked(served.port());
    CHECK(chunked
              .ask("PUT / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n" +
                   std::string(2000, 'x') + "\r\n0\r\n\r\n")
              .status == 413);
    HttpClient fits(served.port());
    CHECK(fits.ask("PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\n" +
                   std::string(1000, 'x'))
              .status == 200);
}

TEST_CASE("a consumer that pauses stops the client, and nothing is lost") {
    struct Slow final : BodySink {
        bool on_block(Block block) override {
            const std::lock_guard lock(mutex);
            got += as_text(block.filled());
            return open;
        }
        void on_end(Status status) override { end.set(status.has_value()); }
        std::mutex mutex;
        std::string got;
        bool open = false;
        Promise<bool> end;
    };
    const auto sink = std::make_shared<Slow>();
    Held held;
    Served served([&](std::shared_ptr<Exchange> exchange) {
        exchange->read_body(sink);
        held.handle()(std::move(exchange));
    });
    HttpClient client(served.port());
    const std::string body = pattern(64'000'000);
    REQUIRE(client.send("PUT /x HTTP/1.1\r\nHost: t\r\nContent-Length: 64000000\r\n\r\n"));
    const std::size_t sent = client.send_some(body, 300);
    CHECK(sent < 32'000'000);  // what the kernel holds, and one block
    {
        const std::lock_guard lock(sink->mutex);
        CHECK(sink->got.size() <= 256U << 10U);
        sink->open = true;
    }
    held.with([](Exchange& exchange) { exchange.resume_body(); });
    std::thread sender([&] { CHECK(client.send(std::string_view(body).substr(sent))); });
    CHECK(sink->end.wait() == true);
    sender.join();
    CHECK(sink->got == body);
    held.with([](Exchange& exchange) { exchange.respond(ok_head(), "done"); });
    CHECK(client.answer().body == "done");
}

TEST_CASE("a body that breaks off gives what came, then says so") {
    struct Keep final : BodySink {
        bool on_block(Block block) override {
            got += as_text(block.filled());
            return true;
        }
        void on_end(Status status) override {
            end.set(status ? Errc::internal : status.error().code);
        }
        std::string got;
        Promise<Errc> end;
    };
    for (const bool chunked : {false, true}) {
        const auto sink = std::make_shared<Keep>();
        Held held;
        Served served([&](std::shared_ptr<Exchange> exchange) {
            exchange->read_body(sink);
            held.handle()(std::move(exchange));
        });
        HttpClient client(served.port());
        REQUIRE(client.send(chunked ? "PATCH / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: "
                                      "chunked\r\n\r\n64\r\nabcde"
                                    : "PATCH / HTTP/1.1\r\nHost: t\r\nContent-Length: "
                                      "100\r\n\r\nabcde"));
        ::usleep(50'000);
        client.close();
        CHECK(sink->end.wait() == Errc::network);
        CHECK(sink->got == "abcde");
    }
}

TEST_CASE("many uploads share few blocks, and a slow one does not stop the others") {
    HttpOptions options;
    options.body_blocks = 2;
    Served served(echo_body, options);
    // Two clients that hold a block each, and then say nothing.
    HttpClient slow_one(served.port());
    HttpClient slow_two(served.port());
    for (HttpClient* slow : {&slow_one, &slow_two}) {
        REQUIRE(slow->send("PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nab"));
    }
    ::usleep(100'000);
    std::vector<std::thread> threads;
    std::atomic<int> good = 0;
    for (int i = 0; i < 8; ++i) {
        threads.emplace_back([&] {
            HttpClient client(served.port());
            const std::string body = pattern(700'000);
            (void)client.send("PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 700000\r\n\r\n");
            (void)client.send(body);
            if (client.read_body(body.size(), 20'000) == body) ++good;
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(good == 8);
    REQUIRE(slow_one.send("cdefghij"));
    CHECK(slow_one.answer().body == "abcdefghij");
}
