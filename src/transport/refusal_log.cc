#include "transport/refusal_log.h"

#include <algorithm>

#include "base/log.h"

namespace fastreg::transport {

namespace {

constexpr Duration kPauseMin = 60s;
constexpr Duration kPauseMax = 3600s;
constexpr std::size_t kRefusedMax = 1024;

}  // namespace

std::optional<std::uint64_t> RefusalLog::say(Instant now, const std::string& remote, const GreetError& error) {
    const std::pair key(remote, error.code ? static_cast<int>(*error.code) : 0);
    auto found = said_.find(key);
    if (found != said_.end() && now - found->second.at < found->second.pause) {
        ++found->second.unsaid;
        return std::nullopt;
    }
    if (found == said_.end()) {
        if (said_.size() >= kRefusedMax) {
            std::erase_if(said_, [&](const auto& entry) { return now - entry.second.at >= entry.second.pause; });
        }
        if (said_.size() >= kRefusedMax) return std::nullopt;
        found = said_.try_emplace(key).first;
    }
    Said& said = found->second;
    // One that was silent as long again has mended something: it starts anew.
    const bool anew = now - said.at >= 2 * said.pause;
    said.pause = anew ? kPauseMin : std::min(2 * said.pause, kPauseMax);
    said.at = now;
    const std::uint64_t unsaid = std::exchange(said.unsaid, 0);
    log::warn("link.refused", {{"remote", remote}, {"why", error.why}, {"repeats", unsaid}});
    return unsaid;
}

}  // namespace fastreg::transport
