// What links bring: every frame to the core that understands its family, every end of a link or a chunk
// to the cores that count on it.
#include "base/log.h"
#include "node/core.h"
#include "wire/directory.h"
#include "wire/gossip.h"
#include "wire/repo.h"

namespace fastreg::node {

namespace {

constexpr bool in_family(std::uint8_t type, wire::FrameType first, wire::FrameType last) {
    return type >= static_cast<std::uint8_t>(first) && type <= static_cast<std::uint8_t>(last);
}

}  // namespace

void Core::on_frame(NodeId from, wire::Purpose purpose, const wire::Frame& frame) {
    using wire::FrameType;
    const auto reject = [&](const Error& error) {
        const auto unsaid = frames_rejected_.pass(parts_.now());
        if (!unsaid) return;
        log::warn("frame.rejected", {{"from", from.brief()},
                                     {"type", frame.type},
                                     {"why", error.what},
                                     {"repeats", *unsaid}});
    };
    const Instant now = parts_.now();
    if (in_family(frame.type, FrameType::gossip_first, FrameType::gossip_last)) {
        if (purpose != wire::Purpose::gossip) return;
        if (Meters* meters = parts_.options.meters) {
            meters->gossip_in.add(wire::kFrameHeaderSize + frame.body.size());
        }
        const auto message = wire::decode_gossip(frame);
        if (!message) return reject(message.error());
        parts_.gossip.on_message(now, from, *message, parts_.gossip_out);
    } else if (in_family(frame.type, FrameType::directory_first, FrameType::directory_last)) {
        const auto message = wire::decode_directory(frame);
        if (!message) return reject(message.error());
        parts_.directory.on_message(now, from, *message, parts_.directory_out);
    } else if (in_family(frame.type, FrameType::repo_first, FrameType::repo_last)) {
        const auto message = wire::decode_repo(frame);
        if (!message) return reject(message.error());
        parts_.repo.on_message(now, parts_.net.wall_ms(), from, *message, parts_.repo_out);
    } else if (in_family(frame.type, FrameType::node_first, FrameType::node_last)) {
        const auto message = wire::decode_node(frame);
        if (!message) return reject(message.error());
        homes_.on_message(from, *message);
    }
    drain();
}

void Core::on_link_up(NodeId peer, wire::Purpose purpose) {
    if (purpose == wire::Purpose::gossip) parts_.gossip.on_link_up(parts_.now(), peer, parts_.gossip_out);
    drain();
}

void Core::on_link_down(NodeId peer, wire::Purpose purpose) {
    if (purpose == wire::Purpose::gossip) {
        parts_.gossip.on_link_down(parts_.now(), peer, parts_.gossip_out);
    } else {
        parts_.directory.on_unreachable(parts_.now(), peer, parts_.directory_out);
        parts_.repo.on_unreachable(parts_.now(), peer, parts_.repo_out);
    }
    drain();
}

void Core::on_wrong_peer(NodeId expected, const Endpoint& address, NodeId found) {
    parts_.gossip.on_wrong_peer(parts_.now(), expected, address, found, parts_.gossip_out);
    drain();
}

void Core::on_send_failed(NodeId to, const Endpoint& address, wire::Purpose purpose) {
    if (purpose == wire::Purpose::gossip) {
        parts_.gossip.on_send_failed(parts_.now(), to, address, false, parts_.gossip_out);
        drain();
    } else {
        on_link_down(to, purpose);
    }
}

void Core::on_transfer(NodeId from, const wire::TransferMessage& message) {
    parts_.transfer.on_message(parts_.now(), from, message, parts_.transfer_out);
    drain();
}

void Core::on_fetch_end(NodeId from, RequestId request, const transfer::ChunkEnd& end) {
    downloads_.on_fetch_end(from, request, end);
}

void Core::on_fetch_bytes(NodeId from, RequestId request, std::uint64_t bytes) {
    parts_.transfer.on_bytes(parts_.now(), from, request, bytes);
}

void Core::on_serve_end(NodeId to, RequestId request, bool ok) {
    parts_.transfer.on_served(parts_.now(), to, request, ok, parts_.transfer_out);
    drain();
}

void Core::on_data_link_down(NodeId peer) {
    parts_.transfer.on_link_down(parts_.now(), peer, parts_.transfer_out);
    drain();
}

}  // namespace fastreg::node
