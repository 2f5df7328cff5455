#include "transport/reception.h"

#include "base/log.h"
#include "uv/loop.h"

namespace fastreg::transport {

Reception::Reception(uv::Loop& loop, Options options, std::function<bool()> has_room,
                     std::function<void(Greeted)> on_greeted)
    : loop_(loop),
      options_(std::move(options)),
      has_room_(std::move(has_room)),
      on_greeted_(std::move(on_greeted)) {}

Result<Endpoint> Reception::listen() {
    FR_TRY_ASSIGN(listener_, uv::Listener::tcp(loop_, options_.listen, {.flag = options_.flag},
                                               [this](uv::Fd fd, Endpoint peer) {
                                                   on_accepted(std::move(fd), std::move(peer));
                                               }));
    return listener_.address();
}

void Reception::on_accepted(uv::Fd fd, Endpoint peer) {
    const bool crowded = half_open_.size() >= options_.handshakes_max;
    if (crowded) {
        half_open_.front()->give_up(wire::CloseCode::busy, "too many handshakes at once");
        half_open_.pop_front();
    }
    const std::string remote = peer.host;
    const auto at = half_open_.emplace(half_open_.end());
    *at = std::make_unique<Greeting>(
        loop_,
        Greeting::Setup{.fd = std::move(fd),
                        .remote = std::move(peer),
                        .role = wire::Role::responder,
                        .mine = options_.identity.hello(options_.purposes.front()),
                        .key = options_.identity.key,
                        .purposes = options_.purposes,
                        .handshake_timeout = options_.handshake_timeout},
        [this, at, remote](tl::expected<Greeted, GreetError> outcome) {
            const auto greeting = std::move(*at);  // ends with this call
            half_open_.erase(at);
            if (outcome) return on_greeted_(std::move(*outcome));
            if (outcome.error().refused) {
                refusals_.say(loop_.now(), remote, outcome.error());
            } else {
                log::debug("link.not_greeted", {{"remote", remote}, {"why", outcome.error().why}});
            }
        });
    if (!has_room_()) {
        (*at)->give_up(wire::CloseCode::busy, "too many links");
        half_open_.erase(at);
    }
}

}  // namespace fastreg::transport
