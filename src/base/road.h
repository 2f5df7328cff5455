// What carries a chunk between two nodes: for status, peers, metrics and logs. No protocol decides by it.
#pragma once

#include <cstdint>
#include <string_view>

namespace fastreg {

enum class Road : std::uint8_t { tcp, rdma };
[[nodiscard]] constexpr std::string_view name_of(Road road) { return road == Road::tcp ? "tcp" : "rdma"; }

}  // namespace fastreg
