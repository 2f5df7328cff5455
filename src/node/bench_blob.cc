#include "node/bench_blob.h"

#include <sys/resource.h>

#include "base/hash.h"
#include "base/pattern.h"

namespace fastreg::node {

const Digest& bench_digest() {
    static const Digest digest = digest_of(HashAlg::sha256, as_bytes("fastreg bench 1\n"));
    return digest;
}

std::optional<std::uint64_t> bench_chunk_of(std::uint64_t blob_size) {
    const std::uint64_t chunk = ChunkGrid(blob_size).size_of(0);
    if (!is_bench_chunk(chunk) || bench_blob_size(chunk) != blob_size) return std::nullopt;
    return chunk;
}

const Bytes& bench_pattern() {
    static const Bytes pattern = pattern_bytes(kChunkSizeMax);
    return pattern;
}

Bytes make_bench_report(Duration cpu) {
    Bytes report(kBenchReportSize);
    auto left = static_cast<std::uint64_t>(cpu.count());
    for (std::size_t i = 0; i < sizeof left; ++i, left >>= 8U) report[i] = static_cast<std::byte>(left & 0xffU);
    return report;
}

Result<Duration> read_bench_report(ByteView report) {
    if (report.size() != kBenchReportSize) return fail(Errc::protocol, "the peer's report of its CPU time is cut");
    std::uint64_t ns = 0;
    for (std::size_t i = sizeof ns; i > 0; --i) ns = ns << 8U | std::to_integer<std::uint64_t>(report[i - 1]);
    if (ns > static_cast<std::uint64_t>(Duration::max().count())) {
        return fail(Errc::protocol, "the peer's report of its CPU time makes no sense");
    }
    return Duration(static_cast<std::int64_t>(ns));
}

Duration process_cpu_time() {
    rusage usage{};
    (void)::getrusage(RUSAGE_SELF, &usage);
    const auto of = [](const timeval& t) {
        return std::chrono::seconds(t.tv_sec) + std::chrono::microseconds(t.tv_usec);
    };
    return of(usage.ru_utime) + of(usage.ru_stime);
}

}  // namespace fastreg::node
