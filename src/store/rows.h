// The rows that meta.db keeps for other rooms. Values; the store does not look inside.
#pragma once

#include <cstdint>
#include <string>

#include "base/bytes.h"
#include "base/digest.h"
#include "base/hlc.h"
#include "base/ids.h"

namespace fastreg::store {

/// One fact about a repository; of two with the same (repo, key) the larger (hlc, writer) is kept.
struct Row {
    std::string repo;
    std::string key;
    Bytes value;
    HlcTime hlc = 0;
    NodeId writer;
    bool tombstone = false;

    bool operator==(const Row&) const = default;
};

struct RowKey {
    std::string repo;
    std::string key;
};

/// A member as it was last known, as bytes of the caller's own making.
struct PeerRecord {
    NodeId node;
    Bytes value;

    bool operator==(const PeerRecord&) const = default;
};

/// A blob that this node must keep for the mesh.
struct HomeRecord {
    Digest digest;
    std::uint64_t size = 0;
    std::uint64_t since_ms = 0;

    bool operator==(const HomeRecord&) const = default;
};

}  // namespace fastreg::store
