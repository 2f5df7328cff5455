// Hostile frames of the directory family: decoding never crashes, what decodes survives a second trip,
// and a core in the middle of its work takes any message from any member.
#include <cstdlib>
#include <utility>
#include <vector>

#include "directory/directory.h"

using namespace fastreg;

namespace {

NodeId node(unsigned n) {
    NodeId id;
    id.bytes[0] = static_cast<std::byte>(n + 1);
    return id;
}

using Messages = std::vector<std::pair<NodeId, wire::DirectoryMessage>>;

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
        const auto message = wire::decode_directory(frame);
        if (!message) continue;
        const auto again = wire::decode_directory(wire::encode(*message));
        if (!again || !(*again == *message)) std::abort();
        messages.emplace_back(from, *message);
    }
    return messages;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const Messages messages = decode_all(data, size);
    if (messages.empty()) return 0;  // most inputs; a core is slow to make
    directory::Directory core(node(0), 1, {}, Rng(1));
    directory::Outbox out;
    Instant now{};
    // Of so many members this one owns an eighth of the shards: a core that owns them all is slow to make.
    for (unsigned n = 0; n < 24; ++n) {
        Member member;
        member.id = node(n);
        member.boot_epoch = 1;
        core.on_member(now, member, out);
    }
    const auto blob = Digest::from_bytes(HashAlg::sha256, Bytes(32)).value();
    core.on_have(now, blob, 5, directory::HolderKind::home, out);
    core.look_up(now, 1, blob, directory::Intent::download, out);
    for (const auto& [from, message] : messages) {
        out.clear();
        core.on_message(now, from, message, out);
        now = now + 70ms;
        core.on_deadline(now, out);
        for (const auto& action : out) {
            const auto* send = std::get_if<directory::Send>(&action);
            if (send == nullptr) continue;
            if (send->to == node(0)) std::abort();
            if (wire::encode(send->message).body.size() > wire::kFrameBodyMax) std::abort();
        }
    }
    return 0;
}
