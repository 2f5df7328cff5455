#include "transport/identity.h"

namespace fastreg::transport {

wire::Hello Identity::hello(wire::Purpose purpose) const {
    wire::Hello hello;
    hello.features = features;
    hello.cluster_hash = wire::hash_of_cluster(cluster);
    hello.node_id = node_id;
    hello.boot_epoch = epoch;
    secret_random(hello.nonce);
    hello.purpose = purpose;
    hello.name = name.substr(0, wire::kNodeNameMax);
    hello.gossip = gossip;
    hello.keyed = key.has_value();
    return hello;
}

}  // namespace fastreg::transport
