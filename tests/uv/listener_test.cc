// Listeners on ports and unix sockets, and what is said when they cannot be.
#include "uv/listener.h"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "uv/loop.h"
#include "uv/timer.h"

namespace fastreg::uv {
namespace {

Fd dial(const Endpoint& to) {
    auto fd = connect_start(to);
    REQUIRE(fd);
    return std::move(*fd);
}

std::string fresh_dir() {
    std::string name = "/tmp/fr_uv_XXXXXX";
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    return name;
}

TEST_CASE("port 0 is reported, connections arrive non-blocking with a readable peer address") {
    // Tests and demos run on free ports; peers of a dual-stack socket must print as they dial.
    Loop loop;
    std::vector<Endpoint> peers;
    auto listener = Listener::tcp(loop, {"::", 0}, {}, [&](Fd fd, Endpoint peer) {
        char byte = 0;
        CHECK(::recv(fd.get(), &byte, 1, 0) == -1);
        CHECK(errno == EAGAIN);
        peers.push_back(std::move(peer));
        if (peers.size() == 2) loop.stop();
    });
    REQUIRE(listener);
    REQUIRE(listener->port() != 0);
    const Fd v4 = dial({"127.0.0.1", listener->port()});
    const Fd v6 = dial({"::1", listener->port()});
    loop.run();
    CHECK((peers[0].host == "127.0.0.1" || peers[1].host == "127.0.0.1"));
    CHECK((peers[0].host == "::1" || peers[1].host == "::1"));
}

TEST_CASE("an address in use, of another machine or not numeric is refused with what to do") {
    // The first thing that goes wrong on a new machine is a port that is taken.
    Loop loop;
    const auto nobody = [](const Fd&, const Endpoint&) {};
    auto first = Listener::tcp(loop, {"127.0.0.1", 0}, {}, nobody);
    REQUIRE(first);
    auto second = Listener::tcp(loop, first->address(), {1024, "--http-listen"}, nobody);
    REQUIRE_FALSE(second);
    CHECK(second.error().what.find("another program uses port") != std::string::npos);
    CHECK(second.error().what.find("--http-listen") != std::string::npos);
    auto elsewhere = Listener::tcp(loop, {"192.0.2.1", 0}, {}, nobody);
    REQUIRE_FALSE(elsewhere);
    CHECK(elsewhere.error().what.find("no interface") != std::string::npos);
    CHECK_FALSE(Listener::tcp(loop, {"example.org", 80}, {}, nobody));
}

TEST_CASE("a listener may be closed from its own callback, with more connections waiting") {
    // Shutdown can be the answer to a connection.
    Loop loop;
    Listener listener;
    int accepted = 0;
    auto made = Listener::tcp(loop, {"127.0.0.1", 0}, {}, [&](const Fd&, const Endpoint&) {
        ++accepted;
        listener.close();
        loop.stop();
    });
    REQUIRE(made);
    listener = std::move(*made);
    const Fd a = dial(listener.address());
    const Fd b = dial(listener.address());
    loop.run();
    CHECK(accepted == 1);
}

TEST_CASE("out of descriptors the listener waits instead of spinning, then goes on") {
    // A node that runs out of descriptors must keep its cores for the connections it has.
    Loop loop;
    int accepted = 0;
    auto listener = Listener::tcp(loop, {"127.0.0.1", 0}, {}, [&](const Fd&, const Endpoint&) {
        ++accepted;
        loop.stop();
    });
    REQUIRE(listener);
    const Fd client = dial(listener->address());
    rlimit old{};
    getrlimit(RLIMIT_NOFILE, &old);
    rlimit none = old;
    none.rlim_cur = 0;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
    rusage before{};
    getrusage(RUSAGE_SELF, &before);
    Timer restore(loop, [&] { setrlimit(RLIMIT_NOFILE, &old); });
    restore.set(250ms);
    const Instant begin = loop.now();
    loop.run();
    setrlimit(RLIMIT_NOFILE, &old);
    rusage after{};
    getrusage(RUSAGE_SELF, &after);
    const auto cpu_us = (after.ru_utime.tv_sec - before.ru_utime.tv_sec) * 1'000'000 +
                        after.ru_utime.tv_usec - before.ru_utime.tv_usec;
    CHECK(accepted == 1);
    CHECK(loop.now() - begin >= 250ms);
    CHECK(cpu_us < 100'000);
}

TEST_CASE("a unix socket has mode 0660, replaces a stale file, but no living one and no other file") {
    // The admin socket is left behind by a kill -9 and must not keep the node from starting.
    const std::string dir = fresh_dir();
    const std::string path = dir + "/admin.sock";
    Loop loop;
    int accepted = 0;
    const auto count = [&](const Fd&, const Endpoint& peer) {
        CHECK(peer.empty());
        ++accepted;
        loop.stop();
    };
    {
        const Fd stale(::socket(AF_UNIX, SOCK_STREAM, 0));
        sockaddr_un where{};
        where.sun_family = AF_UNIX;
        std::memcpy(where.sun_path, path.data(), path.size());
        REQUIRE(::bind(stale.get(), reinterpret_cast<sockaddr*>(&where), sizeof where) == 0);
    }
    auto listener = Listener::unix_socket(loop, path, count);
    REQUIRE(listener);
    struct stat found {};
    REQUIRE(::stat(path.c_str(), &found) == 0);
    CHECK((found.st_mode & 0777) == 0660);

    auto second = Listener::unix_socket(loop, path, count);
    REQUIRE_FALSE(second);
    CHECK(second.error().what.find("another program") != std::string::npos);
    loop.run();  // the probe of the second one was a connection
    CHECK(accepted == 1);
    listener->close();
    CHECK(::stat(path.c_str(), &found) != 0);

    REQUIRE(::mkdir(path.c_str(), 0700) == 0);
    CHECK_FALSE(Listener::unix_socket(loop, path, count));
    ::rmdir(path.c_str());
    ::rmdir(dir.c_str());
    CHECK_FALSE(Listener::unix_socket(loop, dir + std::string(200, 'x'), count));
}

TEST_CASE("loopback, numeric and printed forms of addresses") {
    // Congestion control and the trust in local writes hang on these questions.
    CHECK(is_loopback({"127.0.0.53", 1}));
    CHECK(is_loopback({"::1", 1}));
    CHECK_FALSE(is_loopback({"10.0.0.1", 1}));
    CHECK_FALSE(is_loopback({"127.evil.example", 1}));
    CHECK(is_numeric({"fe80::1", 1}));
    CHECK_FALSE(is_numeric({"localhost", 1}));
    const auto mapped = to_socket_address({"::ffff:10.1.2.3", 80});
    REQUIRE(mapped);
    CHECK(to_endpoint(reinterpret_cast<const sockaddr*>(&mapped->storage)).str() == "10.1.2.3:80");
}

}  // namespace
}  // namespace fastreg::uv
