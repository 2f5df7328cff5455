// Numbers as people read them; see also human_bytes in base/bytes.h. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace fastreg::cli {

/// "12s", "4m 10s", "3h 5m", "9d 4h": the two largest units.
[[nodiscard]] std::string human_span(std::uint64_t seconds);
/// "0.4 ms", "12 ms", "1.2 s".
[[nodiscard]] std::string human_millis(double millis);
/// "42 %", "0.3 %"; "-" of nothing.
[[nodiscard]] std::string human_share(std::uint64_t part, std::uint64_t whole);
/// "1 blob", "3 blobs", "12,345 blobs".
[[nodiscard]] std::string counted(std::uint64_t count, std::string_view noun);
/// "12,345".
[[nodiscard]] std::string grouped(std::uint64_t count);

/// Which of `chunks` chunks are there, in at most `columns` characters: # all of its part, + some, . none. `map` is one
/// bit a chunk in hexadecimal, the first in the lowest bit of the first byte; empty when it is no such thing.
[[nodiscard]] std::string chunk_line(std::string_view map, std::uint64_t chunks, std::size_t columns);

}  // namespace fastreg::cli
