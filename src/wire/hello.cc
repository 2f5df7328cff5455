#include "wire/hello.h"

#include <algorithm>

#include "wire/pack.h"

namespace fastreg::wire {

namespace {

constexpr std::string_view kMagic = "FRG1";

// Keys of the maps; numbers never change, and the first three belong to every version.
enum HelloKey : int {
    kHelloMagic = 1,
    kHelloLow = 2,
    kHelloHigh = 3,
    kHelloFeatures = 4,
    kHelloCluster = 5,
    kHelloNodeId = 6,
    kHelloBootEpoch = 7,
    kHelloNonce = 8,
    kHelloPurpose = 9,
    kHelloName = 10,
    kHelloGossip = 11,
    kHelloKeyed = 12,
};
enum ProofKey : int { kProofMac = 1 };
enum CloseKey : int { kCloseCode = 1, kCloseText = 2, kCloseLow = 3, kCloseHigh = 4 };

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
    out.put(kHelloMagic, kMagic);
    out.put(kHelloLow, hello.versions.low).put(kHelloHigh, hello.versions.high);
    out.put(kHelloFeatures, hello.features).put(kHelloCluster, hello.cluster_hash);
    out.put(kHelloNodeId, hello.node_id).put(kHelloBootEpoch, hello.boot_epoch);
    out.put_bytes(kHelloNonce, hello.nonce);
    out.put(kHelloPurpose, static_cast<std::uint64_t>(hello.purpose));
    out.put(kHelloName, std::string_view(hello.name).substr(0, kNodeNameMax));
    out.put(kHelloGossip, hello.gossip).put_bool(kHelloKeyed, hello.keyed);
    return frame_of(FrameType::hello, out);
}

Result<VersionRange> decode_versions(ByteView body) {
    FR_TRY_ASSIGN(MapReader in, MapReader::parse(body));
    if (in.text(kHelloMagic, kMagic.size()) != kMagic) {
        return fail(Errc::protocol, "message is no Hello of FastReg");
    }
    const VersionRange versions = read_versions(in, kHelloLow, kHelloHigh);
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
    hello.features = in.number(kHelloFeatures);
    in.require(kHelloCluster);
    hello.cluster_hash = in.number(kHelloCluster);
    hello.node_id = in.node_id(kHelloNodeId);
    if (!hello.node_id.known()) in.reject("has no node id");
    hello.boot_epoch = in.number(kHelloBootEpoch);
    read_exactly(in, kHelloNonce, hello.nonce);
    const auto purpose = in.number(kHelloPurpose);
    if (purpose < 1 || purpose > 3) in.reject("has an unknown purpose");
    hello.purpose = static_cast<Purpose>(purpose);
    hello.name = in.text(kHelloName, kNodeNameMax);
    hello.gossip = in.endpoint(kHelloGossip);
    hello.keyed = in.boolean(kHelloKeyed);
    FR_TRY(in.status());
    return hello;
}

Frame encode_proof(const Proof& proof) {
    MapWriter out;
    out.put_bytes(kProofMac, proof.mac);
    return frame_of(FrameType::proof, out);
}

Result<Proof> decode_proof(ByteView body) {
    FR_TRY_ASSIGN(MapReader in, MapReader::parse(body));
    Proof proof;
    read_exactly(in, kProofMac, proof.mac);
    FR_TRY(in.status());
    return proof;
}

Frame encode_close(const Close& close) {
    MapWriter out;
    out.put(kCloseCode, static_cast<std::uint64_t>(close.code));
    out.put(kCloseText, std::string_view(close.text).substr(0, kCloseTextMax));
    out.put(kCloseLow, close.versions.low).put(kCloseHigh, close.versions.high);
    return frame_of(FrameType::close, out);
}

Result<Close> decode_close(ByteView body) {
    FR_TRY_ASSIGN(MapReader in, MapReader::parse(body));
    Close close;
    const auto code = in.number(kCloseCode);
    const bool known = code >= 1 && code <= static_cast<std::uint64_t>(CloseCode::timeout);
    close.code = known ? static_cast<CloseCode>(code) : CloseCode::protocol;
    close.text = in.text(kCloseText, kCloseTextMax);
    close.versions = read_versions(in, kCloseLow, kCloseHigh);
    FR_TRY(in.status());
    return close;
}

}  // namespace fastreg::wire
