// A swarm of honest nodes, held against the bound of its links.
#include <doctest/doctest.h>

#include <string>

#include "swarm_sim.h"

using namespace fastreg;
using namespace fastreg::transfer;

namespace {

std::string text(const SwarmSim::Ratios& r) {
    char line[128];
    std::snprintf(line, sizeof line, "p50 %.3f p99 %.3f max %.3f unfinished %zu duplicates %.2f %%", r.p50,
                  r.p99, r.max, r.unfinished, 100 * r.duplicates);
    return line;
}

SwarmSim::Ratios crowd(std::size_t nodes, ChunkIndex chunks, std::uint64_t seed = 1) {
    SimOptions options;
    options.nodes = nodes;
    options.chunks = chunks;
    options.seed = seed;
    SwarmSim sim(options);
    sim.run(20s);
    const auto ratios = sim.ratios();
    MESSAGE("N=" << nodes << " K=" << chunks << " seed " << seed << ": " << text(ratios) << " messages/chunk "
                 << static_cast<double>(sim.messages()) / static_cast<double>(nodes * chunks) << " busy/chunk "
                 << static_cast<double>(sim.busy()) / static_cast<double>(nodes * chunks));
    return ratios;
}

}  // namespace

TEST_CASE("downloaders that start together meet through the only holder") {
    // Their owners in the directory hear of each other's askers only with the next batch.
    for (const std::size_t nodes : {2, 3, 16}) {
        SimOptions options;
        options.nodes = nodes;
        options.chunks = 57;
        options.names_downloaders = false;
        SwarmSim sim(options);
        sim.run(20s);
        const auto r = sim.ratios();
        MESSAGE("N=" << nodes << ": " << text(r));
        CHECK(r.unfinished == 0);
        CHECK(r.p99 <= 1.4);
    }
}

TEST_CASE("a flash crowd finishes near the bound") {
    // The promise of the project in one number: N nodes at once take hardly longer than one.
    for (const auto& [nodes, chunks] : {std::pair<std::size_t, ChunkIndex>{1, 256}, {2, 256}, {3, 256},
                                        {4, 256}, {8, 256}, {16, 256}, {16, 512}, {32, 256}, {32, 512}}) {
        const auto r = crowd(nodes, chunks);
        CHECK(r.unfinished == 0);
        CHECK(r.p50 <= 1.15);
        CHECK(r.p99 <= 1.25);
        CHECK(r.duplicates <= 0.03);
    }
}
