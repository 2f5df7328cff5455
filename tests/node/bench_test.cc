// Measurements between real nodes on loopback: what they count, what they refuse, and that nothing of them
// reaches the store, the metrics or the transfer core.
#include "node/bench.h"

#include <nlohmann/json.hpp>

#include "node/admin.h"
#include "node/bench_admin.h"
#include "node/bench_blob.h"
#include "tests/node/rig.h"

using namespace fastreg;
using namespace fastreg::node;
using namespace fastreg::node::test;
using nlohmann::json;

namespace {

/// Two members that know each other.
struct Pair {
    Pair() {
        REQUIRE(until(loop, [&] { return a.sees(b.id()) == MemberState::alive; }));
    }
    [[nodiscard]] BenchOrder order(std::uint64_t chunk = 1U << 20U, std::size_t depth = 4) const {
        BenchOrder made;
        made.peer = b.id();
        made.transfer = b.mesh->transfer_address();
        made.chunk_bytes = chunk;
        made.depth = depth;
        made.span = 100ms;
        return made;
    }
    Result<BenchResult> run(const BenchOrder& order) {
        std::optional<Result<BenchResult>> end;
        if (auto begun = a.mesh->bench(order, [&](Result<BenchResult> result) { end = std::move(result); }); !begun) {
            return tl::unexpected<Error>(begun.error());
        }
        CHECK_FALSE(end);
        REQUIRE(until(
            loop, [&] { return end.has_value(); }, 60s));
        return *std::move(end);
    }
    uv::Loop loop;
    LiveNode a{loop, 1};
    LiveNode b{loop, 2, 0, {a.gossip()}};
};

/// Remembers what it was told to do.
struct Told final : transport::DataTransport {
    void send(NodeId, const Endpoint&, wire::TransferMessage message) override {
        if (const auto* busy = std::get_if<wire::Busy>(&message)) refused.push_back(busy->request);
    }
    void fetch(transport::FetchOrder) override {}
    void cancel_fetch(NodeId, RequestId) override {}
    void serve(transport::ServeOrder order) override { served.push_back(std::move(order)); }
    void cancel_serve(NodeId, RequestId) override {}
    void drop(NodeId, const std::string&) override {}
    std::vector<transport::ServeOrder> served;
    std::vector<RequestId> refused;
};

wire::TransferMessage asked(RequestId request, std::uint64_t size = 1U << 30U) {
    return wire::GetChunk{request, bench_digest(), size, 0, false};
}

}  // namespace

TEST_CASE("every size of a bench chunk is the first chunk of a blob whose size says so") {
    for (std::uint64_t chunk = kBenchChunkMin; chunk <= kChunkSizeMax; chunk *= 2) {
        CAPTURE(chunk);
        CHECK(is_bench_chunk(chunk));
        CHECK(ChunkGrid(bench_blob_size(chunk)).size_of(0) == chunk);
        CHECK(bench_chunk_of(bench_blob_size(chunk)) == chunk);
    }
    for (const std::uint64_t other : {0ULL, 1ULL, 16ULL, 64ULL, 65'535ULL, 100'000ULL, 1ULL << 40U}) {
        CAPTURE(other);
        CHECK_FALSE(bench_chunk_of(other));
    }
    CHECK_FALSE(is_bench_chunk(3U << 20U));
    CHECK_FALSE(is_bench_chunk(8U << 20U));
    // What other releases and other implementations have to make as well.
    CHECK(bench_digest().str() == "sha256:2079e2d4e7e5fb9c3eeef463e46c2eacbf9767a892f896df3eca70977ab8b7db");
    CHECK(to_hex(ByteView(bench_pattern()).first(8)) == "2caab3bc3764f610");
}

TEST_CASE("the report of CPU time survives its trip, and nonsense is refused") {
    const auto back = read_bench_report(make_bench_report(1234567890ns));
    REQUIRE(back);
    CHECK(*back == 1234567890ns);
    CHECK_FALSE(read_bench_report(Bytes(63)));
    CHECK_FALSE(read_bench_report(Bytes(64, std::byte{0xff})));
}

TEST_CASE("chunks of every size are measured between two members, and leave no trace") {
    Pair pair;
    for (const std::uint64_t chunk : {kBenchChunkMin, kChunkSizeMin, std::uint64_t{1} << 20U, kChunkSizeMax}) {
        CAPTURE(chunk);
        const auto result = pair.run(pair.order(chunk, 4));
        if (!result) FAIL(describe(result.error()));
        CHECK(result->chunks >= 4);
        CHECK(result->took >= 100ms);
        CHECK(result->p50 > Duration(0));
        CHECK(result->p99 >= result->p50);
        CHECK(result->cpu_here > Duration(0));
        CHECK(result->cpu_there > Duration(0));
    }
    for (LiveNode* node : {&pair.a, &pair.b}) {
        CHECK(node->mesh->bytes_in(Road::tcp) == 0);
        CHECK(node->mesh->bytes_out(Road::tcp) == 0);
        CHECK(node->core->store().totals().blobs == 0);
        CHECK(node->core->transfer().peers(node->core->now()).empty());
    }
}

TEST_CASE("one measurement at a time, within its limits, and only where the road is there") {
    Pair pair;
    bool ended = false;
    REQUIRE(pair.a.mesh->bench(pair.order(), [&](const Result<BenchResult>&) { ended = true; }));
    const auto second = pair.a.mesh->bench(pair.order(), [](const Result<BenchResult>&) {});
    REQUIRE_FALSE(second);
    CHECK(second.error().code == Errc::busy);
    REQUIRE(until(
        pair.loop, [&] { return ended; }, 60s));
    CHECK_FALSE(pair.run(pair.order(3U << 20U)));
    CHECK_FALSE(pair.run(pair.order(1U << 20U, 33)));
    BenchOrder rdma = pair.order();
    rdma.road = Road::rdma;
    const auto none = pair.run(rdma);
    REQUIRE_FALSE(none);
    CHECK(none.error().code == Errc::unsupported);
}

TEST_CASE("a peer that goes in the middle ends the measurement, and a node that stops forgets it") {
    auto pair = std::make_unique<Pair>();
    BenchOrder order = pair->order();
    order.span = 10s;
    std::optional<Result<BenchResult>> end;
    REQUIRE(pair->a.mesh->bench(order, [&](Result<BenchResult> result) { end = std::move(result); }));
    CHECK_FALSE(until(
        pair->loop, [&] { return end.has_value(); }, 300ms));
    pair->b.mesh->attach(nullptr);
    pair->b.mesh->close();
    REQUIRE(until(
        pair->loop, [&] { return end.has_value(); }, 30s));
    CHECK_FALSE(*end);
    end.reset();
    REQUIRE(pair->a.mesh->bench(order, [&](Result<BenchResult> result) { end = std::move(result); }));
    pair.reset();
    CHECK_FALSE(end);
}

TEST_CASE("the answering end gives one member its turn, so many chunks at once, and not for ever") {
    // A member that asks without end must not keep this node from its blobs, nor others from measuring.
    BenchServer server;
    Told told;
    Instant now{1'000'000'000'000};
    const auto ask = [&](unsigned who, RequestId request) {
        CHECK(server.on_message(now, peer(who), asked(request), told));
    };
    ask(1, 1);
    CHECK(told.served.size() == 1);
    CHECK(told.served[0].length == 1U << 20U);
    CHECK(server.serves(peer(1), 1));
    ask(2, 1);
    CHECK(told.refused == std::vector<RequestId>{1});
    for (RequestId i = 2; i <= BenchServer::kServesMax; ++i) ask(1, i);
    CHECK(told.served.size() == BenchServer::kServesMax);
    ask(1, 1000);
    CHECK(told.refused.back() == 1000);
    for (RequestId i = 1; i <= BenchServer::kServesMax; ++i) CHECK(server.on_served(peer(1), i));
    CHECK_FALSE(server.on_served(peer(1), 1));
    // The first was quiet for a while: the second has its turn.
    now = now + BenchServer::kQuiet;
    ask(2, 2);
    CHECK(told.served.back().to == peer(2));
    // It never lets go: after ten minutes it has to, for as long as lets another one in.
    const std::size_t before = told.refused.size();
    CHECK(server.on_served(peer(2), 2));
    for (RequestId i = 3; i < 603; ++i) {
        now = now + 1s;
        ask(2, i);
        (void)server.on_served(peer(2), i);
    }
    CHECK(told.refused.size() > before);
    CHECK(told.refused.back() > 600);
    now = now + BenchServer::kQuiet;
    ask(1, 9999);
    CHECK(told.served.back().request == 9999);
}

TEST_CASE("what is no bench is left to the node: another digest, chunk or size") {
    BenchServer server;
    Told told;
    const Instant now{1};
    CHECK_FALSE(
        server.on_message(now, peer(1), wire::GetChunk{1, digest_of(HashAlg::sha256, {}), 65'536, 0, false}, told));
    CHECK_FALSE(server.on_message(now, peer(1), wire::GetChunk{1, bench_digest(), 1U << 30U, 1, false}, told));
    CHECK_FALSE(server.on_message(now, peer(1), asked(1, 16), told));  // the text that has this digest
    CHECK_FALSE(server.on_message(now, peer(1), asked(1, kBlobSizeMax), told));
    CHECK_FALSE(server.on_message(now, peer(1), wire::Cancel{1}, told));
    CHECK(told.served.empty());
    CHECK(server.on_message(now, peer(1), asked(1, kBenchReportSize), told));
    REQUIRE(told.served.size() == 1);
    CHECK(told.served[0].length == kBenchReportSize);
}

TEST_CASE("POST /v1/bench measures, and says what is wrong with a question") {
    Pair pair;
    Counter none;
    Admin admin(*pair.a.core, *pair.a.mesh, pair.a.metrics, {&none, &none, &none}, {});
    const auto post = [&](const std::string& body) {
        http::Request request;
        request.method = http::Method::post;
        request.method_name = "POST";
        request.path = "/v1/bench";
        std::optional<AdminAnswer> got;
        admin.handle(request, body, true, [&](AdminAnswer answer) { got = std::move(answer); });
        REQUIRE(until(
            pair.loop, [&] { return got.has_value(); }, 60s));
        return *got;
    };
    const json question{
        {"peer", pair.b.id().str()}, {"transport", "tcp"}, {"chunk_bytes", 65536}, {"depth", 2}, {"seconds", 0.05}};
    const AdminAnswer good = post(question.dump());
    CHECK(good.status == 200);
    const json result = json::parse(good.body);
    CHECK(result["bytes"] == result["chunks"].get<std::uint64_t>() * 65536);
    CHECK(result["bytes_per_second"].get<double>() > 0);
    CHECK(result["p99_us"] >= result["p50_us"]);
    CHECK(result["cpu_s_per_gib"]["there"].get<double>() > 0);
    const auto with = [&](const std::string& field, const json& value) {
        json changed = question;
        changed[field] = value;
        return post(changed.dump()).status;
    };
    CHECK(with("peer", "00112233445566778899aabbccddeeff") == 404);
    CHECK(with("peer", "b") == 400);
    CHECK(with("transport", "pigeon") == 400);
    CHECK(with("transport", "rdma") == 409);
    CHECK(with("chunk_bytes", 100'000) == 400);
    CHECK(with("chunk_bytes", -1) == 400);
    CHECK(with("depth", 0) == 400);
    CHECK(with("seconds", 11) == 400);
    CHECK(post("").status == 400);
    CHECK(post("[]").status == 400);
}
