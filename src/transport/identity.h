// Who this node says it is on every link, and what a link must prove. A value.
#pragma once

#include <cstdint>
#include <string>

#include "base/ids.h"

namespace fastreg::transport {

struct Identity {
    NodeId node_id;
    BootEpoch epoch = 0;
    std::string name;     // a label, for logs
    std::string cluster;  // nodes of another cluster are refused
    std::string key;      // trimmed content of the cluster key file; empty: no proof (--insecure-mesh)
};

}  // namespace fastreg::transport
