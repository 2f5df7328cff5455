#include "transport/dial.h"

#include <algorithm>

#include "uv/loop.h"

namespace fastreg::transport {

namespace {

constexpr Duration kResolveTimeout = 5s;
/// A name of a whole cluster may have hundreds; somebody else tries the others.
constexpr std::size_t kAddressesTriedMax = 8;

}  // namespace

Dial::Dial(uv::Loop& loop, const Identity& identity, Setup setup, Greeting::OnDone on_done)
    : loop_(loop),
      identity_(identity),
      setup_(std::move(setup)),
      on_done_(std::move(on_done)),
      later_(loop, [this] {
          if (!untried_.empty()) return try_next();
          resolve_ = {};
          fail_with({false, "the host name '" + setup_.address.host + "' was not resolved within " +
                                std::to_string(millis_of(kResolveTimeout)) +
                                " ms; check this machine's DNS"});
      }) {
    if (uv::is_numeric(setup_.address)) {
        untried_.push_back(setup_.address);
        later_.set(0s);
        return;
    }
    later_.set(kResolveTimeout);
    resolve_ = uv::Resolve(loop_, setup_.address, [this](auto found) { on_resolved(std::move(found)); });
}

void Dial::on_resolved(Result<std::vector<Endpoint>> found) {
    later_.cancel();
    if (!found) return fail_with({false, describe(found.error())});
    untried_ = std::move(*found);
    if (untried_.size() > kAddressesTriedMax) untried_.resize(kAddressesTriedMax);
    std::reverse(untried_.begin(), untried_.end());
    try_next();
}

void Dial::try_next() {
    while (!untried_.empty()) {
        const Endpoint address = std::move(untried_.back());
        untried_.pop_back();
        auto fd = uv::connect_start(address);
        if (!fd) {
            errors_.why += (errors_.why.empty() ? "" : "; ") + describe(fd.error());
            continue;
        }
        greeting_ = std::make_unique<Greeting>(
            loop_,
            Greeting::Setup{.fd = std::move(*fd),
                            .remote = address,
                            .role = wire::Role::initiator,
                            .mine = identity_.hello(setup_.purpose),
                            .key = identity_.key,
                            .purposes = {},
                            .connect_timeout = setup_.connect_timeout,
                            .handshake_timeout = setup_.handshake_timeout},
            [this](auto outcome) { on_greeted(std::move(outcome)); });
        return;
    }
    fail_with(std::move(errors_));
}

void Dial::on_greeted(tl::expected<Greeted, GreetError> outcome) {
    if (outcome) {
        const auto done = std::move(on_done_);
        return done(std::move(outcome));
    }
    // One address of a name may be this node itself, another one gone: the next may be good.
    const bool first = errors_.why.empty();
    if (first || outcome.error().foreign()) {
        errors_.code = outcome.error().code;
    } else if (errors_.code != outcome.error().code && !errors_.foreign()) {
        errors_.code.reset();  // not all of them are this node
    }
    errors_.refused = errors_.refused || outcome.error().refused;
    errors_.why += (errors_.why.empty() ? "" : "; ") + outcome.error().why;
    try_next();
}

void Dial::fail_with(GreetError error) {
    const auto done = std::move(on_done_);
    done(tl::unexpected(std::move(error)));
}

}  // namespace fastreg::transport
