// Hostile frames of the repo family: decoding never crashes, what decodes survives a second trip, and
// a core in the middle of its work takes any message from any member.
#include <cstdlib>
#include <utility>
#include <vector>

#include "repo/repo.h"

using namespace fastreg;

namespace {

NodeId node(unsigned n) {
    NodeId id;
    id.bytes[0] = static_cast<std::byte>(n + 1);
    return id;
}

using Messages = std::vector<std::pair<NodeId, wire::RepoMessage>>;

/// The input is a sequence of {type, sender, request, u16 length, body}.
Messages decode_all(const std::uint8_t* data, std::size_t size) {
    Messages messages;
    while (size >= 5) {
        wire::Frame frame;
        frame.type = data[0];
        const auto from = node(data[1] % 5U);  // one of them is no member
        frame.request = data[2];
        const std::size_t length =
            std::min<std::size_t>(data[3] | static_cast<std::size_t>(data[4]) << 8U, size - 5);
        const auto* body = reinterpret_cast<const std::byte*>(data + 5);
        frame.body.assign(body, body + length);
        data += 5 + length;
        size -= 5 + length;
        const auto message = wire::decode_repo(frame);
        if (!message) continue;
        const auto again = wire::decode_repo(wire::encode(*message));
        if (!again || !(*again == *message)) std::abort();
        messages.emplace_back(from, *message);
    }
    return messages;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const Messages messages = decode_all(data, size);
    if (messages.empty()) return 0;  // most inputs; a core is slow to make
    constexpr std::uint64_t kWall = 1'700'000'000'000;
    repo::Repo core(node(0), 1, {}, Rng(1));
    repo::Outbox out;
    Instant now{};
    // Of so many members this one owns an eighth of the shards: a core that owns them all is slow to make.
    for (unsigned n = 0; n < 24; ++n) {
        Member member;
        member.id = node(n);
        member.boot_epoch = 1;
        core.on_member(now, member, out);
    }
    core.put(now, kWall, 1, "app", {{"t/v", Bytes(3)}}, out);
    core.get(now, 2, "app", repo::Query::one("t/v"), out);
    core.get(now, 3, "app", repo::Query::prefix("t/", "", 2), out);
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
