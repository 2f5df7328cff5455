// Who this node says it is on every link, and what a link must prove. A value.
#pragma once

#include <optional>
#include <string>

#include "base/endpoint.h"
#include "base/hash.h"
#include "base/ids.h"
#include "wire/hello.h"

namespace fastreg::transport {

struct Identity {
    NodeId node_id;
    BootEpoch epoch = 0;
    std::string name;     // a label, for logs
    std::string cluster;  // nodes of another cluster are refused
    Endpoint gossip;      // as advertised to the mesh
    std::uint64_t features = 0;
    std::optional<Mac> key;  // wire::link_key of the cluster key file; none: --insecure-mesh

    /// With a fresh nonce.
    [[nodiscard]] wire::Hello hello(wire::Purpose purpose) const;
};

}  // namespace fastreg::transport
