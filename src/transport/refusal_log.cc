#include "transport/refusal_log.h"

#include "base/log.h"

namespace fastreg::transport {

namespace {

constexpr Duration kQuiet = 60s;
constexpr std::size_t kPeersMax = 1024;

}  // namespace

void RefusalLog::say(Instant now, std::string_view event, const std::string& remote,
                     const std::string& why) {
    const auto found = said_.find(remote);
    if (found != said_.end() && now - found->second < kQuiet) return;
    if (found == said_.end() && said_.size() >= kPeersMax) {
        std::erase_if(said_, [&](const auto& entry) { return now - entry.second >= kQuiet; });
        if (said_.size() >= kPeersMax) return;
    }
    said_[remote] = now;
    log::warn(event, {{"remote", remote}, {"why", why}});
}

}  // namespace fastreg::transport
