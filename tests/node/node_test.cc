// What a node makes of its configuration.
#include "node/node.h"

#include <doctest/doctest.h>

namespace fastreg::node::test {
namespace {

TEST_CASE("every key of rdma reaches the transport") {
    config::Rdma rdma;
    rdma.listen_addr = "192.0.2.1";
    rdma.listen_port = 9998;
    rdma.advertise_addr = "192.0.2.2";
    rdma.landing_slots = 48;
    rdma.source_slots = 24;
    rdma.slots_per_peer = 3;
    rdma.depth = 5;
    rdma.segment = 65536;
    rdma.ack_timeout = 18;
    rdma.tos = 104;
    const auto options = Node::rdma_options(rdma);
    CHECK(options.listen == Endpoint{"192.0.2.1", 9998});
    CHECK(options.advertise == "192.0.2.2");
    CHECK(options.engine.landing_slots == 48);
    CHECK(options.engine.source_slots == 24);
    CHECK(options.engine.links.slots_per_peer == 3);
    CHECK(options.engine.links.depth == 5);
    CHECK(options.engine.links.segment == 65536);
    CHECK(options.ack_timeout == 18);
    CHECK(options.tos == 104);
}

}  // namespace
}  // namespace fastreg::node::test
