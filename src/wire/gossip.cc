#include "wire/gossip.h"

#include <algorithm>

#include "wire/pack.h"

namespace fastreg::wire {

namespace {

// Frame types. Numbers never change.
constexpr std::uint8_t kPing = 0x10;
constexpr std::uint8_t kAck = 0x11;
constexpr std::uint8_t kPingRequest = 0x12;
constexpr std::uint8_t kNack = 0x13;
constexpr std::uint8_t kUpdates = 0x14;
constexpr std::uint8_t kSyncDigest = 0x15;
constexpr std::uint8_t kSyncBuckets = 0x16;
constexpr std::uint8_t kJoin = 0x17;
constexpr std::uint8_t kJoinReply = 0x18;

// Keys of a message body.
constexpr int kSelf = 1;
constexpr int kTarget = 2;
constexpr int kAddress = 3;
constexpr int kHashes = 4;
constexpr int kBuckets = 5;
constexpr int kClaims = 6;
constexpr int kAnswer = 7;
constexpr int kWanted = 8;
constexpr int kTableHash = 9;
constexpr int kPiggyback = 16;

// Keys of a claim. An address at the gossip host is its port alone.
constexpr int kId = 1;
constexpr int kEpoch = 2;
constexpr int kIncarnation = 3;
constexpr int kState = 4;
constexpr int kFrom = 5;
constexpr int kName = 6;
constexpr int kZone = 7;
constexpr int kGossip = 8;
constexpr int kTransferPort = 9;
constexpr int kRdmaPort = 10;
constexpr int kHttpPort = 11;
constexpr int kTransfer = 12;
constexpr int kRdma = 13;
constexpr int kHttp = 14;

void write_claim(MapWriter& out, const Claim& claim) {
    const Member& m = claim.subject;
    out.put(kId, m.id);
    out.put(kEpoch, m.boot_epoch);
    out.put(kIncarnation, m.incarnation);
    out.put(kState, static_cast<std::uint64_t>(m.state));
    if (!claim.first_hand()) out.put(kFrom, claim.from);
    if (!claim.full()) return;
    if (!m.name.empty()) out.put(kName, std::string_view(m.name));
    if (!m.zone.empty()) out.put(kZone, std::string_view(m.zone));
    out.put(kGossip, m.gossip);
    const auto port = [&](int key, const Endpoint& e) {
        if (!e.empty() && e.host == m.gossip.host) out.put(key, std::uint64_t{e.port});
    };
    const auto other = [&](int key, const Endpoint& e) {
        if (!e.empty() && e.host != m.gossip.host) out.put(key, e);
    };
    port(kTransferPort, m.transfer);
    port(kRdmaPort, m.rdma);
    port(kHttpPort, m.http);
    other(kTransfer, m.transfer);
    other(kRdma, m.rdma);
    other(kHttp, m.http);
}

MapWriter packed(const Claim& claim) {
    MapWriter out;
    write_claim(out, claim);
    return out;
}

Claim read_claim(MapReader& in) {
    Claim claim;
    Member& m = claim.subject;
    m.id = in.node_id(kId);
    m.boot_epoch = in.number(kEpoch);
    m.incarnation = in.number(kIncarnation, 0, kFinalIncarnation);
    const std::uint64_t state = in.number(kState, 0, UINT8_MAX);
    m.state = static_cast<MemberState>(state);
    claim.from = in.has(kFrom) ? in.node_id(kFrom) : m.id;
    m.name = in.text(kName, kMemberNameMax);
    m.zone = in.text(kZone, kMemberZoneMax);
    m.gossip = in.endpoint(kGossip);
    const auto address = [&](int port_key, int key) {
        if (!in.has(port_key)) return in.endpoint(key);
        return Endpoint{m.gossip.host, static_cast<std::uint16_t>(in.number(port_key, 0, UINT16_MAX))};
    };
    m.transfer = address(kTransferPort, kTransfer);
    m.rdma = address(kRdmaPort, kRdma);
    m.http = address(kHttpPort, kHttp);
    if (!in.status()) return claim;
    if (in.has(kGossip) && m.gossip.empty()) in.reject("a gossip address names no host");
    if (auto ok = check_claim(claim); !ok) in.reject(ok.error().what);
    return claim;
}

std::vector<Claim> read_claims(MapReader& in, int key, std::size_t max) {
    std::vector<Claim> claims;
    in.list(key, max, [&](MapReader& item) {
        Claim claim = read_claim(item);
        if (item.status()) claims.push_back(std::move(claim));
    });
    return claims;
}

/// The speaker's own record: whole and first hand, or the message is refused.
Claim read_self(MapReader& in) {
    Claim self;
    in.require(kSelf);
    in.map(kSelf, [&](MapReader& inner) { self = read_claim(inner); });
    if (in.status() && (!self.full() || !self.first_hand())) {
        in.reject("the sender's own record is not whole and first hand");
    }
    return self;
}

void put_u64(std::vector<std::byte>& out, std::uint64_t value) {
    for (unsigned shift = 0; shift < 64; shift += 8) out.push_back(std::byte(value >> shift));
}
std::uint64_t get_u64(ByteView in) {
    std::uint64_t value = 0;
    for (std::size_t i = 8; i-- > 0;) value = value << 8U | std::to_integer<std::uint64_t>(in[i]);
    return value;
}

struct Encoder {
    Frame& frame;
    MapWriter& out;

    void operator()(const Ping& m) {
        frame.type = kPing;
        frame.request = m.sequence;
        out.put(kSelf, packed(m.self));
        out.put(kTarget, m.target);
    }
    void operator()(const Ack& m) {
        frame.type = kAck;
        frame.request = m.sequence;
    }
    void operator()(const PingRequest& m) {
        frame.type = kPingRequest;
        frame.request = m.sequence;
        out.put(kTarget, m.target);
        out.put(kAddress, m.address);
    }
    void operator()(const Nack& m) {
        frame.type = kNack;
        frame.request = m.sequence;
    }
    void operator()(const Updates&) { frame.type = kUpdates; }
    void operator()(const SyncDigest& m) {
        frame.type = kSyncDigest;
        Bytes packed_hashes;
        packed_hashes.reserve(8 * m.hashes.size());
        for (std::uint64_t hash : m.hashes) put_u64(packed_hashes, hash);
        out.put_bytes(kHashes, packed_hashes);
    }
    void operator()(const SyncBuckets& m) {
        frame.type = kSyncBuckets;
        Bytes buckets;
        buckets.reserve(m.buckets.size());
        for (std::uint8_t bucket : m.buckets) buckets.push_back(std::byte{bucket});
        out.put_bytes(kBuckets, buckets);
        out.put_list(kClaims, m.claims, write_claim);
        out.put_bool(kAnswer, m.answer);
    }
    void operator()(const Join& m) {
        frame.type = kJoin;
        out.put(kSelf, packed(m.self));
        out.put(kWanted, std::uint64_t{m.wanted});
    }
    void operator()(const JoinReply& m) {
        frame.type = kJoinReply;
        out.put(kSelf, packed(m.self));
        out.put_list(kClaims, m.members, write_claim);
        out.put(kTableHash, m.table_hash);
    }
};

PingRequest read_ping_request(MapReader& in, RequestId sequence) {
    in.require(kTarget);
    in.require(kAddress);
    PingRequest m{sequence, in.node_id(kTarget), in.endpoint(kAddress)};
    if (in.status() && m.address.empty()) in.reject("the address to probe names no host");
    return m;
}

SyncDigest read_sync_digest(MapReader& in) {
    SyncDigest m;
    const ByteView packed_hashes = in.bytes(kHashes, 8 * kSyncBucketCount);
    if (packed_hashes.size() != 8 * kSyncBucketCount) {
        in.reject("a digest has not 256 hashes");
        return m;
    }
    for (std::size_t i = 0; i < kSyncBucketCount; ++i) {
        m.hashes[i] = get_u64(packed_hashes.subspan(8 * i, 8));
    }
    return m;
}

SyncBuckets read_sync_buckets(MapReader& in) {
    SyncBuckets m;
    for (std::byte bucket : in.bytes(kBuckets, kSyncBucketCount)) {
        m.buckets.push_back(std::to_integer<std::uint8_t>(bucket));
    }
    m.claims = read_claims(in, kClaims, kClaimsMax);
    m.answer = in.boolean(kAnswer);
    return m;
}

std::size_t text_size(std::size_t length) { return length == 0 ? 0 : length + 3; }
std::size_t endpoint_size(const Endpoint& e) { return e.empty() ? 0 : text_size(e.host.size() + 8); }

std::size_t claims_size(const std::vector<Claim>& claims) {
    std::size_t size = 8;
    for (const Claim& claim : claims) size += claim_size(claim);
    return size;
}

bool printable(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) {
        const auto byte = static_cast<unsigned char>(c);
        return byte > 0x20 && byte != 0x7f;
    });
}

}  // namespace

std::size_t claim_size(const Claim& claim) {
    const Member& m = claim.subject;
    // Map head, id, epoch, incarnation, state, and the accuser.
    std::size_t size = 1 + 19 + 10 + 10 + 2 + (claim.first_hand() ? 0 : 19);
    if (!claim.full()) return size;
    size += text_size(m.name.size()) + text_size(m.zone.size()) + endpoint_size(m.gossip) + 2;
    for (const Endpoint* e : {&m.transfer, &m.rdma, &m.http}) {
        size += e->host == m.gossip.host ? 4 : endpoint_size(*e);
    }
    return size;
}

std::size_t body_size(const GossipMessage& message) {
    constexpr std::size_t kHead = 48;
    struct Sizes {
        std::size_t operator()(const Ping& m) { return claim_size(m.self) + 20; }
        std::size_t operator()(const Ack&) { return 0; }
        std::size_t operator()(const PingRequest& m) { return 20 + endpoint_size(m.address); }
        std::size_t operator()(const Nack&) { return 0; }
        std::size_t operator()(const Updates&) { return 0; }
        std::size_t operator()(const SyncDigest&) { return 8 * kSyncBucketCount; }
        std::size_t operator()(const SyncBuckets& m) {
            return m.buckets.size() + claims_size(m.claims);
        }
        std::size_t operator()(const Join& m) { return claim_size(m.self); }
        std::size_t operator()(const JoinReply& m) {
            return claim_size(m.self) + claims_size(m.members);
        }
    };
    return kHead + std::visit(Sizes{}, message.body) + claims_size(message.updates);
}

Status check_claim(const Claim& claim) {
    const Member& m = claim.subject;
    const auto refuse = [](const char* why) { return fail(Errc::protocol, why); };
    if (!m.id.known() || !claim.from.known()) return refuse("a claim names no node");
    if (m.boot_epoch == 0) return refuse("a claim has no boot epoch");
    if (m.state < MemberState::alive || m.state > MemberState::left) {
        return refuse("a claim has an unknown state");
    }
    if (m.incarnation > kFinalIncarnation ||
        (m.incarnation == kFinalIncarnation && m.state != MemberState::left)) {
        return refuse("a claim has an incarnation over its limit");
    }
    if (m.name.size() > kMemberNameMax || m.zone.size() > kMemberZoneMax) {
        return refuse("a claim has a name or zone over its limit");
    }
    const bool clean = printable(m.name) && printable(m.zone) && printable(m.gossip.host) &&
                       printable(m.transfer.host) && printable(m.rdma.host) &&
                       printable(m.http.host);
    if (!clean) return refuse("a claim has a name or host with blanks or control characters");
    if (claim.full() && m.gossip.port == 0) return refuse("a claim has a gossip address without port");
    if (claim_size(claim) > kClaimMax) return refuse("a claim is over 256 bytes");
    return {};
}

Frame encode(const GossipMessage& message) {
    Frame frame;
    MapWriter out;
    std::visit(Encoder{frame, out}, message.body);
    if (!message.updates.empty()) out.put_list(kPiggyback, message.updates, write_claim);
    frame.body = out.finish();
    FR_ASSERT(frame.body.size() <= kFrameBodyMax);
    return frame;
}

Result<GossipMessage> decode_gossip(const Frame& frame) {
    FR_TRY_ASSIGN(MapReader in, MapReader::parse(ByteView(frame.body)));
    GossipMessage message;
    switch (frame.type) {
        case kPing: {
            Claim self = read_self(in);
            in.require(kTarget);
            message.body = Ping{frame.request, in.node_id(kTarget), std::move(self)};
            break;
        }
        case kAck: message.body = Ack{frame.request}; break;
        case kPingRequest: message.body = read_ping_request(in, frame.request); break;
        case kNack: message.body = Nack{frame.request}; break;
        case kUpdates: message.body = Updates{}; break;
        case kSyncDigest: message.body = read_sync_digest(in); break;
        case kSyncBuckets: message.body = read_sync_buckets(in); break;
        case kJoin: {
            Claim self = read_self(in);
            const auto wanted = in.number(kWanted, 0, kJoinReplyMembersMax);
            message.body = Join{std::move(self), static_cast<std::uint32_t>(wanted)};
            break;
        }
        case kJoinReply: {
            Claim self = read_self(in);
            auto members = read_claims(in, kClaims, kJoinReplyMembersMax);
            message.body = JoinReply{std::move(self), std::move(members), in.number(kTableHash)};
            break;
        }
        default: return fail(Errc::unsupported, "unknown gossip message type");
    }
    message.updates = read_claims(in, kPiggyback, kClaimsMax);
    FR_TRY(in.status());
    return message;
}

}  // namespace fastreg::wire
