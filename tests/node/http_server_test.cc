// The HTTP server on real sockets: what clients of every manner meet.
#include "node/http_server.h"

#include <fcntl.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "http_client.h"
#include "store/posix_fs.h"

using namespace fastreg;
using namespace fastreg::node;

namespace {

// Answers with the path, at once.
void echo_path(const std::shared_ptr<Exchange>& exchange) {
    exchange->respond(ok_head(), exchange->request().path);
}

// Answers with the whole body.
void echo_body(const std::shared_ptr<Exchange>& exchange) {
    exchange->read_body(64U << 20U, [exchange](Result<Bytes> body) {
        http::ResponseHead head = ok_head();
        if (!body) head.status = body.error().code == Errc::too_large ? 413 : 400;
        exchange->respond(head, body ? std::string(as_text(*body)) : body.error().what);
    });
}

std::string get(std::string_view path, std::string_view fields = {}) {
    return "GET " + std::string(path) + " HTTP/1.1\r\nHost: t\r\n" + std::string(fields) + "\r\n";
}

std::size_t open_descriptors() {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry :
         std::filesystem::directory_iterator("/proc/self/fd")) {
        ++count;
    }
    return count;
}

// A file with `pattern`, gone at the end.
class TempFile {
  public:
    explicit TempFile(std::size_t size) : size_(size) {
        char name[] = "/tmp/fr-http-XXXXXX";
        const int fd = ::mkstemp(name);
        REQUIRE(fd >= 0);
        ::close(fd);
        path_ = name;
        std::ofstream out(path_, std::ios::binary);
        out << pattern(size);
    }
    ~TempFile() { ::unlink(path_.c_str()); }
    TempFile(const TempFile&) = delete;
    TempFile& operator=(const TempFile&) = delete;
    std::shared_ptr<store::File> open() const {
        store::PosixFs fs;
        auto file = fs.open(path_, store::OpenMode::read);
        REQUIRE(file);
        return *std::move(file);
    }
    [[nodiscard]] std::size_t size() const { return size_; }
    // Out of the page cache, where the file system can.
    void evict() const {
        const int fd = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
        ::fsync(fd);
        ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        ::close(fd);
    }

  private:
    std::string path_;
    std::size_t size_;
};

// Keeps the exchange for the test's thread to play with.
struct Held {
    Promise<std::shared_ptr<Exchange>> exchange;
    Promise<bool> done;
    std::atomic<int> status = -1;  // set before `done`
    Handle handle() {
        return [this](std::shared_ptr<Exchange> e) {
            e->set_on_done([this](bool complete, int answered) {
                status = answered;
                done.set(complete);
            });
            exchange.set(std::move(e));
        };
    }
    // Runs on the connection's thread.
    void with(const std::function<void(Exchange&)>& action) {
        const auto e = *exchange.wait();
        e->post([e, action] { action(*e); });
    }
};

}  // namespace

TEST_CASE("a connection answers one request after another, pipelined or not") {
    Served served(echo_path);
    Client client(served.port());
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
    Client client(served.port());
    std::string many;
    for (int i = 0; i < 20; ++i) many += get("/" + std::to_string(i));
    REQUIRE(client.send(many));
    for (int i = 0; i < 20; ++i) CHECK(client.answer().body == "/" + std::to_string(i));
    for (std::thread& thread : threads) thread.join();
}

TEST_CASE("HEAD gets the length and not the body") {
    Served served(echo_path);
    Client client(served.port());
    const auto head = client.ask("HEAD /abc HTTP/1.1\r\nHost: t\r\n\r\n", true);
    CHECK(head.headers.get("Content-Length") == "4");
    CHECK(head.headers.has("Date"));
    CHECK(client.ask(get("/next")).body == "/next");
}

TEST_CASE("who asks for it is closed after the answer") {
    Served served(echo_path);
    Client one(served.port());
    REQUIRE(one.send(get("/a", "Connection: close\r\n")));
    CHECK(one.read_all().ends_with("Connection: close\r\n\r\n/a"));
    Client old(served.port());
    REQUIRE(old.send("GET /a HTTP/1.0\r\n\r\n"));
    CHECK(old.read_all().ends_with("/a"));
    // A client may close its half first, as `nc` does.
    Client half(served.port());
    REQUIRE(half.send(get("/half")));
    half.close_sending();
    CHECK(half.read_all().ends_with("/half"));
    CHECK(served.settles_at(0));
}

TEST_CASE("bodies arrive whole, by length and by chunks, however they are cut") {
    Served served(echo_body);
    const std::string body = pattern(3'000'000);
    {
        Client client(served.port());
        REQUIRE(client.send("PUT /x HTTP/1.1\r\nHost: t\r\nContent-Length: 3000000\r\n\r\n"));
        std::thread sender([&] { CHECK(client.send(body)); });
        const std::string back = client.read_body(body.size());
        sender.join();
        CHECK(back == body);
        CHECK(client.ask("PUT /x HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\nhi").body == "hi");
        CHECK(client.ask("PUT /x HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n").status == 200);
    }
    for (const std::size_t chunk : {1000U, 65536U, 1'000'000U}) {
        Client client(served.port());
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
    Client client(served.port());
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
    Client client(served.port());
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
    Client client(served.port());
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
    Client announced(served.port());
    CHECK(announced.ask("PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 1001\r\n\r\n").status == 413);
    Client chunked(served.port());
    CHECK(chunked
              .ask("PUT / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n" +
                   std::string(2000, 'x') + "\r\n0\r\n\r\n")
              .status == 413);
    Client fits(served.port());
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
    Client client(served.port());
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
        Client client(served.port());
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
    Client slow_one(served.port());
    Client slow_two(served.port());
    for (Client* slow : {&slow_one, &slow_two}) {
        REQUIRE(slow->send("PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nab"));
    }
    ::usleep(100'000);
    std::vector<std::thread> threads;
    std::atomic<int> good = 0;
    for (int i = 0; i < 8; ++i) {
        threads.emplace_back([&] {
            Client client(served.port());
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
    Client client(served.port());
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
    Client client(served.port());
    REQUIRE(client.send(get("/")));
    CHECK(client.read_body(7'999'000) == pattern(7'999'000, 1000));
}

TEST_CASE("a file that is shorter than the answer cuts the connection") {
    // The client sees a short body and asks another node; waiting for bytes that never come is
    // worse.
    const TempFile file(10'000);
    const auto opened = file.open();
    Promise<bool> done;
    Served served([&](const std::shared_ptr<Exchange>& exchange) {
        exchange->set_on_done([&](bool complete, int) { done.set(complete); });
        exchange->respond(ok_head(), {{"", opened, 0, 20'000}});
    });
    Client client(served.port());
    REQUIRE(client.send(get("/")));
    CHECK(client.read_body(20'000) == pattern(10'000));
    CHECK(client.at_end());
    CHECK(done.wait() == false);
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
            Client client(served.port());
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
    Client client(served.port());
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
        Client client(served.port());
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
        Client client(served.port());
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
        Client client(served.port());
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

TEST_CASE("a client that goes away is noticed, and late calls are harmless") {
    const TempFile file(50'000'000);
    const auto opened = file.open();
    Held held;
    Served served(held.handle());
    Client client(served.port());
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

TEST_CASE("the end of a request tells the status of its own answer, and none when none was given") {
    // The counts of requests by status are made from it.
    Promise<int> first;
    Promise<int> second;
    Promise<bool> waits;
    Served served([&](const std::shared_ptr<Exchange>& exchange) {
        const bool answers = exchange->request().path == "/answered";
        exchange->set_on_done([&, answers](bool, int status) { (answers ? first : second).set(status); });
        http::ResponseHead head;
        head.status = 404;
        if (answers) return exchange->respond(head, "no");
        waits.set(true);
    });
    Client client(served.port());
    REQUIRE(client.send(get("/answered")));
    CHECK(client.answer().status == 404);
    CHECK(first.wait() == 404);
    REQUIRE(client.send(get("/waits")));
    REQUIRE(waits.wait());
    served.server.reset();  // cuts the connection
    CHECK(second.wait() == 0);
}

TEST_CASE("slow and silent clients are sent away in time") {
    HttpOptions options;
    options.head_deadline = 200ms;
    options.idle_deadline = 300ms;
    options.progress_deadline = 300ms;
    Served served(echo_body, options);
    Client silent(served.port());
    Client slow_head(served.port());
    REQUIRE(slow_head.send("GET / HTTP/1.1\r\nHo"));
    Client slow_body(served.port());
    REQUIRE(slow_body.send("PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\nabc"));
    Client idle(served.port());
    CHECK(idle.ask(get("/")).status == 200);

    CHECK(silent.at_end());
    CHECK(slow_head.answer().status == 408);
    CHECK(slow_body.answer().status == 400);  // the handler's answer to a body that stopped
    CHECK(idle.at_end());
    // A head that trickles is not progress.
    Client trickle(served.port());
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
    Client client(served.port());
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
    auto one = std::make_unique<Client>(served.port());
    Client two(served.port());
    Client three(served.port());
    for (Client* client : {one.get(), &two, &three}) CHECK(client->ask(get("/")).status == 200);
    Client four(served.port());
    (void)four.send(get("/"));
    const auto refused = four.answer();
    CHECK(refused.status == 503);
    CHECK(refused.headers.has("Retry-After"));
    CHECK(four.at_end());
    one.reset();
    REQUIRE(served.settles_at(2));
    Client five(served.port());
    CHECK(five.ask(get("/")).status == 200);

    HttpOptions total;
    total.connections_max = 1;
    Served small(echo_path, total);
    Client first(small.port());
    CHECK(first.ask(get("/")).status == 200);
    Client second(small.port());
    CHECK(second.ask(get("/")).status == 503);
}

TEST_CASE("draining ends idle connections at once and busy ones with their answer") {
    Held held;
    Served served(held.handle());
    Client idle(served.port());
    Client busy(served.port());
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

TEST_CASE("what is not HTTP gets one clear answer") {
    Served served(echo_path);
    Client tls(served.port());
    REQUIRE(tls.send(std::string_view("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11)));
    const auto answer = tls.answer();
    CHECK(answer.status == 400);
    CHECK(answer.body.find("this port speaks plain HTTP") != std::string::npos);
    CHECK(tls.at_end());
    Client smuggler(served.port());
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
    Client local(path);
    CHECK(local.ask(get("/")).body == "local");
    Client remote(served.port());
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
    Client client(served.port());
    CHECK(client.ask(get("/")).status == 500);
    CHECK(client.ask(get("/")).status == 500);
}

TEST_CASE("hundreds of connections come and go, and no descriptor stays") {
    const std::size_t before = open_descriptors();
    {
        Served served(echo_path);
        for (int round = 0; round < 3; ++round) {
            std::vector<std::unique_ptr<Client>> clients;
            for (int i = 0; i < 200; ++i)
                clients.push_back(std::make_unique<Client>(served.port()));
            for (auto& client : clients) REQUIRE(client->send(get("/x")));
            for (auto& client : clients) REQUIRE(client->answer().body == "/x");
        }
        CHECK(served.settles_at(0));
        // A server that goes while clients are there cuts them.
        Client left(served.port());
        CHECK(left.ask(get("/y")).status == 200);
        served.server.reset();
        CHECK(left.at_end());
    }
    CHECK(open_descriptors() == before);
}
