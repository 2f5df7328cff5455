// What a command hears from a node that answers, breaks off, stays silent or is not there.
#include <doctest/doctest.h>

#include "cli/admin_client.h"
#include "fake_node.h"

using namespace fastreg;
using namespace fastreg::cli;
using namespace fastreg::cli::test;

TEST_CASE("a question gets its answer, whatever the status") {
    const FakeNode fake(Script{{"GET /v1/status", {json_reply(200, "{}"), json_reply(503, "busy")}}});
    const AdminClient node({fake.socket(), {}});
    const auto first = node.ask("GET", "/v1/status");
    REQUIRE_MESSAGE(first, first.error().what);
    CHECK(first->status == 200);
    CHECK(first->body == "{}");
    const auto second = node.ask("GET", "/v1/status");
    REQUIRE(second);
    CHECK(second->status == 503);
    CHECK(second->body == "busy");
}

TEST_CASE("nobody at the socket is told apart from an answer that breaks off") {
    // The first is exit code 3 and means "start the node"; the second is a defect worth a look.
    const Folder empty;
    const auto nobody = AdminClient({empty.path() + "/admin.sock", {}}).ask("GET", "/v1/status");
    REQUIRE(!nobody);
    CHECK(nobody.error().code == Errc::unavailable);
    CHECK(nobody.error().what.find("is it running?") != std::string::npos);

    const FakeNode fake(Script{{"GET /half", {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123"}},
                         {"GET /nothing", {""}},
                         {"GET /noise", {"SSH-2.0-OpenSSH_9.2\r\n"}}});
    const AdminClient node({fake.socket(), {}});
    for (const char* path : {"/half", "/nothing", "/noise"}) {
        CAPTURE(path);
        const auto broken = node.ask("GET", path);
        REQUIRE(!broken);
        CHECK(broken.error().code != Errc::unavailable);
    }
}

TEST_CASE("a node that accepts and stays silent does not hold the command for ever") {
    const FakeNode fake(Script{{"GET /v1/status", {"silence"}}});
    const AdminClient node({fake.socket(), {}}, 1s, 50ms);
    const auto answer = node.ask("GET", "/v1/status");
    REQUIRE(!answer);
    CHECK(answer.error().code == Errc::timeout);
}

TEST_CASE("an address is looked up and refused with its name") {
    const auto answer =
        AdminClient({"", Endpoint{"no-such-host.invalid", 1}}).ask("GET", "/v1/status");
    REQUIRE(!answer);
    CHECK(answer.error().code == Errc::unavailable);
    CHECK(answer.error().what.find("no-such-host.invalid") != std::string::npos);
}

TEST_CASE("a socket path longer than the kernel takes is an error and not a cut path") {
    const auto answer = AdminClient({"/" + std::string(200, 'd'), {}}).ask("GET", "/v1/status");
    REQUIRE(!answer);
    CHECK(answer.error().what.find("too long") != std::string::npos);
}
