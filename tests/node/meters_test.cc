// What the metrics page says after known events.
#include "node/meters.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "node/admin.h"
#include "tests/node/rig.h"
#include "tests/store/rig.h"
#include "wire/gossip.h"

using namespace fastreg;
using namespace fastreg::node;
using namespace fastreg::node::test;

namespace {


bool says(const Metrics& metrics, const std::string& line) {
    return ("\n" + metrics.render()).find("\n" + line + "\n") != std::string::npos;
}

/// A core whose peers are played by the test.
struct Metered {
    Metered() : core(net, *disk.store, options(), Rng(1)) { core.start({}); }
    CoreOptions options() {
        CoreOptions wanted = core_options("metered");
        wanted.meters = &meters;
        return wanted;
    }
    /// The bytes that were asked for arrive.
    void arrive(const Fetch& fetch, const store::TestBlob& blob) {
        const ByteView bytes = blob.chunk(fetch.chunk);
        disk.store->land(fetch.landing, 0, store::make_block(bytes), std::nullopt,
                         [&](store::ChunkOutcome outcome) {
                             core.on_fetch_end(fetch.from, fetch.request, {transfer_outcome(outcome), bytes.size()});
                         });
    }

    struct Wire final : SilentNet {
        void fetch(Fetch order) override { fetches.push_back(std::move(order)); }
        std::vector<Fetch> fetches;
    };
    Disk disk{1};
    Wire net;
    Metrics metrics;
    Meters meters{metrics};
    Core core;
};

}  // namespace

TEST_CASE("pulls are counted by size and by how they ended") {
    Metrics metrics;
    Meters meters(metrics);
    meters.blob_fetched((1U << 20U) - 1, 20ms, true);
    meters.blob_fetched(1U << 20U, 20ms, true);
    meters.blob_fetched((64U << 20U) - 1, 20ms, false);
    meters.blob_fetched(64U << 20U, 2s, true);
    const std::string count = "fastreg_blob_fetch_duration_seconds_count";
    CHECK(says(metrics, count + R"({size_class="small",outcome="done"} 1)"));
    CHECK(says(metrics, count + R"({size_class="small",outcome="failed"} 0)"));
    CHECK(says(metrics, count + R"({size_class="medium",outcome="done"} 1)"));
    CHECK(says(metrics, count + R"({size_class="medium",outcome="failed"} 1)"));
    CHECK(says(metrics, count + R"({size_class="large",outcome="done"} 1)"));
    CHECK(says(metrics, R"(fastreg_blob_fetch_duration_seconds_sum{size_class="large",outcome="done"} 2)"));
}

TEST_CASE("every end of a chunk has its series, and one that was called off has none") {
    using transfer::ChunkOutcome;
    Metrics metrics;
    Meters meters(metrics);
    const std::vector<std::pair<ChunkOutcome, std::string>> bad{
        {ChunkOutcome::bad_checksum, "bad_checksum"}, {ChunkOutcome::bad_link, "bad_link"},
        {ChunkOutcome::disk_full, "disk_full"},       {ChunkOutcome::disk_error, "disk_error"},
        {ChunkOutcome::link_lost, "link_lost"},       {ChunkOutcome::refused, "refused"}};
    for (std::size_t i = 0; i < bad.size(); ++i) {
        for (std::size_t n = 0; n <= i; ++n) meters.chunk_ended({bad[i].first}, 1s);
    }
    meters.chunk_ended({ChunkOutcome::cancelled}, 1s);
    meters.chunk_ended({ChunkOutcome::stored}, 3ms);
    meters.chunk_ended({ChunkOutcome::stored, 1, Road::rdma}, 3ms);
    meters.chunk_ended({ChunkOutcome::stored, 1, Road::rdma}, 4ms);
    for (std::size_t i = 0; i < bad.size(); ++i) {
        CAPTURE(bad[i].second);
        CHECK(says(metrics, "fastreg_chunk_retries_total{reason=\"" + bad[i].second + "\"} " +
                                std::to_string(i + 1)));
    }
    CHECK(says(metrics, R"(fastreg_chunk_fetch_duration_seconds_count{transport="tcp"} 1)"));
    CHECK(says(metrics, R"(fastreg_chunk_fetch_duration_seconds_count{transport="rdma"} 2)"));
    CHECK(says(metrics, R"(fastreg_chunk_fetch_duration_seconds_bucket{transport="tcp",le="0.005"} 1)"));
    CHECK(says(metrics, R"(fastreg_chunk_fetch_duration_seconds_bucket{transport="tcp",le="0.0025"} 0)"));
    CHECK(meters.disk_full.value() == 3);  // a chunk without room is a write without room
}

TEST_CASE("questions to the directory are counted by their answer") {
    Metrics metrics;
    Meters meters(metrics);
    meters.looked_up(Meters::Lookup::found, 1ms);
    for (int i = 0; i < 2; ++i) meters.looked_up(Meters::Lookup::nobody, 1ms);
    for (int i = 0; i < 3; ++i) meters.looked_up(Meters::Lookup::failed, 1s);
    CHECK(says(metrics, R"(fastreg_lookup_duration_seconds_count{result="found"} 1)"));
    CHECK(says(metrics, R"(fastreg_lookup_duration_seconds_count{result="nobody"} 2)"));
    CHECK(says(metrics, R"(fastreg_lookup_duration_seconds_count{result="failed"} 3)"));
}

TEST_CASE("a second copy of a slow chunk is counted, and what came for nothing by its bytes") {
    // Hedges that grow tell of slow peers; their bytes are what the impatience costs.
    Metered node;
    const auto blob = store::make_blob(1000, 1);
    for (const unsigned n : {1U, 2U}) {
        meet(node.core, n);
        node.core.downloads().acquire(blob.digest, 1000, false, peer(n), [](const Status&) {});
    }
    const StreamId reader = node.core.downloads().open_stream(blob.digest, 1000, 0, 1000,
                                                              [](const StreamNews&) {});
    CHECK(reader != 0);
    REQUIRE(node.net.fetches.size() == 1);
    const Fetch slow = node.net.fetches[0];
    CHECK(node.meters.chunks_hedged.value() == 0);
    node.net.time = node.net.time + 50ms;
    node.core.on_fetch_bytes(slow.from, slow.request, 400);
    node.net.time = node.net.time + 150ms;
    node.core.on_deadline();
    REQUIRE(node.net.fetches.size() == 2);
    CHECK(node.meters.chunks_hedged.value() == 1);
    CHECK(node.net.fetches[1].from != slow.from);
    node.arrive(node.net.fetches[1], blob);
    CHECK(node.core.store().find(blob.digest));
    CHECK(node.meters.duplicate_bytes.value() == 0);
    node.core.on_fetch_end(slow.from, slow.request, {transfer::ChunkOutcome::cancelled, 400});
    CHECK(node.meters.duplicate_bytes.value() == 400);
    CHECK(says(node.metrics, R"(fastreg_chunk_retries_total{reason="refused"} 0)"));
}

TEST_CASE("a client that has had all that is here is counted as waiting until more comes") {
    // It is what a person at the other end sees of a slow mesh.
    Metered node;
    const auto blob = store::make_blob(2 * kChunkSizeMin, 1);
    meet(node.core, 1);
    node.core.downloads().acquire(blob.digest, blob.data.size(), false, peer(1), [](const Status&) {});
    std::uint64_t ready = 0;
    const StreamId stream = node.core.downloads().open_stream(
        blob.digest, blob.data.size(), 0, blob.data.size(),
        [&](const StreamNews& news) { ready = news.ready_end; });
    wire::Map map;
    map.digest = blob.digest;
    map.size = blob.data.size();
    map.complete = true;
    node.core.on_transfer(peer(1), map);
    node.core.on_transfer(peer(1), wire::ChainPage{blob.digest, map.size, 0,
                                                  Bytes(blob.chain.bytes().begin(), blob.chain.bytes().end())});
    REQUIRE(node.net.fetches.size() == 2);
    node.core.downloads().move_stream(stream, 0);  // the wait for the first byte has a metric of its own
    node.net.time = node.net.time + 100ms;
    node.arrive(node.net.fetches[0], blob);
    REQUIRE(ready == kChunkSizeMin);
    CHECK(node.meters.stalls.value() == 0);
    node.core.downloads().move_stream(stream, ready - 1);  // a byte is left
    node.net.time = node.net.time + 100ms;
    node.core.downloads().move_stream(stream, ready);
    node.net.time = node.net.time + 250ms;
    node.core.downloads().move_stream(stream, ready);
    SUBCASE("more comes") {
        node.arrive(node.net.fetches[1], blob);
        CHECK(ready == blob.data.size());
    }
    SUBCASE("the client goes") { node.core.downloads().close_stream(stream); }
    CHECK(node.meters.stalls.value() == doctest::Approx(0.25));
}

TEST_CASE("round trips of probes between nodes are counted") {
    uv::Loop loop;
    LiveNode one(loop, 1);
    LiveNode two(loop, 2, 0, {one.gossip()});
    CHECK(says(one.metrics, "fastreg_probe_rtt_seconds_count 0"));
    CHECK(until(loop, [&] { return !says(one.metrics, "fastreg_probe_rtt_seconds_count 0"); }));
    CHECK(one.core->gossip().rtt(two.id()));
}

namespace {

/// The admin interface of a node on real sockets.
struct Page {
    AdminAnswer get(const std::string& path, http::Query query = {}) {
        http::Request request;
        request.path = path;
        request.query = std::move(query);
        AdminAnswer got;
        admin.handle(request, "", true, [&](AdminAnswer answer) { got = std::move(answer); });
        return got;
    }
    /// Whether /metrics has the line.
    bool says(const std::string& line) {
        return ("\n" + get("/metrics").body).find("\n" + line + "\n") != std::string::npos;
    }
    static AdminFacts facts() {
        AdminFacts facts;
        facts.state = [] { return std::string("alive"); };
        return facts;
    }
    uv::Loop loop;
    LiveNode node{loop, 1};
    Counter local, from_peers, upstream;
    Admin admin{*node.core, *node.mesh, node.metrics, {&local, &from_peers, &upstream}, facts()};
};

}  // namespace

TEST_CASE("the page says how many peers are in quarantine") {
    Page page;
    CHECK(page.says("fastreg_peer_quarantined 0"));
    const auto blob = store::make_blob(kChunkSizeMin * 2, 1);
    meet(*page.node.core, 1);
    page.node.core->downloads().acquire(blob.digest, blob.data.size(), false, peer(1), [](const Status&) {});
    wire::Map map;
    map.digest = blob.digest;
    map.size = blob.data.size() + 1;  // a lie
    map.complete = true;
    page.node.core->on_transfer(peer(1), map);
    CHECK(page.says("fastreg_peer_quarantined 1"));
    CHECK(page.says("fastreg_peers_blamed_total 1"));
}

TEST_CASE("a chunk that is called off is not counted as asked for again") {
    // Each second copy ends with one: the retries would grow on a healthy node.
    uv::Loop loop;
    LiveNode node(loop, 1);
    const int mute = ::socket(AF_INET, SOCK_STREAM, 0);  // takes connections and says nothing
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof(address);
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    REQUIRE(::bind(mute, any, length) == 0);
    REQUIRE(::listen(mute, 8) == 0);
    REQUIRE(::getsockname(mute, any, &length) == 0);
    const auto blob = store::make_blob(1000, 1);
    meet(*node.core, 1, 1, "127.0.0.1", ntohs(address.sin_port));
    bool here = false;
    node.core->downloads().acquire(blob.digest, 1000, false, peer(1),
                                   [&](const Status& status) { here = status.has_value(); });
    REQUIRE(node.core->transfer().status(blob.digest)->outstanding == 1);
    node.disk.store->put_small(blob.digest, blob.data, true, store::Durability::durable,
                               [](const Status& status) { REQUIRE(status); });
    node.core->on_pushed(blob.digest, 1000);
    CHECK(here);
    CHECK_FALSE(until(
        loop, [&] { return !says(node.metrics, R"(fastreg_chunk_retries_total{reason="refused"} 0)"); }, 200ms));
    ::close(mute);
}

TEST_CASE("the page says how many chunks are being sent and how many are waited for") {
    Page page;
    CHECK(page.says("fastreg_upload_slots_inflight 0"));
    const auto blob = store::make_blob(kChunkSizeMin * 8, 1);
    page.node.disk.store->put_small(blob.digest, blob.data, true, store::Durability::durable,
                                    [](const Status& status) { REQUIRE(status); });
    meet(*page.node.core, 1);
    for (ChunkIndex i = 0; i < 6; ++i) {
        page.node.core->on_transfer(peer(1), wire::GetChunk{i + 1, blob.digest, blob.data.size(), i, false});
    }
    CHECK(page.says("fastreg_upload_slots_inflight 4"));
    CHECK(page.says("fastreg_upload_queue_depth 2"));
}

TEST_CASE("a limit of blobs is a whole number, or it is refused in words") {
    // 10abc was taken for 10: a typing error that nobody notices.
    Page page;
    CHECK(page.get("/v1/blobs", {{"limit", "10"}}).status == 200);
    CHECK(page.get("/v1/blobs", {{"limit", "1000"}}).status == 200);
    for (const std::string bad :
         {"10abc", "abc", "", " 10", "+10", "-1", "0", "1001", "1.5", "99999999999999999999"}) {
        CAPTURE(bad);
        const AdminAnswer answer = page.get("/v1/blobs", {{"limit", bad}});
        CHECK(answer.status == 400);
        CHECK(answer.body.find("from 1 to 1000") != std::string::npos);
    }
}
