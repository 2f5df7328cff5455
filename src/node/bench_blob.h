// What `fastreg bench` moves: chunks of blobs that nobody stores, under one reserved digest, and a report of
// the CPU time that the answering process has used (docs/PROTOCOL.md, "Bench"). Pure; any thread.
#pragma once

#include <bit>
#include <cstdint>

#include "base/bytes.h"
#include "base/digest.h"
#include "base/grid.h"
#include "base/instant.h"
#include "base/result.h"

namespace fastreg::node {

inline constexpr std::uint64_t kBenchChunkMin = 64ULL << 10U;
/// Requests of one measurement that are open at once.
inline constexpr std::uint64_t kBenchDepthMax = 32;
/// Of the blob whose one chunk is the report.
inline constexpr std::uint64_t kBenchReportSize = 64;

/// Of the text "fastreg bench 1\n", which is no answer to it: its size is none of the sizes below.
[[nodiscard]] const Digest& bench_digest();

/// A power of two from 64 KiB to 4 MiB.
[[nodiscard]] constexpr bool is_bench_chunk(std::uint64_t bytes) {
    return std::has_single_bit(bytes) && bytes >= kBenchChunkMin && bytes <= kChunkSizeMax;
}
/// Of the blob whose first chunk has so many bytes: the grid is a function of the blob's size alone.
[[nodiscard]] constexpr std::uint64_t bench_blob_size(std::uint64_t chunk_bytes) {
    return chunk_bytes <= kChunkSizeMin ? chunk_bytes : chunk_bytes * 1024;
}
/// The chunk of the first place that is asked for by that size; nothing for a size that is none of these.
[[nodiscard]] std::optional<std::uint64_t> bench_chunk_of(std::uint64_t blob_size);

/// kChunkSizeMax bytes; every bench chunk is the beginning of them.
[[nodiscard]] const Bytes& bench_pattern();

[[nodiscard]] Bytes make_bench_report(Duration cpu);
[[nodiscard]] Result<Duration> read_bench_report(ByteView report);

/// User and system time of this process so far. What the kernel does in interrupts is not in it.
[[nodiscard]] Duration process_cpu_time();

}  // namespace fastreg::node
