// Each command against a node that answers from a script: what is shown, and the exit code.
#include <doctest/doctest.h>

#include <unistd.h>

#include <array>
#include <nlohmann/json.hpp>

#include "fake_node.h"

using namespace fastreg;
using namespace fastreg::cli;
using namespace fastreg::cli::test;
using nlohmann::json;

namespace {

const std::string kDigest =
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

const std::string kStatus = R"({"node_id":"00112233445566778899aabbccddeeff","name":"web-1",
    "cluster":"default","version":"0.1.0","state":"alive","uptime_s":273600,
    "members":{"alive":3,"suspect":1,"stopping":1,"dead":0,"left":2},
    "store":{"blobs":128,"bytes":3650722201,"partial":2,"limit_bytes":85899345920},
    "bytes":{"in":{"peer":{"tcp":1048576,"rdma":0},"upstream":0},
             "out":{"peer":{"tcp":2097152,"rdma":0},"http":10485760,
                    "source":{"local":7340032,"peer":3145728,"upstream":0}}},
    "rdma":{"enabled":false,"devices":[]},
    "listen":{"http":"[::]:8080","gossip":"[::]:7946","transfer":"[::]:7947","rdma":"","admin":""},
    "warnings":["3 blobs have fewer copies than replicas"]})";

const std::string kPeers = R"([
    {"node_id":"00112233445566778899aabbccddeeff","name":"web-1","state":"alive","zone":"a",
     "gossip_addr":"10.0.0.1:7946","transfer_addr":"10.0.0.1:7947","rdma_addr":"",
     "http_addr":"10.0.0.1:8080","rtt_ms":null,"transport":null,"bytes_in":0,"bytes_out":0,"self":true},
    {"node_id":"ffeeddccbbaa99887766554433221100","name":"web-2\u001b[2J","state":"suspect","zone":"",
     "gossip_addr":"10.0.0.2:7946","transfer_addr":"10.0.0.2:7947","rdma_addr":"",
     "http_addr":"10.0.0.2:8080","rtt_ms":0.42,"transport":"tcp","bytes_in":1536,"bytes_out":0,
     "self":false,"state_since_s":61}])";

const std::string kNotFound = R"({"error":{"code":"not_found","message":"nobody holds it"}})";

json parsed(const Ran& ran) { return json::parse(ran.out); }

}  // namespace

TEST_CASE("status shows the node in words and as the node's own JSON") {
    const FakeNode fake(Script{{"GET /v1/status", {json_reply(200, kStatus)}}});
    const Ran text = run_cli({"status", "--data-dir", fake.data_dir()});
    CHECK(text.code() == 0);
    for (const std::string part : {"web-1", "00112233445566778899aabbccddeeff", "alive, up 3d 4h",
                             "3 alive, 1 suspect, 1 stopping, 0 dead, 2 left", "128 blobs, 3.4 GiB of 80.0 GiB",
                             "2 partial", "tcp 1.0 MiB", "clients: 10.0 MiB",
                             "to clients from: local 7.0 MiB, peer 3.0 MiB, upstream 0 B", "off", "[::]:8080",
                             "fewer copies"}) {
        CAPTURE(part);
        CHECK(text.says(part));
    }
    CHECK(text.out.find('\033') == std::string::npos);  // not a terminal: no colours
    const Ran as_json = run_cli({"status", "--json", "--data-dir", fake.data_dir()});
    CHECK(parsed(as_json) == json::parse(kStatus));
    CHECK(fake.asked() == "GET /v1/status\nGET /v1/status\n");
}

TEST_CASE("peers has one row a member and fits the terminal") {
    const FakeNode fake(Script{{"GET /v1/peers", {json_reply(200, kPeers)}}});
    const Ran wide = run_cli({"peers", "--data-dir", fake.data_dir()}, 120);
    CHECK(wide.code() == 0);
    CHECK(wide.says("web-1 *"));
    CHECK(wide.says("0.4 ms"));
    CHECK(wide.says("1.5 KiB"));
    CHECK(wide.says("1m 1s"));
    CHECK(wide.out.find('\033') == std::string::npos);  // the name tried to clear the screen
    const Ran narrow = run_cli({"peers", "--data-dir", fake.data_dir()}, 60);
    std::istringstream in(narrow.out);
    int rows = 0;
    for (std::string line; std::getline(in, line); ++rows) CHECK(columns_of(line) <= 60);
    CHECK(rows == 3);
    CHECK(parsed(run_cli({"peers", "--json", "--data-dir", fake.data_dir()})) == json::parse(kPeers));
}

TEST_CASE("what a narrow terminal shows is no wider than it is") {
    // Half a screen beside an editor; lines that wrap make a table unreadable.
    const std::string page = R"({"blobs":[{"digest":")" + kDigest +
                             R"(","size":999999,"complete":true,"bytes":999999,"home":true}],"next":null})";
    const std::string blob = R"({"digest":")" + kDigest + R"(","size":123456789,"chunk_size":131072,"chunks":942,
        "complete":true,"have":942,"home":true,
        "holders":[{"node_id":"00112233445566778899aabbccddeeff","name":"web-1","complete":true,"chunks":942}],
        "sources":[{"node_id":"ffeeddccbbaa99887766554433221100","name":"a-name-of-some-length",
                    "transport":"tcp","chunks":942,"bytes":123456789}]})";
    const std::string other = "sha256:" + std::string(64, 'b');
    const std::string part = R"({"digest":")" + other + R"(","size":123456789,"chunk_size":131072,"chunks":942,
        "complete":false,"have":471,"map":")" + std::string(234, 'a') + R"(2a",
        "home":false,"holders":[],"sources":[]})";
    const FakeNode fake(Script{{"GET /v1/status", {json_reply(200, kStatus)}},
                               {"GET /v1/peers", {json_reply(200, kPeers)}},
                               {"GET /v1/blobs?limit=1000", {json_reply(200, page)}},
                               {"GET /v1/blobs/" + kDigest, {json_reply(200, blob)}},
                               {"GET /v1/blobs/" + other, {json_reply(200, part)}}});
    CHECK(run_cli({"blob", other, "--data-dir", fake.data_dir()}, 20, true).says("[" + std::string(18, '+') + "]"));
    CHECK(run_cli({"blob", other, "--data-dir", fake.data_dir()}, 20).says("[" + std::string(64, '+') + "]"));
    for (const std::size_t width : {20U, 30U, 40U, 60U, 80U}) {
        for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
                 {"status"}, {"peers"}, {"blobs"}, {"blob", kDigest}, {"blob", other}}) {
            auto all = words;
            all.insert(all.end(), {"--data-dir", fake.data_dir()});
            const Ran shown = run_cli(all, static_cast<int>(width), true);
            REQUIRE(shown.code() == 0);
            std::istringstream in(shown.out);
            for (std::string line; std::getline(in, line);) {
                CAPTURE(line);
                CHECK(columns_of(line) <= width);
            }
        }
    }
    const Ran piped = run_cli({"status", "--data-dir", fake.data_dir()}, 40);
    CHECK(piped.says("web-1  00112233445566778899aabbccddeeff  cluster default"));  // scripts read lines
}

TEST_CASE("peers --watch redraws, and with --json gives one document a line") {
    const FakeNode fake(Script{{"GET /v1/peers", {json_reply(200, kPeers), json_reply(200, "[]")}}});
    const Ran watched =
        run_cli({"peers", "--watch", "--times", "3", "--json", "--data-dir", fake.data_dir()});
    CHECK(watched.code() == 0);
    std::istringstream in(watched.out);
    std::vector<std::size_t> sizes;
    for (std::string line; std::getline(in, line);) sizes.push_back(json::parse(line).size());
    CHECK(sizes == std::vector<std::size_t>{2, 0, 0});
}

TEST_CASE("blobs follows every page, and stops at the limit") {
    const std::string other = "sha256:" + std::string(64, 'f');
    const json one = {{"digest", kDigest}, {"size", 1024}, {"complete", true}, {"bytes", 1024}, {"home", true}};
    const json two = {{"digest", other}, {"size", 1000}, {"complete", false}, {"bytes", 420}};
    const FakeNode fake(
        Script{{"GET /v1/blobs?limit=1000", {json_reply(200, json{{"blobs", {one}}, {"next", kDigest}}.dump())}},
         {"GET /v1/blobs?limit=1000&after=" + kDigest,
          {json_reply(200, json{{"blobs", {two}}, {"next", nullptr}}.dump())}},
         {"GET /v1/blobs?limit=1", {json_reply(200, json{{"blobs", {one}}, {"next", kDigest}}.dump())}}});
    const Ran all = run_cli({"blobs", "--data-dir", fake.data_dir()});
    CHECK(all.code() == 0);
    CHECK(all.says(kDigest));
    CHECK(all.says("42 %"));
    CHECK(all.says("home"));
    CHECK(parsed(run_cli({"blobs", "--json", "--data-dir", fake.data_dir()})) == json{one, two});
    CHECK(parsed(run_cli({"blobs", "--json", "--limit", "1", "--data-dir", fake.data_dir()})).size() == 1);
}

TEST_CASE("a list of blobs that repeats itself is ended") {
    // A defective node must not hold the command for ever.
    const std::string page = json{{"blobs", json::array()}, {"next", kDigest}}.dump();
    const FakeNode fake(Script{{"GET /v1/blobs?limit=1000", {json_reply(200, page)}},
                         {"GET /v1/blobs?limit=1000&after=" + kDigest, {json_reply(200, page)}}});
    const Ran ran = run_cli({"blobs", "--data-dir", fake.data_dir()});
    CHECK(ran.code() == 1);
    CHECK(ran.says("does not end"));
}

TEST_CASE("blob shows holders and who sent what; a blob nobody has is exit code 4") {
    const std::string blob = R"({"digest":")" + kDigest + R"(","size":67108864,"chunk_size":131072,
        "chunks":512,"complete":true,
        "holders":[{"node_id":"00112233445566778899aabbccddeeff","name":"web-1","complete":true,"chunks":512}],
        "sources":[{"node_id":"ffeeddccbbaa99887766554433221100","transport":"tcp","chunks":500,"bytes":65536000},
                   {"node_id":"upstream","transport":"tcp","chunks":12,"bytes":1572864}]})";
    const FakeNode fake(Script{{"GET /v1/blobs/" + kDigest,
                          {json_reply(200, blob), json_reply(200, blob), json_reply(404, kNotFound)}}});
    const Ran text = run_cli({"blob", kDigest, "--data-dir", fake.data_dir()});
    CHECK(text.code() == 0);
    for (const std::string part : {"64.0 MiB", "512 chunks", "web-1 (00112233)", "ffeeddcc", "upstream", "500"}) {
        CAPTURE(part);
        CHECK(text.says(part));
    }
    CHECK(parsed(run_cli({"blob", kDigest, "--json", "--data-dir", fake.data_dir()})) == json::parse(blob));
    const Ran gone = run_cli({"blob", kDigest, "--data-dir", fake.data_dir()});
    CHECK(gone.code() == 4);
    CHECK(gone.says("nobody holds it"));
    // What is not a digest never reaches the node's path.
    CHECK(run_cli({"blob", "../key", "--data-dir", fake.data_dir()}).code() == 2);
    CHECK(run_cli({"blob", "sha256:E3B0", "--data-dir", fake.data_dir()}).code() == 2);
}

TEST_CASE("blob shows which chunks of a part are here, and does not make up what nobody knows") {
    const std::string part = R"({"digest":")" + kDigest + R"(","size":2097152,"chunk_size":131072,"chunks":16,
        "complete":false,"have":9,"map":"ff40","holders":[{"node_id":"00112233445566778899aabbccddeeff","name":"a",
        "complete":false,"chunks":null}],"sources":[{"node_id":"unknown","transport":null,"chunks":9,"bytes":9}]})";
    const std::string elsewhere = R"({"digest":")" + kDigest + R"(","size":null,"chunk_size":null,"chunks":null,
        "complete":false,"have":0,"map":null,"holders":[],"sources":[]})";
    const FakeNode fake(
        Script{{"GET /v1/blobs/" + kDigest, {json_reply(200, part), json_reply(200, elsewhere)}}});
    const Ran ran = run_cli({"blob", kDigest, "--data-dir", fake.data_dir()});
    CHECK(ran.says("9 of 16 chunks"));
    CHECK(ran.says("[########......#.]"));
    CHECK(ran.says("not known"));
    const Ran none = run_cli({"blob", kDigest, "--data-dir", fake.data_dir()});
    CHECK(none.says("size not known; here: 0 chunks"));
}

TEST_CASE("join tells the node whom to meet, and says why it did not work") {
    const FakeNode fake(
        Script{{"POST /v1/join",
          {json_reply(200, R"({"address":"10.0.0.9:7946","members":4})"),
           json_reply(403, R"({"error":{"code":"bad_key","message":"10.0.0.9:7946 has another key"}})")}}});
    const Ran met = run_cli({"join", "10.0.0.9:7946", "--data-dir", fake.data_dir()});
    CHECK(met.code() == 0);
    CHECK(met.says("4 members"));
    CHECK(fake.asked() == "POST /v1/join {\"address\":\"10.0.0.9:7946\"}\n");
    const Ran refused = run_cli({"join", "10.0.0.9:7946", "--data-dir", fake.data_dir()});
    CHECK(refused.code() == 1);
    CHECK(refused.says("another key"));
    CHECK(run_cli({"join", "10.0.0.9", "--data-dir", fake.data_dir()}).code() == 2);
    for (const std::string wrong : {"10.0.0.9:0", ":7946", "0.0.0.0:7946", "garbage"}) {
        CAPTURE(wrong);
        const Ran none = run_cli({"join", wrong, "--data-dir", fake.data_dir()});
        CHECK(none.code() == 2);
        CHECK(none.says("join takes the gossip address of a member, HOST:7946"));
    }
}

TEST_CASE("leave waits until the node has gone") {
    // "left" before the node has stopped would let an operator pull the plug too soon. An error, or a
    // connection that breaks off, is of a node that is still there; only a refused one is not.
    const auto left = [](int blobs_left) {
        return R"({"state":"draining","handed_off":false,"blobs":3,"blobs_left":)" + std::to_string(blobs_left) +
               R"(,"bytes":3072,"bytes_left":0,"shards":9,"shards_left":0,"waits_for":"node7, node8"})";
    };
    const auto script = [&](int blobs_left) {
        return Script{{"POST /v1/leave", {json_reply(202, left(3))}},
                      {"GET /v1/leave", {json_reply(200, left(2)), json_reply(200, left(blobs_left))}},
                      {"", {"", json_reply(500, "busy"), "gone"}}};
    };
    const FakeNode fake(script(0));
    const Ran ran = run_cli({"leave", "--timeout", "90s", "--data-dir", fake.data_dir()});
    CHECK(ran.code() == 0);
    CHECK(ran.says("left the mesh; the node has stopped; handed off: 3 blobs, 3.0 KiB"));
    CHECK(fake.asked() == "POST /v1/leave {\"timeout_s\":90}\n\nGET /v1/leave\n\nGET /v1/leave\n\n");
    // What it did not hand off in time is told, and is no success.
    const FakeNode hasty(script(1));
    const Ran partly = run_cli({"leave", "--data-dir", hasty.data_dir()});
    CHECK(partly.code() == 5);
    CHECK(partly.says("1 blob and the rows of 0 shards were not handed off"));
    const FakeNode other(script(0));
    const Ran hurried = run_cli({"leave", "--no-wait", "--json", "--data-dir", other.data_dir()});
    CHECK(parsed(hurried)["state"] == "draining");
    const FakeNode same(Script{{"POST /v1/drain", {json_reply(202, left(3))}}});
    CHECK(run_cli({"drain", "--no-wait", "--data-dir", same.data_dir()}).code() == 0);
    CHECK(run_cli({"leave", "--timeout", "soon", "--data-dir", same.data_dir()}).code() == 2);
}

TEST_CASE("pin and unpin name one blob") {
    const std::string unknown = R"({"error":{"code":"not_found","message":"no"}})";
    const FakeNode fake(Script{{"POST /v1/pin", {json_reply(200, R"({"digest":"x","pinned":true})")}},
                               {"POST /v1/unpin", {json_reply(404, unknown)}}});
    const Ran pinned = run_cli({"pin", kDigest, "--data-dir", fake.data_dir()});
    CHECK(pinned.code() == 0);
    CHECK(pinned.says("pinned; it stays on this node"));
    CHECK(run_cli({"unpin", kDigest, "--data-dir", fake.data_dir()}).code() == 4);
    CHECK(fake.asked() == "POST /v1/pin {\"digest\":\"" + std::string(kDigest) + "\"}\nPOST /v1/unpin {\"digest\":\"" +
                              std::string(kDigest) + "\"}\n");
    CHECK(run_cli({"pin", "sha256:12", "--data-dir", fake.data_dir()}).code() == 2);
}

TEST_CASE("verify waits for the result, and damage is exit code 5 with a list") {
    const std::string running =
        R"({"state":"running","checked":1,"total":3,"bytes":10,"bytes_total":30,"bad":[]})";
    const std::string clean =
        R"({"state":"done","checked":3,"total":3,"bytes":30,"bytes_total":30,"bad":[]})";
    const std::string damaged = R"({"state":"done","checked":3,"total":3,"bytes":30,"bytes_total":30,
        "bad":[{"digest":")" + kDigest + R"(","problem":"chunk 7 differs","healed":true}]})";
    {
        const FakeNode fake(Script{{"POST /v1/verify", {json_reply(202, running)}},
                             {"GET /v1/verify", {json_reply(200, running), json_reply(200, clean)}}});
        const Ran ran = run_cli({"verify", "--data-dir", fake.data_dir()});
        CHECK(ran.code() == 0);
        CHECK(ran.says("3 blobs read back, 30 B: all as they should be"));
        CHECK(fake.asked().starts_with("POST /v1/verify {\"digest\":null}\n"));
    }
    {
        const FakeNode fake(Script{{"POST /v1/verify", {json_reply(202, running)}},
                             {"GET /v1/verify", {json_reply(200, damaged)}}});
        const Ran ran = run_cli({"verify", kDigest, "--data-dir", fake.data_dir()});
        CHECK(ran.code() == 5);
        CHECK(ran.says("chunk 7 differs"));
        CHECK(fake.asked().starts_with("POST /v1/verify {\"digest\":\"" + kDigest + "\"}\n"));
        const Ran as_json = run_cli({"verify", "--json", "--data-dir", fake.data_dir()});
        CHECK(as_json.code() == 5);
        CHECK(parsed(as_json)["bad"].size() == 1);
    }
    {
        const std::string stopped =
            R"({"state":"stopped","checked":1,"total":3,"bytes":10,"bytes_total":30,"bad":[]})";
        const FakeNode fake(Script{{"POST /v1/verify", {json_reply(202, running)}},
                             {"GET /v1/verify", {json_reply(200, stopped)}}});
        const Ran ran = run_cli({"verify", "--data-dir", fake.data_dir()});
        CHECK(ran.code() == 5);  // the rest was not looked at
        CHECK(ran.says("the node stopped after 1 of 3 blobs"));
        CHECK_FALSE(ran.says("all as they should be"));
    }
}

TEST_CASE("key show asks the node, and reads the file of a node that does not run") {
    const FakeNode fake(Script{{"GET /v1/key", {json_reply(200, R"({"key":"0123456789abcdef","file":"/k"})")}}});
    CHECK(run_cli({"key", "show", "--data-dir", fake.data_dir()}).out == "0123456789abcdef\n");
    const Folder stopped;
    stopped.write("cluster.key", "fedcba9876543210\n");
    CHECK(run_cli({"key", "show", "--data-dir", stopped.path()}).out == "fedcba9876543210\n");
    const Ran as_json = run_cli({"key", "show", "--json", "--data-dir", stopped.path()});
    CHECK(parsed(as_json)["file"] == stopped.path() + "/cluster.key");
    const Folder fresh;
    CHECK(run_cli({"key", "show", "--data-dir", fresh.path()}).code() == 3);
    const FakeNode open(Script{{"GET /v1/key", {json_reply(200, R"({"key":"","file":""})")}}});
    CHECK(run_cli({"key", "show", "--data-dir", open.data_dir()}).code() == 4);
}

TEST_CASE("no node is exit code 3 for every command that needs one, with what to try") {
    const Folder empty;
    for (const std::vector<std::string>& words :
         {std::vector<std::string>{"status"}, {"peers"}, {"blobs"}, {"blob", kDigest},
          {"join", "10.0.0.9:7946"}, {"leave"}, {"verify"}}) {
        CAPTURE(words[0]);
        auto all = words;
        all.insert(all.end(), {"--data-dir", empty.path()});
        const Ran ran = run_cli(all);
        CHECK(ran.code() == 3);
        CHECK(ran.out.empty());
        CHECK(ran.err.find(empty.path() + "/admin.sock") != std::string::npos);
        CHECK(ran.err.find("is it running?") != std::string::npos);
    }
    const Ran nobody = run_cli({"status", "--admin", "127.0.0.1:1"});
    CHECK(nobody.code() == 3);
    CHECK(nobody.says("is it running, with that address as its admin.listen?"));
    CHECK(run_cli({"status", "--admin", "no-port"}).code() == 2);
    CHECK(run_cli({"status", "--admin", empty.path() + "/admin.sock"}).says("at " + empty.path() + "/admin.sock"));
    const Ran zero = run_cli({"status", "--admin", "127.0.0.1:0"});
    CHECK(zero.code() == 2);
    CHECK(zero.says("the port may not be 0"));
}

TEST_CASE("a relative data directory is named whole") {
    // What is pasted from a log or a question is read in another directory.
    std::array<char, 4096> here{};
    REQUIRE(::getcwd(here.data(), here.size()) != nullptr);
    const std::string whole = std::string(here.data()) + "/not/there";
    CHECK(run_cli({"status", "--data-dir", "not/there"}).says(whole + "/admin.sock"));
    const Ran checked = run_cli({"config", "check", "--data-dir", "./not/there", "--json"});
    CHECK(parsed(checked)["keys"]["data-dir"]["value"] == whole);
    CHECK(parsed(checked)["keys"]["cluster-key-file"]["value"] == whole + "/cluster.key");
}

TEST_CASE("a node of another version, or none at all, confuses nobody") {
    // Missing fields, other types, errors of another shape: an answer in words, never a crash.
    for (const std::string body : {"{}", "[]", "null", "7", "\"x\"", R"({"members":[],"store":"x","bytes":7})",
                             R"({"rdma":{"enabled":true,"devices":[7,{"name":"rxe0"},"siw0"]},"warnings":[7]})",
                             R"([{"name":7,"self":"yes","rtt_ms":"x"},7,null])"}) {
        CAPTURE(body);
        const FakeNode fake(Script{{"GET /v1/status", {json_reply(200, body)}},
                             {"GET /v1/peers", {json_reply(200, body)}},
                             {"GET /v1/blobs?limit=1000", {json_reply(200, body)}},
                             {"GET /v1/blobs/" + kDigest, {json_reply(200, body)}},
                             {"POST /v1/verify", {json_reply(200, body)}}});
        CHECK(run_cli({"status", "--data-dir", fake.data_dir()}).code() == 0);
        CHECK(run_cli({"peers", "--data-dir", fake.data_dir()}).code() == 0);
        CHECK(run_cli({"blobs", "--data-dir", fake.data_dir()}).code() == 0);
        CHECK(run_cli({"blob", kDigest, "--data-dir", fake.data_dir()}).code() == 0);
        CHECK(run_cli({"verify", "--data-dir", fake.data_dir()}).code() == 0);
    }
    const FakeNode odd(Script{{"GET /v1/status", {json_reply(500, "oops")}},
                        {"GET /v1/peers", {json_reply(200, "<html>")}},
                        {"GET /v1/blobs?limit=1000", {json_reply(500, R"({"error":"x"})")}}});
    CHECK(run_cli({"status", "--data-dir", odd.data_dir()}).code() == 1);
    CHECK(run_cli({"peers", "--data-dir", odd.data_dir()}).says("without JSON"));
    CHECK(run_cli({"blobs", "--data-dir", odd.data_dir()}).says("500"));
    // The registry's port knows no /v1: that is the wrong port, not a missing thing.
    for (const std::string body : {R"({"errors":[{"code":"NOT_FOUND","message":"no such page"}]})", "<html>", ""}) {
        CAPTURE(body);
        const FakeNode registry(Script{{"GET /v1/status", {json_reply(404, body)}}});
        const Ran wrong = run_cli({"status", "--data-dir", registry.data_dir()});
        CHECK(wrong.code() == 3);
        CHECK(wrong.says("is not an admin listener; name the node's admin.listen"));
    }
    // An older node that does not know a path is not "the blob is not there".
    CHECK(run_cli({"verify", "--data-dir", odd.data_dir()}).code() == 1);
}
