// `fastreg bench` against a node that answers from a script: whom it measures, what it asks, the table, the
// JSON, and what becomes of a measurement that breaks off.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "fake_node.h"

using namespace fastreg;
using namespace fastreg::cli;
using namespace fastreg::cli::test;
using nlohmann::json;

namespace {

const std::string kIdA = "ffeeddccbbaa99887766554433221100";

std::string peers_of(const std::string& rdma_here, const std::string& rdma_there) {
    return json{
        {{"node_id", "00112233445566778899aabbccddeeff"},
         {"name", "web-1"},
         {"state", "alive"},
         {"self", true},
         {"rdma_addr", rdma_here}},
        {{"node_id", kIdA}, {"name", "web-2"}, {"state", "alive"}, {"self", false}, {"rdma_addr", rdma_there}},
        {{"node_id", "ffee000000000000000000000000000f"}, {"name", "twin"}, {"state", "alive"}, {"self", false}},
        {{"node_id", "11ee000000000000000000000000000f"}, {"name", "twin"}, {"state", "alive"}, {"self", false}},
        {{"node_id", "22ee000000000000000000000000000f"}, {"name", "gone"}, {"state", "dead"}, {"self", false}}}
        .dump();
}

std::string cell(double bytes_per_second, double p50, double here) {
    return json_reply(200,
                      json{{"bytes_per_second", bytes_per_second},
                           {"p50_us", p50},
                           {"p99_us", p50 * 2},
                           {"cpu_s_per_gib", {{"here", here}, {"there", 0.25}}}}
                          .dump());
}

Ran bench(const FakeNode& fake, std::vector<std::string> words) {
    words.insert(words.begin(), "bench");
    words.insert(words.end(), {"--data-dir", fake.data_dir()});
    return run_cli(words);
}

}  // namespace

TEST_CASE("tcp and rdma are measured in turn, and the table has their ratio") {
    const FakeNode fake(Script{{"GET /v1/peers", {json_reply(200, peers_of("10.0.0.1:9999", "10.0.0.2:9999"))}},
                               {"POST /v1/bench", {cell(104'857'600, 400, 1.5), cell(314'572'800, 100, 0.5)}}});
    const Ran ran = bench(fake, {"--size", "64KiB", "--depth", "1", "--seconds", "0.5", "web-2"});
    CHECK(ran.code() == 0);
    for (const std::string part : {"web-2 (ffeeddcc)",
                                   "64.0 KiB",
                                   "100",
                                   "300",
                                   "3.00",
                                   "0.40/0.80",
                                   "0.10/0.20",
                                   "1.50/0.25",
                                   "0.50/0.25",
                                   "tcp 400 us, rdma 100 us (-75 %)",
                                   "not speed"}) {
        CAPTURE(part);
        CHECK(ran.says(part));
    }
    const std::string question = R"("chunk_bytes":65536,"depth":1,"seconds":0.5})";
    CHECK(fake.asked() == "GET /v1/peers\nPOST /v1/bench {\"peer\":\"" + kIdA + "\",\"transport\":\"tcp\"," + question +
                              "\nPOST /v1/bench {\"peer\":\"" + kIdA + "\",\"transport\":\"rdma\"," + question + "\n");
}

TEST_CASE("without RDMA at both ends tcp alone is measured, over the whole grid") {
    const FakeNode fake(Script{{"GET /v1/peers", {json_reply(200, peers_of("10.0.0.1:9999", ""))}},
                               {"POST /v1/bench", {cell(104'857'600, 400, 1.5)}}});
    const Ran ran = bench(fake, {"--json", "ffeedd"});
    CHECK(ran.code() == 0);
    const json all = json::parse(ran.out);
    CHECK(all["peer"]["node_id"] == kIdA);
    REQUIRE(all["rows"].size() == 12);
    CHECK(all["rows"][0]["rdma"].is_null());
    CHECK(all["rows"][0]["ratio"].is_null());
    CHECK(all["rows"][0]["tcp"]["bytes_per_second"] == 104'857'600);
    CHECK(all["rows"][11]["chunk_bytes"] == 4U << 20U);
    CHECK(all["rows"][11]["depth"] == 8);
}

TEST_CASE("what was measured before the peer went is shown, with the reason for the rest") {
    const std::string broken =
        json_reply(502, R"({"error":{"code":"network","message":"a chunk ended with link_lost"}})");
    const FakeNode fake(Script{{"GET /v1/peers", {json_reply(200, peers_of("", ""))}},
                               {"POST /v1/bench", {cell(104'857'600, 400, 1.5), broken}}});
    const Ran ran = bench(fake, {"--size", "64KiB", "--depth", "1,4", "web-2"});
    CHECK(ran.code() == 5);
    CHECK(ran.says("64.0 KiB"));
    CHECK(ran.says("link_lost"));
    const Ran nothing = bench(fake, {"--size", "64KiB", "--depth", "1", "web-2"});
    CHECK(nothing.code() == 1);
    CHECK(nothing.out.empty());
}

TEST_CASE("a depth that RDMA does not reach is left out, and the rest is measured") {
    // With small pools one peer has four chunks under way; the default asks for eight as well.
    const std::string deep = json_reply(
        400, R"({"error":{"code":"too_large","message":"at most 4 chunks of one peer are under way at once"}})");
    const std::string good = cell(104'857'600, 400, 1.5);
    const FakeNode fake(Script{{"GET /v1/peers", {json_reply(200, peers_of("10.0.0.1:9999", "10.0.0.2:9999"))}},
                               {"POST /v1/bench", {good, deep, good, good}}});
    const Ran ran = bench(fake, {"--json", "--size", "64KiB,1MiB", "--depth", "8", "web-2"});
    CHECK(ran.code() == 5);
    CHECK(ran.says("at most 4 chunks"));
    const json all = json::parse(ran.out);
    REQUIRE(all["rows"].size() == 2);
    CHECK(all["rows"][0]["rdma"].is_null());
    CHECK_FALSE(all["rows"][0]["tcp"].is_null());
    CHECK_FALSE(all["rows"][1]["rdma"].is_null());
}

TEST_CASE("a peer is one member, alive and not this node") {
    const FakeNode fake(Script{{"GET /v1/peers", {json_reply(200, peers_of("", ""))}}});
    for (const std::string wrong : {"web-1", "nobody", "gone", "twin", "ffee", "001122"}) {
        CAPTURE(wrong);
        const Ran ran = bench(fake, {wrong});
        CHECK(ran.code() == 4);
        CHECK(ran.says("fastreg peers"));
    }
}

TEST_CASE("lists that make no sense are a matter of usage") {
    const FakeNode fake(Script{{"GET /v1/peers", {json_reply(200, peers_of("", ""))}}});
    for (const std::vector<std::string>& words : {std::vector<std::string>{"--transport", "pigeon"},
                                                  {"--transport", ""},
                                                  {"--size", "100000"},
                                                  {"--size", "8MiB"},
                                                  {"--size", ","},
                                                  {"--depth", "0"},
                                                  {"--depth", "33"},
                                                  {"--depth", "1,x"},
                                                  {"--seconds", "0"},
                                                  {"--seconds", "11"},
                                                  {"--seconds", "x"}}) {
        CAPTURE(words[0]);
        CAPTURE(words[1]);
        CHECK(bench(fake, {words[0], words[1], "web-2"}).code() == 2);
    }
    CHECK(bench(fake, {}).code() == 2);
    const Folder none;
    CHECK(run_cli({"bench", "web-2", "--data-dir", none.path()}).code() == 3);
}
