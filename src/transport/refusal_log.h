// Says once a minute and peer why a link was refused: a node with a wrong key dials for ever, and the
// log shall still be readable. One thread.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/instant.h"

namespace fastreg::transport {

class RefusalLog {
  public:
    /// One warning line `event` with `remote` and `why`, unless `remote` had one in the last minute.
    void say(Instant now, std::string_view event, const std::string& remote, const std::string& why);

  private:
    std::map<std::string, Instant> said_;
};

}  // namespace fastreg::transport
