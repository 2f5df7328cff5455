#include "transport/control_link.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "uv/loop.h"

namespace fastreg::transport {

namespace {

/// One turn of the loop reads at most this many frames' worth from one link.
constexpr std::size_t kReadBudget = 256U << 10U;
constexpr std::size_t kWriteBatch = 64U << 10U;

}  // namespace

ControlLink::ControlLink(uv::Loop& loop, Greeted greeted, Endpoint dialled, Limits limits,
                         ControlLinkOwner& owner)
    : loop_(loop),
      owner_(owner),
      fd_(std::move(greeted.fd)),
      theirs_(std::move(greeted.theirs)),
      remote_(std::move(greeted.remote)),
      dialled_(std::move(dialled)),
      limits_(limits),
      last_used_(loop.now()) {
    frames_.feed(greeted.rest);
}

void ControlLink::start() {
    auto poll = uv::Poll::open(loop_, fd_.get(), *this);
    if (!poll) return end(false, describe(poll.error()));
    poll_ = std::move(*poll);
    poll_.watch(true, want_write_);
    read_frames();
}

void ControlLink::on_readable() {
    last_used_ = loop_.now();
    static thread_local std::array<std::byte, 64U << 10U> place;
    for (std::size_t budget = kReadBudget; budget > 0 && !closed_;) {
        const ssize_t got = ::recv(fd_.get(), place.data(), place.size(), 0);
        if (got == 0) return end(false, "the peer closed the link");
        if (got < 0) {
            if (errno == EINTR) continue;
            if (errno != EAGAIN && errno != EWOULDBLOCK) on_poll_error(errno);
            return;
        }
        const auto size = static_cast<std::size_t>(got);
        budget -= std::min(budget, size);
        frames_.feed(ByteView(place).first(size));
        read_frames();
        if (size < place.size()) return;  // drained; more wakes us again
    }
}

void ControlLink::read_frames() {
    while (!closed_) {
        auto frame = frames_.next();
        if (!frame) {
            return close(wire::CloseCode::protocol, "it broke the protocol: " + frame.error().what);
        }
        if (!*frame) return;
        on_frame(std::move(**frame));
    }
}

void ControlLink::on_frame(wire::Frame frame) {
    using wire::FrameType;
    const auto type = static_cast<FrameType>(frame.type);
    if (type == FrameType::close) {
        const auto said = wire::decode_close(frame.body);
        return end(false, "the peer closed the link" + (said ? ": " + said->text : std::string()));
    }
    if (type == FrameType::ping) {
        return push({static_cast<std::uint8_t>(FrameType::pong), 0, frame.request, {}});
    }
    if (type == FrameType::pong) return;
    if (type >= FrameType::gossip_first && type <= FrameType::node_last) {
        return owner_.on_link_frame(*this, std::move(frame));
    }
    if ((frame.flags & wire::kMustUnderstand) != 0 || type <= FrameType::pong) {
        close(wire::CloseCode::protocol,
              "it sent a frame of type " + std::to_string(frame.type) + " that has no place here");
    }
}

void ControlLink::push(wire::Frame frame) {
    if (closed_) return;
    last_used_ = loop_.now();
    const bool full = queue_.size() >= limits_.frames_max ||
                      queue_bytes_ + frame.body.size() > limits_.bytes_max;
    queue_bytes_ += frame.body.size();
    queue_.push_back(std::move(frame));
    if (full) {
        return end(true, "the peer does not read: " + std::to_string(queue_.size()) +
                             " frames wait for it");
    }
    if (!want_write_) write_some();
}

void ControlLink::on_writable() { write_some(); }

void ControlLink::write_some() {
    while (!closed_) {
        if (out_at_ == out_.size()) {
            out_.clear();
            out_at_ = 0;
            while (!queue_.empty() && out_.size() < kWriteBatch) {
                const Bytes next = wire::encode_frame(queue_.front());
                out_.insert(out_.end(), next.begin(), next.end());
                queue_bytes_ -= queue_.front().body.size();
                queue_.pop_front();
            }
        }
        want_write_ = false;
        if (out_.empty()) break;
        const ssize_t sent =
            ::send(fd_.get(), out_.data() + out_at_, out_.size() - out_at_, MSG_NOSIGNAL);
        if (sent >= 0) {
            out_at_ += static_cast<std::size_t>(sent);
            continue;
        }
        if (errno == EINTR) continue;
        if (errno != EAGAIN && errno != EWOULDBLOCK) return on_poll_error(errno);
        want_write_ = true;
        break;
    }
    poll_.watch(true, want_write_);
}

void ControlLink::on_poll_error(int os_errno) {
    end(false, std::string("the link broke: ") + std::strerror(os_errno));
}

void ControlLink::close(wire::CloseCode code, const std::string& why) {
    if (closed_) return;
    if (out_at_ == out_.size()) {  // else it would land in the middle of a frame
        const Bytes bytes = wire::encode_frame(wire::encode_close({code, why, wire::kVersions}));
        (void)::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    end(false, why);
}

void ControlLink::end(bool overflow, const std::string& why) {
    if (std::exchange(closed_, true)) return;
    poll_.close();
    fd_.reset();
    owner_.on_link_closed(*this, overflow, why, std::move(queue_));
}

}  // namespace fastreg::transport
