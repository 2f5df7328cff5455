// The frame of every FastReg link (docs/PROTOCOL.md, "Frames"), little-endian:
// u32 length of the rest (<= 65,536), u8 type, u8 flags, u16 zero, u64 request id, body.
// Bytes in, frames out. Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"

namespace fastreg::wire {

inline constexpr std::size_t kFrameHeaderSize = 16;
inline constexpr std::size_t kFrameRestMax = 65'536;
inline constexpr std::size_t kFrameBodyMax = kFrameRestMax - (kFrameHeaderSize - 4);

/// An unknown type with this flag closes the link; without it the frame is skipped.
inline constexpr std::uint8_t kMustUnderstand = 1;

/// All message types of the mesh. Ranges are by family; numbers never change.
enum class FrameType : std::uint8_t {
    hello = 0x01,
    proof = 0x02,
    close = 0x03,
    ping = 0x04,  // link keep-alive
    pong = 0x05,

    gossip_first = 0x10,  // src/wire/gossip.h
    gossip_last = 0x1f,
    directory_first = 0x20,  // src/wire/directory.h
    directory_last = 0x2f,
    repo_first = 0x30,  // src/wire/repo.h
    repo_last = 0x3f,
    transfer_first = 0x40,  // src/wire/transfer.h
    transfer_last = 0x5f,
    node_first = 0x60,  // src/wire/node.h: uploads by proxy, homes
    node_last = 0x6f,
};

struct Frame {
    std::uint8_t type = 0;
    std::uint8_t flags = 0;
    RequestId request = 0;
    Bytes body;
};

/// Header and body in one buffer, ready to send. body.size() <= kFrameBodyMax.
[[nodiscard]] Bytes encode_frame(const Frame& frame);

struct FrameHeader {
    std::uint32_t body_size = 0;
    std::uint8_t type = 0;
    std::uint8_t flags = 0;
    RequestId request = 0;
};
/// From exactly kFrameHeaderSize bytes; an error for a length out of range or non-zero zero.
[[nodiscard]] Result<FrameHeader> decode_header(ByteView header);

/// Collects bytes of a link and cuts them into frames. Any split of the input gives the same frames.
class FrameReader {
  public:
    /// Keeps a copy of what is not a whole frame yet (at most one frame).
    void feed(ByteView data);
    /// The next whole frame, nothing yet, or an error after which the link must be closed.
    [[nodiscard]] Result<std::optional<Frame>> next();
    /// Bytes fed but not yet returned; for a driver that takes raw bodies after a frame.
    [[nodiscard]] ByteView rest() const;
    void consume(std::size_t count);

  private:
    Bytes buffer_;
    std::size_t begin_ = 0;
};

}  // namespace fastreg::wire
