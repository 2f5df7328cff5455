// Hostile frames of the repo family: decoding never crashes, what decodes survives a second trip, and
// a core in the middle of its work takes any message from any member.
#include <cstdlib>

#include "repo/repo.h"
#include "frames.h"

using namespace fastreg;
using fuzz::node;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto messages = fuzz::decode_all<wire::RepoMessage>(data, size, wire::decode_repo);
    if (messages.empty()) return 0;  // most inputs; a core is slow to make
    constexpr std::uint64_t kWall = 1'700'000'000'000;
    repo::Repo core(node(0), 1, {}, Rng(1));
    repo::Outbox out;
    Instant now{};
    fuzz::meet_members(core, now, out);
    core.put(now, kWall, 1, "app", {{"t/v", Bytes(3)}}, out);
    core.get(now, 2, "app", repo::Query::one("t/v"), out);
    core.get(now, 3, "app", repo::Query::prefix("t/", "", 2), out);
    core.get(now, 4, "app", repo::Query::tag("t/v"), out);
    for (const auto& [from, message] : messages) {
        out.clear();
        core.on_message(now, kWall, from, message, out);
        now = now + 70ms;
        core.on_deadline(now, kWall, out);
        const auto actions = out;
        for (const auto& action : actions) {
            if (const auto* persist = std::get_if<repo::Persist>(&action)) {
                core.on_persisted(now, persist->token, {}, out);
            }
            const auto* send = std::get_if<repo::Send>(&action);
            if (send == nullptr) continue;
            if (send->to == node(0)) std::abort();
            if (wire::encode(send->message).body.size() > wire::kFrameBodyMax) std::abort();
        }
    }
    return 0;
}
