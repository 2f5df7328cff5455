// One RDMA connection from its first event to its last: connecting, the room in its send queue, its
// completions, and the teardown that alone frees what a peer might still write into. What is said over it is
// the work of the two kinds: requester.h (this node asks) and responder.h (this node answers). The rdma
// thread only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>

#include "base/hash.h"
#include "base/ids.h"
#include "base/instant.h"
#include "transport/rdma/counters.h"
#include "transport/rdma/slots.h"
#include "transport/rdma/verbs.h"
#include "wire/rdma.h"

namespace fastreg::transport::rdma {

/// Limits and identity that all links of a node share.
struct LinkOptions {
    NodeId self;
    std::uint64_t cluster_hash = 0;
    std::optional<Mac> key;  // none: --insecure-mesh
    std::uint16_t depth = 16;
    std::size_t slots_per_peer = 8;
    std::uint64_t segment = 1U << 20U;
    Duration connect_timeout = 3s;   // the kernel's own is 65 s
    Duration request_timeout = 5s;   // or 20 times what is usual here, at most request_timeout_max
    Duration request_timeout_max = 30s;
    Duration cancel_grace = 2s;      // a cancelled request whose end does not come ends the connection
    Duration drain_max = 2s;         // of a queue pair in error
    Duration send_timeout = 30s;     // what was posted and does not complete ends the connection
    Duration idle = 60s;
};

/// What a link has of its node.
struct LinkContext {
    Verbs& verbs;
    LandingPool& landing;
    const LinkOptions& options;
    Counters& counters;
};

/// One peer that dies takes its slots into quarantine: there must be some left for others.
[[nodiscard]] inline std::size_t slots_of_one_peer(std::size_t landing_slots, const LinkOptions& options) {
    return std::min({std::size_t{options.depth}, options.slots_per_peer, std::max<std::size_t>(landing_slots / 4, 1)});
}

class Link {
  public:
    enum class State : std::uint8_t {
        connecting,  // until both ends have greeted
        up,
        closing,  // in error: what was posted comes back, then the queue pair is destroyed
        gone,
    };

    virtual ~Link();
    Link(const Link&) = delete;
    Link& operator=(const Link&) = delete;

    [[nodiscard]] ConnId conn() const { return conn_; }
    [[nodiscard]] NodeId peer() const { return peer_; }
    [[nodiscard]] State state() const { return state_; }
    [[nodiscard]] DeviceIndex device() const { return device_; }
    /// Why it closed.
    [[nodiscard]] const std::string& why() const { return why_; }
    /// Nothing went wrong: an idle link, or one that was told to close.
    [[nodiscard]] bool closed_orderly() const { return orderly_; }

    /// Something is asked or answered over it.
    [[nodiscard]] virtual bool in_use() const = 0;
    /// When something last was, or it came up.
    [[nodiscard]] Instant last_used() const { return last_used_; }

    /// The connection manager's events for this connection.
    virtual void on_cm(Instant now, const CmEvent& event) = 0;
    /// Polls the completion queue to its end, or up to a budget: true when there may be more.
    [[nodiscard]] bool on_completions(Instant now);
    virtual void on_deadline(Instant now);
    [[nodiscard]] virtual Instant next_deadline() const;
    /// Begins the end; twice is harmless. Everything open on it ends now.
    void close(Instant now, std::string why, bool orderly = false);
    /// At the end of the program: no more waiting for what comes back.
    void finish(Instant now);

  protected:
    Link(LinkContext context, ConnId conn, NodeId peer, DeviceIndex device, Instant now);

    virtual void on_message(Instant now, const wire::RdmaMessage& message) = 0;
    /// The work request (of a message, or the last of a chunk) is through, and its memory may be used again.
    virtual void on_work_done(Instant now, std::uint64_t work) = 0;
    /// What a failure counts as.
    [[nodiscard]] virtual Counters::Number& failed_as() const {
        return was_up_ ? context_.counters.links_broken : context_.counters.connects_failed;
    }
    /// The state is `closing`: end what is open.
    virtual void on_closing(Instant now) = 0;
    /// The queue pair is destroyed: give back what work was still using.
    virtual void on_queue_gone(Instant now) = 0;

    [[nodiscard]] QueueSizes queue_sizes() const;
    [[nodiscard]] bool has_send_room(std::size_t units) const { return send_room_ >= units; }
    /// Whether it was posted; a failure closes the link. The caller has seen that there is room.
    bool post(Instant now, const wire::RdmaMessage& message, std::uint64_t work);
    bool post_chunk(Instant now, const ChunkWrite& write, const wire::RdmaMessage& done, std::uint64_t work);
    void set_up(Instant now);
    void set_queue_made();

    const LinkContext context_;
    const ConnId conn_;
    NodeId peer_;
    DeviceIndex device_;
    State state_ = State::connecting;
    Instant since_;       // of the state
    Instant last_used_;
    bool was_up_ = false;

  private:
    struct Posted {
        std::uint64_t work = 0;
        std::size_t units = 0;
    };
    void on_completion(Instant now, const Completion& completion);
    void on_receive(Instant now, std::uint32_t index, std::uint32_t bytes);
    void on_send(Instant now, const Completion& completion);
    void destroy_queue(Instant now);

    bool has_queue_ = false;
    std::size_t receives_out_ = 0;
    std::size_t send_room_ = 0;
    std::deque<Posted> posted_;  // in order: a completion frees all before it
    Instant moved_;              // the first post of these, or the last that completed
    std::string why_;
    bool orderly_ = false;
};

}  // namespace fastreg::transport::rdma
