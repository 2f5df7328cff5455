// What the core of a node asks of the world around it: clocks, links and one timer. The running node
// (node/mesh.h) answers with sockets, the simulator (tests/sim) with events. Loop thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/endpoint.h"
#include "base/ids.h"
#include "base/instant.h"
#include "store/fs.h"
#include "store/partial.h"
#include "wire/frame.h"
#include "wire/hello.h"
#include "wire/transfer.h"

namespace fastreg::node {

/// One chunk to ask a peer for. Its bytes go into `landing` (Store::land); the end is said by
/// Core::on_fetch_end exactly once.
struct Fetch {
    NodeId from;
    Endpoint address;
    RequestId request = 0;
    Digest digest;
    std::uint64_t blob_size = 0;
    ChunkIndex chunk = 0;
    bool urgent = false;
    std::shared_ptr<store::ChunkLanding> landing;
};

/// One chunk to send. The end is said by Core::on_serve_end exactly once.
struct Serve {
    NodeId to;
    RequestId request = 0;
    std::shared_ptr<store::File> file;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    bool urgent = false;
};

class Net {
  public:
    virtual ~Net() = default;

    [[nodiscard]] virtual Instant now() const = 0;
    [[nodiscard]] virtual std::uint64_t wall_ms() const = 0;
    /// Call Core::on_deadline at `at`, or earlier; replaces the deadline set before.
    virtual void set_deadline(Instant at) = 0;

    virtual void send_control(NodeId to, const Endpoint& address, wire::Purpose purpose,
                              wire::Frame frame) = 0;
    virtual void keep_links(std::vector<NodeId> members) = 0;

    virtual void send_data(NodeId to, const Endpoint& address, wire::TransferMessage message) = 0;
    virtual void fetch(Fetch order) = 0;
    virtual void cancel_fetch(NodeId from, RequestId request) = 0;
    virtual void serve(Serve order) = 0;
    virtual void cancel_serve(NodeId to, RequestId request) = 0;
    virtual void drop_data(NodeId peer, const std::string& why) = 0;
};

}  // namespace fastreg::node
