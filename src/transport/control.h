// Control links: gossip, directory and repository frames between nodes, over TCP, on the loop thread.
// Few links stay open: those to keep() and the most recently used others. Everything here is called on
// the loop thread and answers there, always from a later turn, never from inside a call.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/endpoint.h"
#include "base/ids.h"
#include "base/instant.h"
#include "base/result.h"
#include "transport/identity.h"
#include "wire/frame.h"
#include "wire/hello.h"

namespace fastreg::uv {
class Loop;
}

namespace fastreg::transport {

enum class SendFailure : std::uint8_t {
    unreachable,  // no name, no route, connection refused, silence: try again later
    refused,      // the other side answered and we do not go together: port, version, node id
    foreign,      // refused, for another cluster or another key
    itself,       // refused: this node, or a copy of its data directory
    overflow,     // the link's queue was full: the link was dropped
    link_lost,    // the link broke before the frame was handed to the kernel
};
[[nodiscard]] std::string_view name_of(SendFailure failure);

class ControlHandler {
  public:
    virtual ~ControlHandler() = default;
    virtual void on_frame(NodeId from, wire::Purpose purpose, wire::Frame frame) = 0;
    /// A link went through its handshake. Two nodes may have several for one purpose.
    virtual void on_link_up(NodeId peer, wire::Purpose purpose, const wire::Hello& theirs,
                            const Endpoint& remote) = 0;
    /// The last link to `peer` for this purpose is gone.
    virtual void on_link_down(NodeId peer, wire::Purpose purpose) = 0;
    /// A dial of this node ended well; said before its on_link_up.
    virtual void on_dialled(const Endpoint& address) { (void)address; }
    /// The handshake at `address` proved `found`, where send() meant `expected`. Said once a dial; the frames
    /// that waited for it are given back after it, as refused.
    virtual void on_wrong_peer(NodeId expected, const Endpoint& address, NodeId found) = 0;
    /// `frame` was not sent. `to` is what send() was given (unknown for a seed); `why` is a sentence.
    virtual void on_send_failed(NodeId to, const Endpoint& address, wire::Purpose purpose,
                                SendFailure failure, const std::string& why, wire::Frame frame) = 0;
};

class ControlMesh {
  public:
    struct Options {
        Identity identity;
        Endpoint listen;                    // numeric; port 0 means any
        std::string listen_flag = "--gossip-listen";
        std::size_t links_max = 4096;       // inbound; more are closed at once
        std::size_t handshakes_max = 256;   // inbound and not yet through; the oldest makes room
        std::size_t outbound_idle_max = 64; // beyond keep(); the least recently used is closed
        std::size_t queue_frames_max = 256;      // a link
        std::size_t queue_bytes_max = 1U << 20U;  // a link
        Duration connect_timeout = 1s;      // one address
        Duration handshake_timeout = 2s;
        Duration outbound_idle = 60s;
        Duration inbound_idle = 300s;
    };

    ControlMesh(uv::Loop& loop, Options options, ControlHandler& handler);
    /// Closes everything; no call comes after.
    ~ControlMesh();
    ControlMesh(const ControlMesh&) = delete;
    ControlMesh& operator=(const ControlMesh&) = delete;

    /// The port that is listened on.
    [[nodiscard]] Result<std::uint16_t> listen();

    /// What the Hellos of later links say, once the port is known.
    void set_advertised(Endpoint gossip);

    /// Uses an open link to `to` for this purpose, in either direction, else dials `address` (numeric or
    /// a DNS name, all its addresses in turn). With an unknown `to` (a seed) whoever answers there is
    /// meant. In order with earlier frames to the same node and purpose.
    void send(NodeId to, const Endpoint& address, wire::Purpose purpose, wire::Frame frame);

    /// These nodes' links are not closed for being idle. Replaces the earlier list; dials nobody.
    void keep(std::vector<NodeId> nodes);

    /// Closes all links to `peer`.
    void drop(NodeId peer, const std::string& why);

    [[nodiscard]] bool connected(NodeId peer, wire::Purpose purpose) const;
    /// Who answered when `address` was dialled, as long as a link to it is open.
    [[nodiscard]] std::optional<NodeId> answered_at(const Endpoint& address, wire::Purpose purpose) const;
    [[nodiscard]] std::size_t link_count() const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace fastreg::transport
