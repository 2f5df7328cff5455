// The other end of a link as bytes: greets properly if asked to, then says whatever a test wants.
#pragma once

#include <cerrno>

#include "support.h"
#include "wire/frame.h"
#include "wire/handshake.h"

namespace fastreg::transport::test {

class RawPeer {
  public:
    RawPeer(uv::Loop& loop, const Endpoint& to) : loop_(loop) {
        auto fd = uv::connect_start(to);
        REQUIRE(fd);
        fd_ = std::move(*fd);
    }
    /// An accepted connection.
    RawPeer(uv::Loop& loop, uv::Fd fd) : loop_(loop), fd_(std::move(fd)) {}

    /// True when the handshake went through; else `why` says what was heard.
    bool greet(const Identity& who, wire::Purpose purpose,
               wire::Role role = wire::Role::initiator) {
        wire::Handshake handshake(role, who.hello(purpose), who.key, "test");
        for (const auto& frame : handshake.start()) send(frame);
        while (!handshake.done()) {
            const auto frame = next_frame();
            if (!frame) {
                why = why.empty() ? "closed" : why;
                return false;
            }
            auto answers = handshake.on_frame(*frame);
            if (!answers) {
                why = answers.error().what;
                if (handshake.farewell()) send(*handshake.farewell());
                return false;
            }
            for (const auto& answer : *answers) send(answer);
        }
        theirs = handshake.peer();
        return true;
    }

    void send(const wire::Frame& frame) { send(ByteView(wire::encode_frame(frame))); }
    void send(const wire::TransferMessage& message) { send(ByteView(wire::encode(message))); }
    void send(ByteView bytes) {
        std::size_t at = 0;
        (void)until(loop_, [&] {
            const ssize_t n = ::send(fd_.get(), bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
            if (n > 0) at += static_cast<std::size_t>(n);
            const bool broken = n < 0 && errno != EAGAIN && errno != ENOTCONN;
            return at == bytes.size() || broken;
        });
    }

    /// The next frame, or nothing when the link was closed or is silent for 20 s.
    std::optional<wire::Frame> next_frame() {
        std::optional<wire::Frame> found;
        (void)until(loop_, [&] {
            pump();
            auto frame = frames_.next();
            REQUIRE(frame);
            if (*frame) found = std::move(**frame);
            return *frame || gone_;
        });
        return found;
    }
    /// Raw bytes behind a Data frame.
    Bytes read_raw(std::size_t size) {
        (void)until(loop_, [&] {
            if (frames_.rest().size() >= size) return true;
            pump();
            return gone_;
        });
        const auto rest = frames_.rest();
        Bytes bytes(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(std::min(size, rest.size())));
        frames_.consume(bytes.size());
        return bytes;
    }
    bool closed_by_peer(Duration limit = 20s) {
        return until(loop_, [&] {
            pump();
            return gone_;
        }, limit);
    }
    void close() { fd_.reset(); }
    [[nodiscard]] int fd() const { return fd_.get(); }

    std::string why;
    wire::Hello theirs;

  private:
    void pump() {
        char place[65536];
        ssize_t n = 1;
        while (n > 0) {
            n = ::recv(fd_.get(), place, sizeof place, 0);
            if (n > 0) frames_.feed(as_bytes({place, static_cast<std::size_t>(n)}));
        }
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != ENOTCONN)) gone_ = true;
    }

    uv::Loop& loop_;
    uv::Fd fd_;
    wire::FrameReader frames_;
    bool gone_ = false;
};

}  // namespace fastreg::transport::test
