// The HTTP server on real sockets: answers out of files, also of files that still grow.
#include <atomic>
#include <thread>

#include "http_rig.h"

using namespace fastreg;
using namespace fastreg::node;

TEST_CASE("files leave whole, in ranges, and in several pieces") {
    const TempFile file(20'000'000);
    const auto opened = file.open();
    Served served([&](const std::shared_ptr<Exchange>& exchange) {
        if (exchange->request().path == "/all") {
            exchange->respond(ok_head(), {{"", opened, 0, 20'000'000}});
        } else if (exchange->request().path == "/range") {
            exchange->respond(ok_head(), {{"", opened, 12'345, 1'000'000}});
        } else {
            exchange->respond(ok_head(),
                              {{"<", opened, 5, 10}, {"|", opened, 100, 10}, {">", nullptr, 0, 0}});
        }
    });
    HttpClient client(served.port());
    REQUIRE(client.send(get("/all")));
    CHECK(client.read_body(20'000'000) == pattern(20'000'000));
    REQUIRE(client.send(get("/range")));
    CHECK(client.read_body(1'000'000) == pattern(1'000'000, 12'345));
    CHECK(client.ask(get("/parts")).body == "<" + pattern(10, 5) + "|" + pattern(10, 100) + ">");
    CHECK(client.ask("HEAD /all HTTP/1.1\r\nHost: t\r\n\r\n", true).headers.get("Content-Length") ==
          "20000000");
    CHECK(served.meters.bytes_out.value() > 21'000'000);
}

TEST_CASE("a file that is not in the page cache is read beside the io thread") {
    // sendfile would wait for the disk, and every other client of the thread with it.
    const TempFile file(8'000'000);
    file.evict();
    const auto opened = file.open();
    Served served([&](const std::shared_ptr<Exchange>& exchange) {
        exchange->respond(ok_head(), {{"", opened, 1000, 7'999'000}});
    });
    HttpClient client(served.port());
    REQUIRE(client.send(get("/")));
    CHECK(client.read_body(7'999'000) == pattern(7'999'000, 1000));
}

TEST_CASE("a file that is shorter than the answer cuts the connection") {
    // The client sees a short body and asks another node; waiting for bytes that never come is
    // worse.
    const TempFile file(10'000);
    const auto opened = file.open();
    Promise<bool> done;
    std::atomic<int> told = 0;
    Served served([&](const std::shared_ptr<Exchange>& exchange) {
        exchange->add_on_done([&](bool complete, int) { done.set(complete); });
        exchange->on_file_failed([&] { ++told; });
        exchange->respond(ok_head(), {{"", opened, 0, 20'000}});
    });
    HttpClient client(served.port());
    REQUIRE(client.send(get("/")));
    CHECK(client.read_body(20'000) == pattern(10'000));
    CHECK(client.at_end());
    CHECK(done.wait() == false);
    CHECK(told == 1);  // so that the next client gets another file
}

TEST_CASE("a client that goes away is no reason to doubt the file it was given") {
    // Each such file would be read from end to end.
    const TempFile file(30'000'000);
    const auto opened = file.open();
    Promise<bool> done;
    std::atomic<int> told = 0;
    Served served([&](const std::shared_ptr<Exchange>& exchange) {
        exchange->add_on_done([&](bool complete, int) { done.set(complete); });
        exchange->on_file_failed([&] { ++told; });
        exchange->respond(ok_head(), {{"", opened, 0, 30'000'000}});
    });
    {
        HttpClient client(served.port());
        REQUIRE(client.send(get("/")));
        CHECK(client.read_body(10'000).starts_with(pattern(10'000)));
    }
    CHECK(done.wait() == false);
    CHECK(told == 0);
}

TEST_CASE("eight clients read one file at once, each all of it") {
    const TempFile file(30'000'000);
    const auto opened = file.open();
    const std::string wanted = pattern(file.size());
    Served served([&](const std::shared_ptr<Exchange>& exchange) {
        exchange->respond(ok_head(), {{"", opened, 0, file.size()}});
    });
    std::atomic<int> good = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i) {
        threads.emplace_back([&] {
            HttpClient client(served.port());
            (void)client.send(get("/"));
            if (client.read_body(file.size()) == wanted) ++good;
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(good == 8);
}

TEST_CASE("a growing file is sent as far as it is allowed, never further") {
    // The last chunk is held back until the digest is proven: sending it early would break the
    // promise that no client ever gets a whole wrong blob.
    const TempFile file(3'000'000);
    const auto opened = file.open();
    Held held;
    std::atomic<std::uint64_t> told = 0;
    Served served(held.handle());
    HttpClient client(served.port());
    REQUIRE(client.send(get("/")));
    held.with([&](Exchange& exchange) {
        exchange.respond_growing(ok_head(), 1000, 3'000'000, [&](std::uint64_t at) { told = at; });
    });
    CHECK_FALSE(client.read(100));  // not even the head before the first byte
    held.with([&](Exchange& exchange) { exchange.advance(opened, 2000); });
    std::string got = client.read_body(1000);
    CHECK(got == pattern(1000, 1000));
    CHECK_FALSE(client.read(100));
    for (int i = 0; i < 100 && told != 2000; ++i) ::usleep(10'000);
    CHECK(told == 2000);
    held.with([&](Exchange& exchange) { exchange.advance(nullptr, 2'900'000); });
    while (got.size() < 2'900'000 - 1000) got += client.read().value();
    CHECK_FALSE(client.read(100));
    CHECK(got == pattern(2'899'000, 1000));
    held.with([&](Exchange& exchange) {
        exchange.advance(opened, 3'000'000);
        exchange.finish();
    });
    while (got.size() < 2'999'000) got += client.read().value();
    CHECK(got == pattern(2'999'000, 1000));
    CHECK(held.done.wait() == true);
    // The connection is good for another one.
    REQUIRE(client.send(get("/")));
}

TEST_CASE("a growing file that fails is an error before the first byte, a cut after it") {
    const TempFile file(100'000);
    const auto opened = file.open();
    http::ResponseHead unavailable;
    unavailable.status = 503;
    {
        Held held;
        Served served(held.handle());
        HttpClient client(served.port());
        REQUIRE(client.send(get("/")));
        held.with([&](Exchange& exchange) {
            exchange.respond_growing(ok_head(), 0, 100'000);
            exchange.fail(unavailable, "no source");
        });
        const auto answer = client.answer();
        CHECK(answer.status == 503);
        CHECK(answer.body == "no source");
        CHECK(held.done.wait() == true);
        CHECK(held.status == 503);  // not the 200 that was planned
    }
    {
        Held held;
        Served served(held.handle());
        HttpClient client(served.port());
        REQUIRE(client.send(get("/")));
        held.with([&](Exchange& exchange) {
            exchange.respond_growing(ok_head(), 0, 100'000);
            exchange.advance(opened, 500);
        });
        CHECK(client.read_body(500).size() == 500);
        held.with([&](Exchange& exchange) { exchange.fail(unavailable, "no source"); });
        CHECK(client.at_end());
        CHECK(held.done.wait() == false);
        CHECK(held.status == 200);
        CHECK(served.settles_at(0));
    }
    {
        // Announcing the end too early is our own defect; the client must not take it for the blob.
        Held held;
        Served served(held.handle());
        HttpClient client(served.port());
        REQUIRE(client.send(get("/")));
        held.with([&](Exchange& exchange) {
            exchange.respond_growing(ok_head(), 0, 100'000);
            exchange.advance(opened, 500);
            exchange.finish();
        });
        CHECK(client.read_body(100'000).size() <= 500);
        CHECK(held.done.wait() == false);
    }
}
