// Says why a link was refused, ever more rarely: a node with a wrong key dials for ever, and the log shall
// still be readable. One thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "base/instant.h"
#include "transport/greeting.h"

namespace fastreg::transport {

class RefusalLog {
  public:
    /// One warning line `link.refused` with `remote`, why and how many were not said since the last one; at
    /// most one a minute for a peer and reason, and half as often after each, down to one an hour. Returns
    /// that count when it was said, for tests.
    std::optional<std::uint64_t> say(Instant now, const std::string& remote, const GreetError& error);

  private:
    struct Said {
        Instant at;
        Duration pause{};
        std::uint64_t unsaid = 0;
    };
    std::map<std::pair<std::string, int>, Said> said_;
};

}  // namespace fastreg::transport
