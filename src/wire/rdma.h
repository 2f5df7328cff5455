// What two nodes say over one RDMA connection (docs/PROTOCOL.md, "RDMA"): private data of the connection
// manager, and control messages of a fixed layout, little-endian. Chunks themselves are RDMA Writes and
// never pass through here. Values as bytes and back; hostile input expected. Pure; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/digest.h"
#include "base/grid.h"
#include "base/hash.h"
#include "base/ids.h"
#include "base/result.h"
#include "wire/hello.h"

namespace fastreg::wire {

/// Private data of a connect request and an accept (IB and RoCE carry 56 and 196 bytes), and of a reject (148).
inline constexpr std::size_t kRdmaHelloSize = 56;
inline constexpr std::size_t kRdmaRejectSize = 132;
/// Control messages: what a receive buffer holds, and what leaves inline (soft iWARP takes 80 bytes).
inline constexpr std::size_t kRdmaMessageMax = 128;
inline constexpr std::size_t kRdmaInlineMax = 64;
/// Open requests of one connection, whatever its ends would like.
inline constexpr std::uint16_t kRdmaDepthMax = 128;
inline constexpr std::uint8_t kRdmaVersion = 1;

using RdmaNonce = std::array<std::byte, 8>;
using RdmaMac = std::array<std::byte, 16>;  // the first half of an HMAC-SHA256

/// Who connects, from whom it expects to be answered, and that it has the mesh's key.
struct RdmaHello {
    std::uint16_t depth = 0;  // requests it would have open; 1..kRdmaDepthMax
    std::uint64_t cluster_hash = 0;
    NodeId node_id;
    RdmaNonce nonce{};
    bool keyed = false;
    RdmaMac mac{};
    bool operator==(const RdmaHello&) const = default;
};
[[nodiscard]] Bytes encode_rdma_hello(const RdmaHello& hello);
/// More bytes than the layout are padding of the connection manager.
[[nodiscard]] Result<RdmaHello> decode_rdma_hello(ByteView data);
/// For the node `to` only, so that it is of no use elsewhere.
[[nodiscard]] RdmaMac rdma_hello_mac(const Mac& key, const RdmaHello& hello, NodeId to);

/// The answer of who was connected to.
struct RdmaWelcome {
    std::uint16_t depth = 0;
    std::uint64_t cluster_hash = 0;
    NodeId node_id;
    RdmaNonce nonce{};
    bool keyed = false;
    RdmaMac mac{};
    bool operator==(const RdmaWelcome&) const = default;
};
[[nodiscard]] Bytes encode_rdma_welcome(const RdmaWelcome& welcome);
[[nodiscard]] Result<RdmaWelcome> decode_rdma_welcome(ByteView data);
/// Over both ends' words, so that neither can be replayed.
[[nodiscard]] RdmaMac rdma_welcome_mac(const Mac& key, const RdmaHello& hello, const RdmaWelcome& welcome);
/// What the connecting end proves with its first message.
[[nodiscard]] RdmaMac rdma_proof_mac(const Mac& key, const RdmaHello& hello, const RdmaWelcome& welcome);

/// Why a connection was not taken.
struct RdmaReject {
    CloseCode code = CloseCode::protocol;
    std::string text;  // for a log, cut at 120 bytes
    bool operator==(const RdmaReject&) const = default;
};
[[nodiscard]] Bytes encode_rdma_reject(const RdmaReject& reject);
/// Nothing when it is not FastReg's.
[[nodiscard]] std::optional<RdmaReject> decode_rdma_reject(ByteView data);

/// The first message of the connecting end.
struct RdmaProof {
    RdmaMac mac{};
    bool operator==(const RdmaProof&) const = default;
};

/// Write this chunk into my slot. Ends with exactly one RdmaDone or RdmaNack.
struct RdmaRequest {
    RequestId request = 0;
    std::uint32_t generation = 0;  // of the slot: what an answer must name
    std::uint64_t address = 0;
    std::uint32_t key = 0;         // the rkey of the slot's memory
    std::uint32_t room = 0;        // bytes of the slot, at least those of the chunk
    Digest digest;
    std::uint64_t blob_size = 0;
    ChunkIndex chunk = 0;
    bool urgent = false;
    bool operator==(const RdmaRequest&) const = default;
    [[nodiscard]] std::uint64_t chunk_bytes() const { return ChunkGrid(blob_size).size_of(chunk); }
};

/// All bytes were written before this was sent, and so are there when it is received.
struct RdmaDone {
    RequestId request = 0;
    std::uint32_t generation = 0;
    std::uint32_t bytes = 0;
    bool operator==(const RdmaDone&) const = default;
};

/// Nothing was written, and nothing will be.
struct RdmaNack {
    enum class Why : std::uint8_t { busy = 1, not_here = 2, cancelled = 3 };
    RequestId request = 0;
    std::uint32_t generation = 0;
    Why why = Why::busy;
    bool whole = false;               // not_here: the whole blob
    std::vector<NodeId> try_instead;  // busy: at most 2
    bool operator==(const RdmaNack&) const = default;
};
inline constexpr std::size_t kRdmaTryMax = 2;

/// The asker no longer wants it. It still waits for the request's one end: only that frees the slot.
struct RdmaCancel {
    RequestId request = 0;
    std::uint32_t generation = 0;
    bool operator==(const RdmaCancel&) const = default;
};

using RdmaMessage = std::variant<RdmaProof, RdmaRequest, RdmaDone, RdmaNack, RdmaCancel>;

/// At most kRdmaMessageMax bytes; all but a request at most kRdmaInlineMax.
[[nodiscard]] Bytes encode_rdma(const RdmaMessage& message);
/// Strict about length, type, grids and limits.
[[nodiscard]] Result<RdmaMessage> decode_rdma(ByteView data);

}  // namespace fastreg::wire
