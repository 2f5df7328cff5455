// The names of things inside the mesh, each a type of its own so that none is taken for another.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace fastreg {

/// 128 random bits, made once a data directory; 32 hex digits in print. All zero means "unknown".
struct NodeId {
    std::array<std::byte, 16> bytes{};

    auto operator<=>(const NodeId&) const = default;
    [[nodiscard]] bool known() const { return *this != NodeId{}; }
    [[nodiscard]] std::string str() const { return to_hex(bytes); }
    /// The first 8 hex digits, for log lines and tables.
    [[nodiscard]] std::string brief() const { return str().substr(0, 8); }
    [[nodiscard]] static std::optional<NodeId> parse(std::string_view text);
};

/// Grows on every start of a node; what an older epoch said is void.
using BootEpoch = std::uint64_t;

/// Pairs an answer with its question on one link. 0 means "none".
using RequestId = std::uint64_t;

/// Position of a chunk in its blob's grid, from 0.
using ChunkIndex = std::uint32_t;

}  // namespace fastreg

template <>
struct std::hash<fastreg::NodeId> {
    std::size_t operator()(const fastreg::NodeId& id) const noexcept {
        std::size_t value = 0;  // the bytes are random already
        std::memcpy(&value, id.bytes.data(), sizeof value);
        return value;
    }
};
