// The listening end: accepts, greets everybody under a deadline and hands out those who belong here.
// Half-open handshakes are capped; a newcomer pushes out the oldest. The thread of its loop only.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "transport/greeting.h"
#include "transport/identity.h"
#include "transport/refusal_log.h"
#include "uv/listener.h"

namespace fastreg::transport {

class Reception {
  public:
    struct Options {
        Identity identity;
        Endpoint listen;
        std::string flag;
        std::vector<wire::Purpose> purposes;
        std::size_t handshakes_max = 256;
        Duration handshake_timeout = 2s;
    };
    /// `has_room` is asked at every accept: without room the newcomer is told "busy".
    Reception(uv::Loop& loop, Options options, std::function<bool()> has_room,
              std::function<void(Greeted)> on_greeted);

    [[nodiscard]] Result<Endpoint> listen();
    void set_advertised(Endpoint gossip) { options_.identity.gossip = std::move(gossip); }
    [[nodiscard]] std::size_t half_open() const { return half_open_.size(); }

  private:
    using Visitors = std::list<std::unique_ptr<Greeting>>;
    void on_accepted(uv::Fd fd, Endpoint peer);

    uv::Loop& loop_;
    Options options_;
    std::function<bool()> has_room_;
    std::function<void(Greeted)> on_greeted_;
    RefusalLog refusals_;
    Visitors half_open_;  // the oldest first
    uv::Listener listener_;
};

}  // namespace fastreg::transport
