// One control link after its handshake: whole frames in, a bounded queue of frames out. The loop thread.
#pragma once

#include <deque>
#include <string>

#include "base/instant.h"
#include "transport/greeting.h"
#include "uv/poll.h"
#include "uv/socket.h"
#include "wire/frame.h"

namespace fastreg::transport {

class ControlLink;

class ControlLinkOwner {
  public:
    virtual ~ControlLinkOwner() = default;
    virtual void on_link_frame(ControlLink& link, wire::Frame frame) = 0;
    /// The last call of a link, with the frames it did not send; the owner destroys it later, not from
    /// here. May come from inside push().
    virtual void on_link_closed(ControlLink& link, bool overflow, const std::string& why,
                                std::deque<wire::Frame> unsent) = 0;
};

class ControlLink final : public uv::PollHandler {
  public:
    struct Limits {
        std::size_t frames_max = 256;
        std::size_t bytes_max = 1U << 20U;
    };
    /// `dialled` is what was dialled by this node, empty for an inbound link.
    ControlLink(uv::Loop& loop, Greeted greeted, Endpoint dialled, Limits limits,
                ControlLinkOwner& owner);

    /// Once, after the owner has stored the link: looks at what came with the handshake, then reads.
    void start();
    void push(wire::Frame frame);
    /// Tells the peer `code` and closes; on_link_closed follows at once.
    void close(wire::CloseCode code, const std::string& why);

    [[nodiscard]] NodeId peer() const { return theirs_.node_id; }
    [[nodiscard]] wire::Purpose purpose() const { return theirs_.purpose; }
    [[nodiscard]] const Endpoint& dialled() const { return dialled_; }
    [[nodiscard]] const Endpoint& remote() const { return remote_; }
    [[nodiscard]] const wire::Hello& theirs() const { return theirs_; }
    [[nodiscard]] bool closed() const { return closed_; }
    [[nodiscard]] bool idle() const { return queue_.empty() && out_at_ == out_.size(); }
    [[nodiscard]] Instant last_used() const { return last_used_; }

    void on_readable() override;
    void on_writable() override;
    void on_poll_error(int os_errno) override;

  private:
    void read_frames();
    void on_frame(wire::Frame frame);
    void write_some();
    void end(bool overflow, const std::string& why);

    uv::Loop& loop_;
    ControlLinkOwner& owner_;
    uv::Fd fd_;
    uv::Poll poll_;
    const wire::Hello theirs_;
    const Endpoint remote_;
    const Endpoint dialled_;
    const Limits limits_;
    wire::FrameReader frames_;
    std::deque<wire::Frame> queue_;
    std::size_t queue_bytes_ = 0;
    Bytes out_;
    std::size_t out_at_ = 0;
    bool want_write_ = false;
    bool closed_ = false;
    Instant last_used_;
};

}  // namespace fastreg::transport
