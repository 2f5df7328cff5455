// How the fuzz targets of the message families read their input: members, and what each says.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <utility>
#include <vector>

#include "base/member.h"
#include "wire/frame.h"

namespace fastreg::fuzz {

constexpr unsigned kMembers = 24;

inline NodeId node(unsigned n) {
    NodeId id;
    id.bytes[0] = static_cast<std::byte>(n + 1);
    return id;
}

/// Tells `core` of so many members that it owns an eighth of the shards: one that owns them all is
/// slow to make.
template <class Core, class Outbox>
void meet_members(Core& core, Instant now, Outbox& out) {
    for (unsigned n = 0; n < kMembers; ++n) {
        Member member;
        member.id = node(n);
        member.boot_epoch = 1;
        core.on_member(now, member, out);
    }
}

/// Reads the input as a sequence of {type, sender, request, u16 length, body} and returns what
/// decodes, each with its sender. What decodes must survive a second trip.
template <class Message, class Decode>
std::vector<std::pair<NodeId, Message>> decode_all(const std::uint8_t* data, std::size_t size,
                                                   Decode decode) {
    std::vector<std::pair<NodeId, Message>> messages;
    while (size >= 5) {
        wire::Frame frame;
        frame.type = data[0];
        const unsigned sender = data[1] % 5U;
        const auto from = node(sender == 4 ? kMembers : sender);  // one of them is no member
        frame.request = data[2];
        const std::size_t length =
            std::min<std::size_t>(data[3] | static_cast<std::size_t>(data[4]) << 8U, size - 5);
        const auto* body = reinterpret_cast<const std::byte*>(data + 5);
        frame.body.assign(body, body + length);
        data += 5 + length;
        size -= 5 + length;
        const auto message = decode(frame);
        if (!message) continue;
        const auto again = decode(wire::encode(*message));
        if (!again || !(*again == *message)) std::abort();
        messages.emplace_back(from, *message);
    }
    return messages;
}

}  // namespace fastreg::fuzz
