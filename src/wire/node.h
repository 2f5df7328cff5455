// Messages between two nodes about keeping copies of pushed blobs (docs/PROTOCOL.md, "Homes"). Frame
// types 0x60..0x6f. Hostile input expected. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <variant>

#include "base/digest.h"
#include "base/ids.h"
#include "base/result.h"
#include "wire/frame.h"

namespace fastreg::wire {

inline constexpr std::size_t kHomeTextMax = 512;

/// "Become a home of this blob": fetch it from the mesh, make it durable, then say so.
struct HomeRequest {
    RequestId request = 0;
    Digest digest;
    std::uint64_t size = 0;
    bool operator==(const HomeRequest&) const = default;
};

/// The answer, once the copy is durable or cannot be had.
struct HomeReply {
    RequestId request = 0;
    bool kept = false;
    std::string text;  // why not, for people
    bool leaving = false;  // it hands off what it keeps, and is nobody's home any more
    bool operator==(const HomeReply&) const = default;
};

using NodeMessage = std::variant<HomeRequest, HomeReply>;

/// The request id travels in the frame's header.
[[nodiscard]] Frame encode(const NodeMessage& message);
/// Errc::unsupported for a frame type this version does not know, Errc::protocol for a malformed one.
[[nodiscard]] Result<NodeMessage> decode_node(const Frame& frame);

}  // namespace fastreg::wire
