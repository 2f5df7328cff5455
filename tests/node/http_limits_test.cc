// The HTTP server on real sockets: deadlines, limits, clients that go away, and its own end.
#include "http_rig.h"

using namespace fastreg;
using namespace fastreg::node;

TEST_CASE("the end of a request tells the status of its own answer, and none when none was given") {
    // The counts of requests by status are made from it.
    Promise<int> first;
    Promise<int> second;
    Promise<bool> waits;
    Served served([&](const std::shared_ptr<Exchange>& exchange) {
        const bool answers = exchange->request().path == "/answered";
        exchange->add_on_done([&, answers](bool, int status) { (answers ? first : second).set(status); });
        http::ResponseHead head;
        head.status = 404;
        if (answers) return exchange->respond(head, "no");
        waits.set(true);
    });
    HttpClient client(served.port());
    REQUIRE(client.send(get("/answered")));
    CHECK(client.answer().status == 404);
    CHECK(first.wait() == 404);
    REQUIRE(client.send(get("/waits")));
    REQUIRE(waits.wait());
    served.server.reset();  // cuts the connection
    CHECK(second.wait() == 0);
}

TEST_CASE("a client that goes away is noticed, and late calls are harmless") {
    const TempFile file(50'000'000);
    const auto opened = file.open();
    Held held;
    Served served(held.handle());
    HttpClient client(served.port());
    REQUIRE(client.send(get("/")));
    held.with([&](Exchange& exchange) {
        exchange.respond(ok_head(), {{"", opened, 0, 50'000'000}});
    });
    (void)client.read();
    client.close();  // containerd 2 does this for every open-ended range
    CHECK(held.done.wait() == false);
    CHECK(served.settles_at(0));
    Promise<bool> after;
    held.with([&](Exchange& exchange) {
        exchange.advance(opened, 7);
        exchange.finish();
        exchange.fail({}, "");
        exchange.respond({}, "x");
        exchange.resume_body();
        after.set(exchange.done());
    });
    CHECK(after.wait() == true);
}

TEST_CASE("slow and silent clients are sent away in time") {
    HttpOptions options;
    options.head_deadline = 200ms;
    options.idle_deadline = 300ms;
    options.progress_deadline = 300ms;
    Served served(echo_body, options);
    HttpClient silent(served.port());
    HttpClient slow_head(served.port());
    REQUIRE(slow_head.send("GET / HTTP/1.1\r\nHo"));
    HttpClient slow_body(served.port());
    REQUIRE(slow_body.send("PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\nabc"));
    HttpClient idle(served.port());
    CHECK(idle.ask(get("/")).status == 200);

    CHECK(silent.at_end());
    CHECK(slow_head.answer().status == 408);
    CHECK(slow_body.answer().status == 400);  // the handler's answer to a body that stopped
    CHECK(idle.at_end());
    // A head that trickles is not progress.
    HttpClient trickle(served.port());
    int sent = 0;
    while (sent < 100 && trickle.send("G")) {
        ++sent;
        ::usleep(50'000);
        if (trickle.read(0)) break;
    }
    CHECK(sent < 20);
}

TEST_CASE("a client that takes nothing is cut, one that waits for us is not") {
    HttpOptions options;
    options.progress_deadline = 200ms;
    options.idle_deadline = 200ms;
    const TempFile file(50'000'000);
    const auto opened = file.open();
    Held held;
    Served served(held.handle(), options);
    HttpClient client(served.port());
    REQUIRE(client.send(get("/")));
    (void)held.exchange.wait();
    ::usleep(500'000);  // nobody answered yet: that is not the client's fault
    CHECK(served.server->connections() == 1);
    held.with([&](Exchange& exchange) {
        exchange.respond(ok_head(), {{"", opened, 0, 50'000'000}});
    });
    CHECK(held.done.wait() == false);
    CHECK(served.settles_at(0));
}

TEST_CASE("connections over the limit get a 503, and room comes back") {
    HttpOptions options;
    options.connections_per_address_max = 3;
    Served served(echo_path, options);
    auto one = std::make_unique<HttpClient>(served.port());
    HttpClient two(served.port());
    HttpClient three(served.port());
    for (HttpClient* client : {one.get(), &two, &three}) CHECK(client->ask(get("/")).status == 200);
    HttpClient four(served.port());
    (void)four.send(get("/"));
    const auto refused = four.answer();
    CHECK(refused.status == 503);
    CHECK(refused.headers.has("Retry-After"));
    CHECK(four.at_end());
    one.reset();
    REQUIRE(served.settles_at(2));
    HttpClient five(served.port());
    CHECK(five.ask(get("/")).status == 200);

    HttpOptions total;
    total.connections_max = 1;
    Served small(echo_path, total);
    HttpClient first(small.port());
    CHECK(first.ask(get("/")).status == 200);
    HttpClient second(small.port());
    CHECK(second.ask(get("/")).status == 503);
}

TEST_CASE("draining ends idle connections at once and busy ones with their answer") {
    Held held;
    Served served(held.handle());
    HttpClient idle(served.port());
    HttpClient busy(served.port());
    REQUIRE(busy.send(get("/")));
    (void)held.exchange.wait();
    REQUIRE(served.settles_at(2));
    served.server->drain();
    CHECK(idle.at_end());
    held.with([](Exchange& exchange) { exchange.respond(ok_head(), "bye"); });
    const auto answer = busy.answer();
    CHECK(answer.body == "bye");
    CHECK(answer.headers.get("Connection") == "close");
    CHECK(busy.at_end());
    CHECK(served.settles_at(0));
}

TEST_CASE("hundreds of connections come and go, and no descriptor stays") {
    const std::size_t before = open_descriptors();
    {
        Served served(echo_path);
        for (int round = 0; round < 3; ++round) {
            std::vector<std::unique_ptr<HttpClient>> clients;
            for (int i = 0; i < 200; ++i)
                clients.push_back(std::make_unique<HttpClient>(served.port()));
            for (auto& client : clients) REQUIRE(client->send(get("/x")));
            for (auto& client : clients) REQUIRE(client->answer().body == "/x");
        }
        CHECK(served.settles_at(0));
        // A server that goes while clients are there cuts them.
        HttpClient left(served.port());
        CHECK(left.ask(get("/y")).status == 200);
        served.server.reset();
        CHECK(left.at_end());
    }
    CHECK(open_descriptors() == before);
}
