// `fastreg doctor` as it is shown, with checks that the test brings: lines, JSON, exit codes, and what it asks
// a node that runs.
#include "cli/doctor.h"

#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <ctime>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "fake_node.h"

using namespace fastreg;
using namespace fastreg::cli;
using namespace fastreg::cli::test;
using fastreg::node::Finding;
using fastreg::node::Verdict;
using nlohmann::json;

namespace {

const Finding kFine{Verdict::ok, "free space", "50 GiB", ""};
const Finding kWarning{Verdict::warn, "open files", "1024", "raise the hard limit"};
const Finding kFailure{Verdict::fail, "port 8080", "another program\033[2J uses it", "stop it"};

Ran examined(const std::string& data_dir,
             const std::vector<Finding>& found,
             bool as_json = false,
             const std::function<void(const config::Config&, const node::Running&)>& look = {}) {
    std::ostringstream out;
    std::ostringstream err;
    const Console console{out, err, 100, false, false};
    Invocation invocation;
    invocation.command = Command::doctor;
    invocation.json = as_json;
    invocation.settings = {{"data-dir", data_dir}};
    Ran ran;
    ran.exit = examine_machine(invocation, console, [&](const config::Config& config, const node::Running& running) {
        if (look) look(config, running);
        return found;
    });
    ran.out = out.str();
    ran.err = err.str();
    return ran;
}

// The HTTP date of now, moved by some seconds.
std::string date_of(std::int64_t moved) {
    const std::time_t at = std::time(nullptr) + moved;
    std::array<char, 64> text{};
    std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", std::gmtime(&at));
    return text.data();
}

/// A member's registry port, where one question is answered with a date that is some seconds off.
struct ClockPeer {
    ClockPeer() {
        sockaddr_in at{};
        at.sin_family = AF_INET;
        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof at;
        const timeval patience{5, 0};
        REQUIRE(::setsockopt(listening, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
        REQUIRE(::bind(listening, reinterpret_cast<const sockaddr*>(&at), size) == 0);
        REQUIRE(::listen(listening, 1) == 0);
        REQUIRE(::getsockname(listening, reinterpret_cast<sockaddr*>(&at), &size) == 0);
        port = ntohs(at.sin_port);
    }
    ~ClockPeer() {
        if (thread.joinable()) thread.join();
        ::close(listening);
    }
    ClockPeer(const ClockPeer&) = delete;
    ClockPeer& operator=(const ClockPeer&) = delete;

    void answer(std::int64_t seconds_off) {
        thread = std::thread([this, seconds_off] {
            const int fd = ::accept(listening, nullptr, nullptr);
            if (fd < 0) return;
            std::array<char, 1024> question{};
            const bool asked = ::recv(fd, question.data(), question.size(), 0) > 0;
            const std::string text =
                "HTTP/1.1 200 OK\r\nDate: " + date_of(seconds_off) + "\r\nContent-Length: 2\r\n\r\nok";
            if (asked) ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
            ::close(fd);
        });
    }

    const int listening = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    std::uint16_t port = 0;
    std::thread thread;
};

}  // namespace

TEST_CASE("a check is a line: verdict, what, what was seen, and what to do") {
    const Folder folder;
    const Ran ran = examined(folder.path(), {kFine, kWarning, kFailure});
    CHECK(ran.says("ok    free space - 50 GiB\n"));
    CHECK(ran.says("warn  open files - 1024 - raise the hard limit\n"));
    CHECK(ran.says("fail  port 8080 - another program?[2J uses it - stop it\n"));
    CHECK(ran.says("1 failed, 1 warning\n"));
    CHECK(ran.says("ok    node - none runs on this data directory\n"));
}

TEST_CASE("scripts read the verdict from the exit code, and the checks from the JSON") {
    const Folder folder;
    CHECK(examined(folder.path(), {kFine}).code() == 0);
    CHECK(examined(folder.path(), {kFine}).says("all is well"));
    CHECK(examined(folder.path(), {kFine, kWarning}).code() == 5);
    CHECK(examined(folder.path(), {kWarning, kFailure}).code() == 1);
    const Ran ran = examined(folder.path(), {kFine, kFailure}, true);
    CHECK(ran.code() == 1);
    const json all = json::parse(ran.out);
    CHECK(all["verdict"] == "fail");
    CHECK(all["checks"].back() == json{{"verdict", "fail"},
                                       {"check", "port 8080"},
                                       {"seen", "another program\033[2J uses it"},
                                       {"do", "stop it"}});
    CHECK(json::parse(examined(folder.path(), {kFine}, true).out)["verdict"] == "ok");
}

TEST_CASE("a configuration that does not load is the finding, each problem a line") {
    const Folder folder;
    const Ran ran = run_cli({"doctor", "--data-dir", folder.path(), "--replicas", "99", "--http-listen", "x"});
    CHECK(ran.code() == 1);
    CHECK(ran.says("fail  configuration - --replicas"));
    CHECK(ran.says("fail  configuration - --http-listen"));
    CHECK(json::parse(run_cli({"doctor", "--json", "--data-dir", folder.path(), "--replicas", "99"}).out)["verdict"] ==
          "fail");
    CHECK(run_cli({"doctor", "--config", folder.path() + "/none.toml"}).code() == 1);
    CHECK(run_cli({"doctor", "--replica", "2"}).code() == 2);  // no flag at all
}

TEST_CASE("what runs on the data directory is asked where it listens, what it warns of, and whose clock is off") {
    const std::string status = R"({"name":"web-1","state":"alive","members":{"alive":3},
        "listen":{"http":"[::]:8080","gossip":"[::]:7946","transfer":"[::]:7947","rdma":"","admin":"/x/admin.sock"},
        "warnings":["a copied data directory"]})";
    const std::string peers = R"([{"name":"web-1","state":"alive","self":true,"http_addr":"127.0.0.1:1"},
        {"name":"gone","state":"dead","self":false,"http_addr":"127.0.0.1:1"},
        {"name":"mute","state":"alive","self":false,"http_addr":"127.0.0.1:1"}])";
    const FakeNode fake(
        Script{{"GET /v1/status", {json_reply(200, status)}}, {"GET /v1/peers", {json_reply(200, peers)}}});
    std::vector<Endpoint> listens;
    const Ran ran = examined(fake.data_dir(), {kFine}, false, [&](const config::Config&, const node::Running& running) {
        REQUIRE(running);
        listens = *running;
    });
    CHECK(ran.code() == 5);
    CHECK(ran.says("ok    node - web-1 runs here, alive, with 3 members alive"));
    CHECK(ran.says("warn  node - a copied data directory"));
    CHECK(ran.says("ok    clocks of peers - no other member answers"));
    CHECK(listens == std::vector<Endpoint>{{"::", 8080}, {"::", 7946}, {"::", 7947}});
}

TEST_CASE("a peer whose clock is a minute off is named, with the direction") {
    // Its rows are refused when it is ahead; the operator must know which of the two clocks to set.
    for (const std::int64_t off : {60, -60}) {
        const std::string status =
            R"({"name":"web-1","state":"alive","members":{"alive":2},"listen":{},"warnings":[]})";
        ClockPeer peer;
        const std::string peers = R"([{"name":"web-1","state":"alive","self":true,"http_addr":"127.0.0.1:1"},
            {"name":"far","state":"alive","self":false,"http_addr":"127.0.0.1:)" +
                                  std::to_string(peer.port) + "\"}]";
        const FakeNode fake(
            Script{{"GET /v1/status", {json_reply(200, status)}}, {"GET /v1/peers", {json_reply(200, peers)}}});
        peer.answer(off);
        const Ran ran = examined(fake.data_dir(), {kFine});
        CAPTURE(ran.out);
        CHECK(ran.code() == 1);
        const std::string way = off > 0 ? " s ahead" : " s behind";
        const std::string begin = "fail  clocks of peers - far is ";
        CHECK((ran.says(begin + "60" + way) || ran.says(begin + "59" + way)));  // a date has whole seconds
    }
}

TEST_CASE("a node of another version, or one that breaks off, is no reason to stop looking") {
    for (const std::string& answer : {json_reply(200, "[]"), json_reply(500, "oops"), std::string()}) {
        const FakeNode fake(Script{{"GET /v1/status", {answer}}, {"GET /v1/peers", {json_reply(200, "{\"a\":7}")}}});
        const Ran ran = examined(fake.data_dir(), {kFine});
        CHECK(ran.says("ok    free space"));
        CHECK((ran.code() == 0 || ran.code() == 5));
    }
}

TEST_CASE("the date of an answer is understood, and nothing else is taken for one") {
    CHECK(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT") == 784'111'777'000);
    const auto now = parse_http_date(date_of(0));
    REQUIRE(now);
    CHECK(std::abs(*now / 1000 - std::time(nullptr)) <= 1);
    for (const std::string wrong : {"", "now", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 GMT+1"}) {
        CAPTURE(wrong);
        CHECK_FALSE(parse_http_date(wrong));
    }
}

TEST_CASE("an answer carries the date of its head") {
    const FakeNode fake(Script{{"GET /livez",
                                {"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
                                 "Content-Length: 2\r\n\r\nok"}}});
    const auto reply = AdminClient({fake.socket(), {}}).ask("GET", "/livez");
    REQUIRE(reply);
    CHECK(reply->date == "Sun, 06 Nov 1994 08:49:37 GMT");
}

TEST_CASE("the doctor of this machine says something of everything") {
    const Folder folder;
    const Ran ran = run_cli({"doctor",
                             "--json",
                             "--data-dir",
                             folder.path() + "/data",
                             "--http-listen",
                             "127.0.0.1:0",
                             "--gossip-listen",
                             "127.0.0.1:0",
                             "--transfer-listen",
                             "127.0.0.1:0"});
    const json all = json::parse(ran.out);
    CHECK(all["checks"].size() >= 10);
    for (const json& each : all["checks"]) {
        CHECK_FALSE(each["check"].get<std::string>().empty());
        CHECK_FALSE(each["seen"].get<std::string>().empty());
        if (each["verdict"] != "ok") CHECK_FALSE(each["do"].get<std::string>().empty());
    }
}
