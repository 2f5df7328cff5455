// One socket from accept or connect to the end of its handshake, under a deadline; what comes out is a
// descriptor whose other end is known, or a sentence. Used by control links and data connections alike.
// The thread of its loop only.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "base/endpoint.h"
#include "base/instant.h"
#include "transport/identity.h"
#include "uv/poll.h"
#include "uv/socket.h"
#include "uv/timer.h"
#include "wire/handshake.h"

namespace fastreg::uv {
class Loop;
}

namespace fastreg::transport {

struct Greeted {
    uv::Fd fd;
    wire::Hello theirs;
    Bytes rest;  // what came behind the handshake
    Endpoint remote;
};

struct GreetError {
    bool refused = false;  // the other side answered, and the two do not go together
    std::string why;       // a sentence that says what to do
    std::optional<wire::CloseCode> code{};  // of a refusal that a handshake had a word for

    /// Refused for another cluster or another key.
    [[nodiscard]] bool foreign() const;
};

class Greeting final : public uv::PollHandler {
  public:
    /// Called once, on a later turn of the loop; the Greeting may be destroyed from it.
    using OnDone = std::function<void(tl::expected<Greeted, GreetError>)>;

    struct Setup {
        uv::Fd fd;  // non-blocking; of an initiator still connecting
        Endpoint remote;
        wire::Role role = wire::Role::responder;
        wire::Hello mine;
        std::optional<Mac> key;
        std::vector<wire::Purpose> purposes;  // a responder takes these only
        Duration connect_timeout = 1s;
        Duration handshake_timeout = 2s;
    };
    Greeting(uv::Loop& loop, Setup setup, OnDone on_done);

    void on_readable() override;
    void on_writable() override;
    void on_poll_error(int os_errno) override;

    /// Says why and ends without on_done; for a responder that makes room.
    void give_up(wire::CloseCode code, const std::string& why);

  private:
    void begin();
    void on_timeout();
    [[nodiscard]] bool say(const wire::Frame& frame);
    /// What has arrived; true when this ended the greeting, and perhaps this object with it.
    [[nodiscard]] bool take_input(int os_errno);
    [[nodiscard]] bool answer(const wire::Frame& frame);
    /// The port is for what the peer wants of it; ends the greeting otherwise, before anything is proven.
    [[nodiscard]] bool serves();
    void finish();
    void broke(int os_errno);
    void end(GreetError error);

    Setup setup_;
    OnDone on_done_;
    wire::Handshake handshake_;
    wire::FrameReader frames_;
    uv::Timer deadline_;
    uv::Poll poll_;
    bool connected_;
    std::string broken_;  // why it failed before it began
};

}  // namespace fastreg::transport
