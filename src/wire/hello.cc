#include "wire/hello.h"

#include <algorithm>

#include "wire/pack.h"

namespace fastreg::wire {

namespace {

constexpr std::string_view kMagic = "FRG1";

// Keys of the maps; numbers never change, and the first three belong to every version.
enum HelloKey : int {
    kMagicText = 1,
    kLow = 2,
    kHigh = 3,
    kFeatures = 4,
    kCluster = 5,
    kNodeId = 6,
    kBootEpoch = 7,
    kNonce = 8,
    kPurpose = 9,
    kName = 10,
    kGossip = 11,
    kKeyed = 12,
};
enum ProofKey : int { kMac = 1 };
enum CloseKey : int { kCode = 1, kText = 2, kCloseLow = 3, kCloseHigh = 4 };

Frame frame_of(FrameType type, const MapWriter& map) {
    return {static_cast<std::uint8_t>(type), 0, 0, map.finish()};
}

VersionRange read_versions(MapReader& in, int low, int high) {
    return {static_cast<std::uint16_t>(in.number(low, 0, UINT16_MAX)),
            static_cast<std::uint16_t>(in.number(high, 0, UINT16_MAX))};
}

template <std::size_t n>
void read_exactly(MapReader& in, int key, std::array<std::byte, n>& out) {
    const ByteView raw = in.bytes(key, n);
    if (raw.size() != n) return in.reject("nonce or proof has the wrong size");
    std::ranges::copy(raw, out.begin());
}

}  // namespace

std::string VersionRange::str() const {
    const std::string first = std::to_string(low);
    return low == high ? first : first + ".." + std::to_string(high);
}

std::string_view name_of(Purpose purpose) {
    switch (purpose) {
        case Purpose::gossip: return "gossip";
        case Purpose::directory: return "directory";
        case Purpose::data: return "data";
    }
    return "unknown";
}

std::uint64_t hash_of_cluster(std::string_view name) {
    return xxh3_64(as_bytes(name));
}

Frame encode_hello(const Hello& hello) {
    MapWriter out;
    out.put(kMagicText, kMagic);
    out.put(kLow, hello.versions.low).put(kHigh, hello.versions.high);
    out.put(kFeatures, hello.features).put(kCluster, hello.cluster_hash);
    out.put(kNodeId, hello.node_id).put(kBootEpoch, hello.boot_epoch);
    out.put_bytes(kNonce, hello.nonce);
    out.put(kPurpose, static_cast<std::uint64_t>(hello.purpose));
    out.put(kName, std::string_view(hello.name).substr(0, kNodeNameMax));
    out.put(kGossip, hello.gossip).put_bool(kKeyed, hello.keyed);
    return frame_of(FrameType::hello, out);
}

Result<VersionRange> decode_versions(ByteView body) {
    FR_TRY_ASSIGN(MapReader in, MapReader::parse(body));
    if (in.text(kMagicText, kMagic.size()) != kMagic) {
        return fail(Errc::protocol, "message is no Hello of FastReg");
    }
    const VersionRange versions = read_versions(in, kLow, kHigh);
    FR_TRY(in.status());
    if (versions.low == 0 || versions.low > versions.high) {
        return fail(Errc::protocol, "message has no range of versions");
    }
    return versions;
}

Result<Hello> decode_hello(ByteView body) {
    Hello hello;
    FR_TRY_ASSIGN(hello.versions, decode_versions(body));
    FR_TRY_ASSIGN(MapReader in, MapReader::parse(body));
    hello.features = in.number(kFeatures);
    in.require(kCluster);
    hello.cluster_hash = in.number(kCluster);
    hello.node_id = in.node_id(kNodeId);
    if (!hello.node_id.known()) in.reject("has no node id");
    hello.boot_epoch = in.number(kBootEpoch);
    read_exactly(in, kNonce, hello.nonce);
    const auto purpose = in.number(kPurpose);
    if (purpose < 1 || purpose > 3) in.reject("has an unknown purpose");
    hello.purpose = static_cast<Purpose>(purpose);
    hello.name = in.text(kName, kNodeNameMax);
    hello.gossip = in.endpoint(kGossip);
    hello.keyed = in.boolean(kKeyed);
    FR_TRY(in.status());
    return hello;
}

Frame encode_proof(const Proof& proof) {
    MapWriter out;
    out.put_bytes(kMac, proof.mac);
    return frame_of(FrameType::proof, out);
}

Result<Proof> decode_proof(ByteView body) {
    FR_TRY_ASSIGN(MapReader in, MapReader::parse(body));
    Proof proof;
    read_exactly(in, kMac, proof.mac);
    FR_TRY(in.status());
    return proof;
}

Frame encode_close(const Close& close) {
    MapWriter out;
    out.put(kCode, static_cast<std::uint64_t>(close.code));
    out.put(kText, std::string_view(close.text).substr(0, kCloseTextMax));
    out.put(kCloseLow, close.versions.low).put(kCloseHigh, close.versions.high);
    return frame_of(FrameType::close, out);
}

Result<Close> decode_close(ByteView body) {
    FR_TRY_ASSIGN(MapReader in, MapReader::parse(body));
    Close close;
    const auto code = in.number(kCode);
    const bool known = code >= 1 && code <= static_cast<std::uint64_t>(CloseCode::timeout);
    close.code = known ? static_cast<CloseCode>(code) : CloseCode::protocol;
    close.text = in.text(kText, kCloseTextMax);
    close.versions = read_versions(in, kCloseLow, kCloseHigh);
    FR_TRY(in.status());
    return close;
}

}  // namespace fastreg::wire
