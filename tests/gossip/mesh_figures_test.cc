// Figures of whole meshes: how soon a crash is seen, and what the protocol costs.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>

#include "tests/gossip/mesh_harness.h"

using namespace fastreg;
using namespace fastreg::gossip;
using namespace fastreg::gossip::test;

namespace {

struct Figures {
    double join_s = 0, detect_first_s = 0, detect_all_s = 0, bytes_s = 0, messages_s = 0;
};

Figures measure(std::size_t count, std::uint64_t seed) {
    Figures f;
    Mesh mesh(seed);
    mesh.grow(count, 0s);
    const auto joined = mesh.run_until(60s, [&] { return mesh.all_alive(); });
    REQUIRE(joined);
    f.join_s = seconds_of(*joined);
    mesh.run(40s);  // past the fast exchange of a start
    CHECK(mesh.deaths.empty());
    mesh.measure = true;
    std::uint64_t bytes = 0, messages = 0;
    for (auto& node : mesh.nodes) {
        bytes -= node.bytes_out;
        messages -= node.messages_out;
    }
    mesh.run(60s);
    for (auto& node : mesh.nodes) {
        bytes += node.bytes_out;
        messages += node.messages_out;
    }
    f.bytes_s = static_cast<double>(bytes) / 60 / static_cast<double>(count);
    f.messages_s = static_cast<double>(messages) / 60 / static_cast<double>(count);
    const Instant crash = mesh.now;
    mesh.unplug(count / 2);
    const auto seen = mesh.run_until(120s, [&] { return mesh.all_see(count / 2, MemberState::dead); });
    REQUIRE(seen);
    f.detect_all_s = seconds_of(*seen);
    f.detect_first_s = seconds_of(mesh.deaths.front().at - crash);
    return f;
}

}  // namespace

TEST_CASE("a crash is seen by all of 100 and of 1,000 nodes in time, at a known price") {
    // The figures the documentation promises; a change of a constant must not move them unseen.
    for (const std::size_t count : {std::size_t{100}, std::size_t{1000}}) {
        const Figures f = measure(count, 7);
        std::printf("N=%zu: joined %.1f s, first sees death %.1f s, all %.1f s, %.0f B/s and %.1f messages/s a node\n",
                    count, f.join_s, f.detect_first_s, f.detect_all_s, f.bytes_s, f.messages_s);
        CHECK(f.join_s < 20);
        CHECK(f.detect_all_s < (count == 100 ? 20 : 28));
        CHECK(f.bytes_s < 1'000);
    }
}
