// Loops, timers, polls and names: what is called, when, and never after its end.
#include "uv/loop.h"

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/worker.h"
#include "uv/loop_thread.h"
#include "uv/poll.h"
#include "uv/resolve.h"
#include "uv/signal.h"
#include "uv/socket.h"
#include "uv/timer.h"

namespace fastreg::uv {
namespace {

TEST_CASE("jobs from several threads run on the loop, each thread's in its own order") {
    // Completions of disk workers and io threads reach the cores this way: one lost or swapped job is a
    // transfer that hangs.
    Loop loop;
    constexpr int kThreads = 4;
    constexpr int kEach = 5000;
    std::vector<int> last(kThreads, -1);
    int seen = 0;
    {
        std::vector<Thread> threads;
        for (int t = 0; t < kThreads; ++t) {
            threads.emplace_back("poster", [&, t] {
                for (int i = 0; i < kEach; ++i) {
                    loop.post([&, t, i] {
                        CHECK(loop.on_this_thread());
                        CHECK(last[static_cast<std::size_t>(t)] == i - 1);
                        last[static_cast<std::size_t>(t)] = i;
                        if (++seen == kThreads * kEach) loop.stop();
                    });
                }
            });
        }
        loop.run();
    }
    CHECK(seen == kThreads * kEach);
    CHECK_FALSE(loop.on_this_thread());
}

TEST_CASE("a job owns what it carries, run or not") {
    // A descriptor or a block inside a job that never ran must not leak when the loop goes.
    int pair[2];
    REQUIRE(::pipe(pair) == 0);
    const Fd reader(pair[0]);
    {
        Loop loop;
        loop.post([end = Fd(pair[1])] {});
    }
    char byte = 0;
    CHECK(::read(reader.get(), &byte, 1) == 0);  // the writing end is closed
}

TEST_CASE("a timer fires once, not early, can be moved, and may be destroyed from its callback") {
    // Cores ask for absolute deadlines; firing early would make them spin.
    Loop loop;
    const Instant begin = loop.now();
    int fired = 0;
    Timer moved(loop, [&] { fired += 100; });
    moved.set(1ms);
    moved.cancel();
    CHECK_FALSE(moved.is_set());
    auto timer = std::make_unique<Timer>(loop, [] {});
    timer = std::make_unique<Timer>(loop, [&] {
        ++fired;
        CHECK(loop.now() - begin >= 20ms);
        timer.reset();
        loop.stop();
    });
    timer->set(begin + 20ms);
    loop.run();
    CHECK(fired == 1);
    CHECK_FALSE(timer);
}

TEST_CASE("a moment that has passed fires at once, never() does not fire") {
    // A core whose deadline is overdue must be called, and one without a deadline must not.
    Loop loop;
    int fired = 0;
    Timer past(loop, [&] {
        ++fired;
        loop.stop();
    });
    Timer none(loop, [&] { fired += 100; });
    past.set(loop.now() - 1s);
    none.set(Instant::never());
    loop.run();
    CHECK(fired == 1);
}

struct Recorder final : PollHandler {
    void on_readable() override {
        ++readable;
        if (poll) poll->close();
        if (loop) loop->stop();
    }
    void on_writable() override { ++writable; }
    void on_poll_error(int os_errno) override {
        error = os_errno;
        if (loop) loop->stop();
    }
    Poll* poll = nullptr;
    Loop* loop = nullptr;
    int readable = 0;
    int writable = 0;
    int error = 0;
};

TEST_CASE("a poll closed from on_readable gives no writable event and frees the descriptor") {
    // A connection that dies while it reads must not be written to in the same turn.
    Loop loop;
    int pair[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    const Fd a(pair[0]);
    const Fd b(pair[1]);
    REQUIRE(::write(b.get(), "x", 1) == 1);
    Recorder recorder;
    auto poll = Poll::open(loop, a.get(), recorder);
    REQUIRE(poll);
    recorder.poll = &*poll;
    recorder.loop = &loop;
    poll->watch(true, true);
    CHECK(poll->reading());
    loop.run();
    CHECK(recorder.readable == 1);
    CHECK(recorder.writable == 0);
    CHECK_FALSE(poll->reading());
}

TEST_CASE("a refused connect is an error event with the system's reason") {
    // "Connection refused" and "no route" are different advice to an operator.
    Loop loop;
    const Fd holder(::socket(AF_INET, SOCK_STREAM, 0));
    const auto any = to_socket_address({"127.0.0.1", 0});
    REQUIRE(any);
    REQUIRE(::bind(holder.get(), reinterpret_cast<const sockaddr*>(&any->storage), any->size) == 0);
    auto fd = connect_start(local_of(holder.get()));  // bound, not listening: nobody else gets it
    REQUIRE(fd);
    Recorder recorder;
    recorder.loop = &loop;
    auto poll = Poll::open(loop, fd->get(), recorder);
    REQUIRE(poll);
    poll->watch(false, true);
    loop.run();
    CHECK(recorder.error == ECONNREFUSED);
}

TEST_CASE("names resolve to addresses with the port, bad ones to a sentence, a dropped one to silence") {
    // Seeds may be DNS names; a mistyped one must be named in the log and must not hang the node.
    Loop loop;
    std::vector<Endpoint> found;
    std::string why;
    int dropped = 0;
    int done = 0;
    const auto count = [&] {
        if (++done == 2) loop.stop();
    };
    Resolve good(loop, {"localhost", 7946}, [&](Result<std::vector<Endpoint>> r) {
        REQUIRE(r);
        found = *r;
        count();
    });
    Resolve bad(loop, {std::string(300, 'x'), 1}, [&](Result<std::vector<Endpoint>> r) {
        REQUIRE_FALSE(r);
        why = describe(r.error());
        count();
    });
    {
        const Resolve gone(loop, {"localhost", 1}, [&](const auto&) { ++dropped; });
    }
    CHECK(done == 0);  // never from inside the constructor
    loop.run();
    REQUIRE_FALSE(found.empty());
    for (const Endpoint& endpoint : found) {
        CHECK(is_loopback(endpoint));
        CHECK(endpoint.port == 7946);
    }
    CHECK(why.find("check the spelling") != std::string::npos);
    CHECK(dropped == 0);
}

TEST_CASE("a resolver may be destroyed from its own answer") {
    // The driver replaces a resolver by a dial right there.
    Loop loop;
    auto resolve = std::make_unique<Resolve>();
    resolve = std::make_unique<Resolve>(loop, Endpoint{"127.0.0.1", 80}, [&](auto result) {
        resolve.reset();
        REQUIRE(result);
        CHECK(result->front().str() == "127.0.0.1:80");
        loop.stop();
    });
    loop.run();
}

TEST_CASE("a signal is an event of the loop") {
    // SIGTERM must run the orderly stop on the loop thread, not in a signal context.
    Loop loop;
    int raised = 0;
    const Signal signal(loop, 10 /* SIGUSR1 */, [&] {
        ++raised;
        loop.stop();
    });
    ::kill(::getpid(), 10);
    loop.run();
    CHECK(raised == 1);
}

TEST_CASE("a loop thread runs calls to their end, stops and joins, a thousand times without a leak") {
    // Starting and stopping io threads must leave no descriptor behind.
    const auto open_fds = [] {
        int count = 0;
        for (int fd = 0; fd < 4096; ++fd) count += ::dup2(fd, fd) == fd ? 1 : 0;
        return count;
    };
    { const LoopThread warm_up("warm"); }
    const int before = open_fds();
    for (int i = 0; i < 200; ++i) {
        LoopThread thread("io");
        int value = 0;
        std::unique_ptr<Timer> timer;
        thread.call([&] { timer = std::make_unique<Timer>(thread.loop(), [] {}); });
        thread.call([&] {
            timer.reset();
            value = 7;
        });
        CHECK(value == 7);
    }
    CHECK(open_fds() == before);
}

}  // namespace
}  // namespace fastreg::uv
