#include "transport/greeting.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "uv/loop.h"

namespace fastreg::transport {

namespace {

/// Hello, Proof and Close are smaller: a peer that has sent more without a whole frame is not one.
constexpr std::size_t kUnreadMax = wire::kHelloBodyMax + wire::kFrameHeaderSize;
/// Bytes unacknowledged, or a receiver that reads nothing, for longer break the connection; the cores
/// judge sooner. On data connections a receiver without free blocks is honest for a while.
constexpr Duration kControlUserTimeout = 10s;
constexpr Duration kDataUserTimeout = 30s;

bool starts_with(ByteView data, std::string_view text) {
    const ByteView wanted = as_bytes(text);
    return data.size() >= wanted.size() && std::equal(wanted.begin(), wanted.end(), data.begin());
}

}  // namespace

bool GreetError::foreign() const {
    using Code = wire::CloseCode;
    return refused && (code == Code::cluster || code == Code::wrong_key || code == Code::key_needed ||
                       code == Code::key_foreign);
}

Greeting::Greeting(uv::Loop& loop, Setup setup, OnDone on_done)
    : setup_(std::move(setup)),
      on_done_(std::move(on_done)),
      handshake_(setup_.role, setup_.mine, setup_.key, setup_.remote.str()),
      deadline_(loop, [this] { on_timeout(); }),
      connected_(setup_.role == wire::Role::responder) {
    auto poll = uv::Poll::open(loop, setup_.fd.get(), *this);
    if (!poll) {
        broken_ = describe(poll.error());
        deadline_.set(0s);
        return;
    }
    poll_ = std::move(*poll);
    if (connected_) {
        begin();
    } else {
        deadline_.set(setup_.connect_timeout);
        poll_.watch(false, true);
    }
}

void Greeting::begin() {
    uv::tune_stream(setup_.fd.get());
    const bool data = setup_.mine.purpose == wire::Purpose::data;
    uv::set_user_timeout(setup_.fd.get(), data ? kDataUserTimeout : kControlUserTimeout);
    deadline_.set(setup_.handshake_timeout);
    poll_.watch(true, false);
    for (const wire::Frame& frame : handshake_.start()) {
        if (!say(frame)) {
            broken_ = "cannot send to " + setup_.remote.str();
            deadline_.set(0s);
            return;
        }
    }
}

void Greeting::on_writable() {
    if (connected_) return;
    if (const Status status = uv::connect_result(setup_.fd.get(), setup_.remote); !status) {
        return end({false, describe(status.error())});
    }
    connected_ = true;
    begin();
}

void Greeting::on_poll_error(int os_errno) {
    // A peer that says why it refuses and closes at once resets the link: its words are still here.
    if (connected_ && take_input(os_errno)) return;
    broke(os_errno);
}

void Greeting::broke(int os_errno) {
    end({false, std::string(connected_ ? "the link to " : "cannot connect to ") + setup_.remote.str() +
                    (connected_ ? " broke in the handshake: " : ": ") + std::strerror(os_errno) +
                    (connected_ ? "" : "; is a node running there, with that port for gossip?")});
}

void Greeting::on_timeout() {
    if (!broken_.empty()) return end({false, broken_});
    if (!connected_) {
        return end({false, "no answer from " + setup_.remote.str() + " within " +
                               std::to_string(millis_of(setup_.connect_timeout)) +
                               " ms; is the address right, and the port open in the firewall?"});
    }
    (void)say(wire::encode_close({wire::CloseCode::timeout, "no handshake in time", wire::kVersions}));
    end({false, setup_.remote.str() + " did not finish the handshake within " +
                    std::to_string(millis_of(setup_.handshake_timeout)) + " ms"});
}

void Greeting::on_readable() { (void)take_input(0); }

bool Greeting::take_input(int os_errno) {
    std::array<std::byte, 4096> place;  // NOLINT: filled by recv
    const ssize_t got = ::recv(setup_.fd.get(), place.data(), place.size(), 0);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return false;
    if (got < 0 || (got == 0 && os_errno != 0)) {
        broke(got < 0 ? errno : os_errno);
        return true;
    }
    if (got == 0) {
        end({false, setup_.remote.str() + " closed the link in the handshake without a word; is it a "
                                          "FastReg port?"});
        return true;
    }
    frames_.feed(ByteView(place).first(static_cast<std::size_t>(got)));
    while (!handshake_.done()) {
        auto frame = frames_.next();
        if (!frame) {
            const bool http = starts_with(frames_.rest(), "HTTP/");
            end({true, setup_.remote.str() + (http ? " is an HTTP port, not a port of the mesh"
                                                   : ": " + frame.error().what)});
            return true;
        }
        if (!*frame) {
            if (frames_.rest().size() <= kUnreadMax) return false;
            end({true, setup_.remote.str() + " sent an oversized frame in the handshake"});
            return true;
        }
        if (!answer(**frame)) return true;
    }
    finish();
    return true;
}

bool Greeting::answer(const wire::Frame& frame) {
    auto answers = handshake_.on_frame(frame);
    if (!answers) {
        if (handshake_.farewell()) (void)say(*handshake_.farewell());
        const bool later = handshake_.failure() == wire::CloseCode::busy ||
                           handshake_.failure() == wire::CloseCode::going_away ||
                           handshake_.failure() == wire::CloseCode::timeout;
        end({!later, answers.error().what, handshake_.failure()});
        return false;
    }
    if (!serves()) return false;
    for (const wire::Frame& one : *answers) {
        if (say(one)) continue;
        broke(errno);
        return false;
    }
    return true;
}

bool Greeting::serves() {
    const wire::Purpose purpose = handshake_.heard().purpose;
    if (setup_.role == wire::Role::initiator ||
        std::find(setup_.purposes.begin(), setup_.purposes.end(), purpose) != setup_.purposes.end()) {
        return true;
    }
    const std::string wanted(wire::name_of(purpose));
    const std::string mine(wire::name_of(setup_.purposes.front()));
    (void)say(wire::encode_close({wire::CloseCode::protocol,
                                  "this is the port for " + mine + ": dial the port for " + wanted,
                                  wire::kVersions}));
    end({true, "peer " + setup_.remote.str() + " dialled this port for " + wanted + ", which another port serves",
         wire::CloseCode::protocol});
    return false;
}

void Greeting::finish() {
    deadline_.cancel();
    poll_.close();
    const ByteView rest = frames_.rest();
    Greeted greeted{std::move(setup_.fd), handshake_.peer(), Bytes(rest.begin(), rest.end()),
                    setup_.remote};
    const OnDone done = std::exchange(on_done_, nullptr);
    done(std::move(greeted));
}

void Greeting::end(GreetError error) {
    deadline_.cancel();
    poll_.close();
    setup_.fd.reset();
    const OnDone done = std::exchange(on_done_, nullptr);
    done(tl::unexpected(std::move(error)));
}

void Greeting::give_up(wire::CloseCode code, const std::string& why) {
    (void)say(wire::encode_close({code, why, wire::kVersions}));
    deadline_.cancel();
    poll_.close();
    setup_.fd.reset();
}

bool Greeting::say(const wire::Frame& frame) {
    // A fresh socket has room for the few hundred bytes of a handshake.
    const Bytes bytes = wire::encode_frame(frame);
    const ssize_t sent =
        ::send(setup_.fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent == static_cast<ssize_t>(bytes.size());
}

}  // namespace fastreg::transport
