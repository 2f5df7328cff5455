// Swarms with liars, dawdlers and the dying: the others finish, and only the guilty are named.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "swarm_sim.h"

using namespace fastreg;
using namespace fastreg::transfer;

namespace {

SimOptions small(std::size_t nodes, ChunkIndex chunks = 128, std::uint64_t seed = 7) {
    SimOptions options;
    options.nodes = nodes;
    options.chunks = chunks;
    options.seed = seed;
    return options;
}

SwarmSim::Ratios report(const SwarmSim& sim, const char* what) {
    const auto r = sim.ratios();
    MESSAGE(std::string(what) << ": p50 " << r.p50 << " p99 " << r.p99 << " max " << r.max
                 << " unfinished " << r.unfinished << " duplicates " << 100 * r.duplicates << " %");
    return r;
}

bool named(const std::vector<NodeId>& nodes, const NodeId& id) {
    return std::ranges::find(nodes, id) != nodes.end();
}

}  // namespace

TEST_CASE("a node that serves rubbish is named, avoided, and nobody else is blamed") {
    // A failing disk or a hostile member must cost a few chunks, not the download, and not the honest.
    SwarmSim sim(small(12));
    sim.make_complete(3);
    sim.fault(3).bad_chunks = true;
    sim.run(20s);
    const auto r = report(sim, "one liar of 12");
    CHECK(r.unfinished == 0);
    CHECK(r.max <= 1.6);
    std::size_t named_liar = 0;
    for (std::size_t n = 1; n <= 12; ++n) {
        if (n == 3) continue;
        for (const NodeId& blamed : sim.outcome(n).blamed) CHECK(blamed == sim.id(3));
        named_liar += named(sim.outcome(n).blamed, sim.id(3)) ? 1 : 0;
    }
    CHECK(named_liar > 0);
}

TEST_CASE("a forged chain is found out and only chunks whose links differ come again") {
    // A member that claims the whole blob can make everybody check against its own forgery; the last
    // link cannot be forged, so its victims must recover and name it.
    for (std::uint64_t seed = 1; seed <= 4; ++seed) {
        SwarmSim sim(small(6, 64, seed));
        sim.make_complete(1);
        sim.fault(1).forged_chain = true;
        sim.run(60s);
        const auto r = report(sim, "forged chain");
        CHECK(r.unfinished == 0);
        for (std::size_t n = 2; n <= 6; ++n) {
            CHECK(sim.outcome(n).completed);
            for (const NodeId& blamed : sim.outcome(n).blamed) CHECK(blamed == sim.id(1));
        }
    }
}

TEST_CASE("a node that stops answering costs its neighbours less than a second") {
    // A stopped process keeps its sockets open; nothing but silence tells.
    SwarmSim sim(small(12));
    sim.make_complete(4);
    sim.fault(4).silent = true;
    sim.run(20s);
    const auto r = report(sim, "one silent source of two");
    CHECK(r.unfinished == 0);
    CHECK(r.max <= 1.1 + 0.8 / seconds_of(sim.bound()));
}

TEST_CASE("a node that sends a byte every 300 ms keeps no chunk for ever") {
    // It is never silent, and its map is true: only the age of its requests gives it away.
    for (const ChunkIndex chunks : {ChunkIndex{16}, ChunkIndex{128}}) {
        SwarmSim sim(small(12, chunks));
        for (const std::size_t liar : {3U, 7U}) {
            sim.make_complete(liar);
            sim.fault(liar).trickles = true;
        }
        sim.add_reader(1);
        sim.run(60s);
        const auto r = report(sim, "two tricklers of 12");
        CHECK(r.unfinished == 0);
        CHECK(r.max <= (chunks == 16 ? 5 : 1.6));  // one of 16 chunks is a long time to tell slow from stuck
    }
}

TEST_CASE("a third of the swarm dies and a tenth lies: the rest finishes with the right bytes") {
    // The worst day of a cluster, all at once.
    SwarmSim sim(small(20, 256, 3));
    sim.make_complete(1);
    sim.fault(1).forged_chain = true;
    sim.make_complete(2);
    sim.fault(2).bad_chunks = true;
    for (std::size_t n = 3; n <= 8; ++n) {
        sim.fault(n).dies = sim.now() + static_cast<std::int64_t>(n) * 200ms;
    }
    sim.run(60s);
    const auto r = report(sim, "six of 20 die, two lie");
    CHECK(r.unfinished == 0);
    CHECK(r.max <= 2.5);
    for (std::size_t n = 9; n <= 20; ++n) {
        for (const NodeId& blamed : sim.outcome(n).blamed) {
            CHECK((blamed == sim.id(1) || blamed == sim.id(2)));
        }
    }
}

TEST_CASE("the only source stops answering: the link is dropped and the download fails by itself") {
    // Waiting for ever is the one thing a client cannot recover from.
    SwarmSim sim(small(1));
    sim.fault(0).silent = true;
    sim.run(60s);
    CHECK(sim.outcome(1).failed);
    CHECK(named(sim.outcome(1).dropped, sim.id(0)));
    CHECK(sim.outcome(1).took >= 10s);
    CHECK(sim.outcome(1).took <= 16s);
}

TEST_CASE("one node with a hundredth of the uplink does not hold up the others") {
    // Some machine is always slow; demotion by throughput, never a time limit.
    SwarmSim sim(small(16, 256));
    sim.fault(5).uplink = 0.01;
    sim.run(60s);
    const auto r = report(sim, "one of 16 at 1 %");
    CHECK(r.unfinished == 0);
    CHECK(r.p50 <= 1.25);
    CHECK(r.max <= 1.8);
    CHECK(r.duplicates <= 0.03);
}

TEST_CASE("the source may die as soon as one copy of every chunk is out") {
    // The first holder of a fresh push is often the first to be restarted.
    SwarmSim sim(small(16, 128));
    sim.stop_when = [&] {
        if (sim.spread() < sim.chunks()) return false;
        sim.kill(0);
        return true;
    };
    sim.run(30s);
    const auto r = report(sim, "source dies after one copy");
    CHECK(r.unfinished == 0);
    CHECK(r.max <= 1.6);
}

TEST_CASE("the source dies too early: everybody fails within the no-source time, none hangs") {
    // The answer must be an error that lets the client go to another mirror.
    SwarmSim sim(small(6, 128));
    sim.stop_when = [&] {
        if (sim.spread() < sim.chunks() / 2) return false;
        sim.kill(0);
        return true;
    };
    sim.run(60s);
    for (std::size_t n = 1; n <= 6; ++n) {
        CHECK(sim.outcome(n).failed);
        CHECK(sim.outcome(n).took <= 16s);
    }
}

TEST_CASE("the last chunk is not streamed before every link holds") {
    // Bytes given to a client cannot be taken back; the proof is complete only with the last link.
    SwarmSim sim(small(4, 64));
    for (std::size_t n = 1; n <= 4; ++n) sim.add_reader(n);
    sim.run(20s);
    for (std::size_t n = 1; n <= 4; ++n) {
        REQUIRE(sim.outcome(n).completed);
        CHECK(sim.outcome(n).prefix == sim.blob_size());
        CHECK(sim.outcome(n).prefix_before_end <= sim.blob_size() - kChunkSizeMin);
    }
}

TEST_CASE("a reader gets its first byte long before the blob is whole") {
    // docker pull unpacks while it downloads; a swarm without a window would starve it.
    SwarmSim sim(small(16, 256));
    for (std::size_t n = 1; n <= 16; ++n) sim.add_reader(n);
    sim.run(20s);
    const auto r = report(sim, "16 readers");
    Duration worst{};
    for (std::size_t n = 1; n <= 16; ++n) worst = std::max(worst, sim.outcome(n).first_byte);
    MESSAGE("slowest first byte " << seconds_of(worst) / seconds_of(sim.bound()) << " of the bound");
    CHECK(r.unfinished == 0);
    CHECK(r.p99 <= 1.3);
    CHECK(worst <= sim.bound() / 5);
}

TEST_CASE("a crowd of a blob with one chunk needs no map and no chain") {
    // Manifests and configs are most of what is pulled; each round trip counts.
    SwarmSim sim(small(3, 1));
    sim.run(10s);
    for (std::size_t n = 1; n <= 3; ++n) CHECK(sim.outcome(n).completed);
    CHECK(sim.ratios().max <= 3.2);
}
