// Reaches a node by address or DNS name and greets it: all addresses of the name in turn, each with
// its own deadline. The thread of its loop only.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "transport/greeting.h"
#include "transport/identity.h"
#include "uv/resolve.h"

namespace fastreg::transport {

class Dial {
  public:
    struct Setup {
        Endpoint address;
        wire::Purpose purpose = wire::Purpose::gossip;
        Duration connect_timeout = 1s;
        Duration handshake_timeout = 2s;
    };
    /// `on_done` is called once, on a later turn of the loop; the Dial may be destroyed from it, or
    /// earlier, which gives up in silence.
    Dial(uv::Loop& loop, const Identity& identity, Setup setup, Greeting::OnDone on_done);

  private:
    void on_resolved(Result<std::vector<Endpoint>> found);
    void try_next();
    void on_greeted(tl::expected<Greeted, GreetError> outcome);
    void fail_with(GreetError error);

    uv::Loop& loop_;
    Identity identity_;
    Setup setup_;
    Greeting::OnDone on_done_;
    uv::Resolve resolve_;
    uv::Timer later_;
    std::vector<Endpoint> untried_;  // the next one last
    std::unique_ptr<Greeting> greeting_;
    GreetError errors_;
};

}  // namespace fastreg::transport
