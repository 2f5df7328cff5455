// The gossip family (frame types 0x10..0x1f): who is in the mesh, as bytes and back. Hostile input
// expected. The sequence of a probe rides in the frame's request id. Pure; any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <variant>
#include <vector>

#include "base/ids.h"
#include "base/member.h"
#include "base/result.h"
#include "wire/frame.h"

namespace fastreg::wire {

inline constexpr std::size_t kMemberNameMax = 63;   // bytes; one DNS label
inline constexpr std::size_t kMemberZoneMax = 31;   // bytes
inline constexpr std::size_t kClaimMax = 256;       // bytes of one claim, encoded
inline constexpr std::size_t kSyncBucketCount = 256;  // by the first byte of the node id
inline constexpr std::size_t kJoinReplyMembersMax = 128;
/// No message carries more claims than whole frames of the smallest ones could.
inline constexpr std::size_t kClaimsMax = 2'048;
/// A member that leaves speaks with this incarnation: nothing of its epoch comes after it.
inline constexpr std::uint64_t kFinalIncarnation = std::uint64_t{1} << 62U;

/// What somebody says of a member. Without a gossip endpoint it is short: it names a member the
/// receiver must know already. `subject.state_since` is not on the wire.
struct Claim {
    Member subject;
    NodeId from;  // who says so: the subject itself, or its accuser

    [[nodiscard]] bool full() const { return !subject.gossip.empty(); }
    [[nodiscard]] bool first_hand() const { return from == subject.id; }
};

/// "Are you, `target`, alive?" A process that is not `target` does not answer with an Ack.
struct Ping {
    RequestId sequence = 0;
    NodeId target;
    Claim self;  // the sender of the frame, first hand
};
struct Ack {
    RequestId sequence = 0;
};
/// "Ping `target` for me": the helper passes the Ack on under `sequence`.
struct PingRequest {
    RequestId sequence = 0;
    NodeId target;
    Endpoint address;
};
/// From a helper: "I am well and heard you, but have no Ack from the target yet".
struct Nack {
    RequestId sequence = 0;
};
/// Only the claims that ride on every message.
struct Updates {};
/// "Here is what I know, in 256 numbers; tell me where we differ."
struct SyncDigest {
    std::array<std::uint64_t, kSyncBucketCount> hashes{};
};
/// Everything the sender knows in these buckets, in `claims`; a bucket that spans several messages is
/// named in the last one.
struct SyncBuckets {
    std::vector<std::uint8_t> buckets;
    std::vector<Claim> claims;
    bool answer = false;  // true: the receiver sends back what it knows better
};
struct Join {
    Claim self;
    std::uint32_t wanted = 0;  // members to name in the answer, <= kJoinReplyMembersMax
};
/// A random part of the members: enough to start, and whom to ask for the rest. `table_hash` is the xor of
/// the sender's 256 hashes: equal ones need no digest.
struct JoinReply {
    Claim self;
    std::vector<Claim> members;
    std::uint64_t table_hash = 0;
};

struct GossipMessage {
    std::variant<Ping, Ack, PingRequest, Nack, Updates, SyncDigest, SyncBuckets, Join, JoinReply> body;
    std::vector<Claim> updates;  // piggy-backed, most urgent first
};

/// An upper bound of the encoded size of a claim, exact within a few bytes.
[[nodiscard]] std::size_t claim_size(const Claim& claim);
/// An upper bound of the encoded size of the whole body.
[[nodiscard]] std::size_t body_size(const GossipMessage& message);
/// Whether the claim keeps every limit of this page.
[[nodiscard]] Status check_claim(const Claim& claim);

/// body_size(message) <= kFrameBodyMax.
[[nodiscard]] Frame encode(const GossipMessage& message);
/// An error for an unknown type of this family, a broken body, or a limit of this page.
[[nodiscard]] Result<GossipMessage> decode_gossip(const Frame& frame);

}  // namespace fastreg::wire
