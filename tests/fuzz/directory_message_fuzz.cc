// Hostile frames of the directory family: decoding never crashes, what decodes survives a second trip,
// and a core in the middle of its work takes any message from any member.
#include <cstdlib>

#include "directory/directory.h"
#include "frames.h"

using namespace fastreg;
using fuzz::node;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto messages = fuzz::decode_all<wire::DirectoryMessage>(data, size, wire::decode_directory);
    if (messages.empty()) return 0;  // most inputs; a core is slow to make
    directory::Directory core(node(0), 1, {}, Rng(1));
    directory::Outbox out;
    Instant now{};
    fuzz::meet_members(core, now, out);
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
