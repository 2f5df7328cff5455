// Whole meshes: what operators rely on, told as stories on a virtual network.
#include <doctest/doctest.h>

#include "tests/gossip/mesh_harness.h"

using namespace fastreg;
using namespace fastreg::gossip;
using namespace fastreg::gossip::test;

TEST_CASE("ten nodes that name one seed know each other within seconds") {
    // The one command of the README: join by naming one other node.
    Mesh mesh(1, {.decode = true});
    mesh.check = true;
    for (std::size_t i = 0; i < 10; ++i) mesh.add(self_of(i), {0});
    const auto took = mesh.run_until(30s, [&] { return mesh.all_alive(); });
    REQUIRE(took);
    CHECK(*took < 5s);
    CHECK(mesh.broken.empty());
    CHECK(mesh.deaths.empty());
}
