// The first and the last messages of every link: Hello, Proof, Close (docs/PROTOCOL.md, "Handshake").
// Values as bytes and back; hostile input expected. Pure; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/endpoint.h"
#include "base/hash.h"
#include "base/ids.h"
#include "base/result.h"
#include "wire/frame.h"

namespace fastreg::wire {

/// Protocol versions a node speaks, both ends included.
struct VersionRange {
    std::uint16_t low = 1;
    std::uint16_t high = 1;

    bool operator==(const VersionRange&) const = default;
    /// "1" or "1..3".
    [[nodiscard]] std::string str() const;
};
inline constexpr VersionRange kVersions{1, 1};

inline constexpr std::size_t kHelloBodyMax = 1024;
inline constexpr std::size_t kNodeNameMax = 64;
inline constexpr std::size_t kCloseTextMax = 256;

enum class Purpose : std::uint8_t { gossip = 1, directory = 2, data = 3 };
[[nodiscard]] std::string_view name_of(Purpose purpose);

using Nonce = std::array<std::byte, 32>;

struct Hello {
    VersionRange versions = kVersions;
    std::uint64_t features = 0;
    std::uint64_t cluster_hash = 0;  // hash_of_cluster(name)
    NodeId node_id;
    BootEpoch boot_epoch = 0;
    Nonce nonce{};  // secret_random, new for every link
    Purpose purpose = Purpose::gossip;
    std::string name;
    Endpoint gossip;     // as advertised to the mesh
    bool keyed = false;  // has a cluster key and expects a Proof

    bool operator==(const Hello&) const = default;
};

/// What two nodes must share to be of one cluster, before any key is looked at.
[[nodiscard]] std::uint64_t hash_of_cluster(std::string_view name);

[[nodiscard]] Frame encode_hello(const Hello& hello);
/// Only magic and versions, which every version of the protocol keeps: look here first.
[[nodiscard]] Result<VersionRange> decode_versions(ByteView body);
[[nodiscard]] Result<Hello> decode_hello(ByteView body);

struct Proof {
    Mac mac{};
};
[[nodiscard]] Frame encode_proof(const Proof& proof);
[[nodiscard]] Result<Proof> decode_proof(ByteView body);

/// Why a link ends. Numbers never change; an unknown one reads as `protocol`.
enum class CloseCode : std::uint8_t {
    going_away = 1,   // stopping, or the link is no longer needed
    protocol = 2,     // something was said that the protocol does not allow
    version = 3,      // no version in common
    cluster = 4,      // another cluster name
    itself = 5,       // both ends have one node id
    wrong_key = 6,    // the Proof was made with another key
    key_needed = 7,   // the closing node has a key, the other one has none
    key_foreign = 8,  // the closing node has no key, the other one has one
    busy = 9,         // too many links
    timeout = 10,
};

struct Close {
    CloseCode code = CloseCode::going_away;
    std::string text;  // for a log; cut at kCloseTextMax bytes
    VersionRange versions = kVersions;

    bool operator==(const Close&) const = default;
};
[[nodiscard]] Frame encode_close(const Close& close);
[[nodiscard]] Result<Close> decode_close(ByteView body);

}  // namespace fastreg::wire
