#include "node/bench_server.h"

#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "node/bench_blob.h"
#include "uv/socket.h"

namespace fastreg::node {
namespace {

class BenchFile final : public transport::FileRef {
  public:
    explicit BenchFile(uv::Fd fd) : fd_(std::move(fd)) {}
    /// Null where there is no memory or descriptor for it.
    [[nodiscard]] static std::shared_ptr<BenchFile> holding(ByteView content) {
        uv::Fd fd(::memfd_create("fastreg-bench", MFD_CLOEXEC));
        if (!fd || ::write(fd.get(), content.data(), content.size()) != static_cast<ssize_t>(content.size())) return {};
        return std::make_shared<BenchFile>(std::move(fd));
    }
    [[nodiscard]] int fd() const override { return fd_.get(); }

  private:
    uv::Fd fd_;
};

}  // namespace

bool BenchServer::takes(Instant now, NodeId from) {
    if (open_.size() >= kServesMax) return false;
    const bool quiet = open_.empty() && now - last_ >= kQuiet;
    if (!member_.known() || quiet) {
        member_ = from;
        since_ = now;
        log::info("bench.serving", {{"to", from.brief()}});
    }
    if (member_ != from || now - since_ >= kLongest) return false;
    last_ = now;
    return true;
}

bool BenchServer::on_served(NodeId to, RequestId request) {
    const auto found = open_.find({to, request});
    if (found == open_.end()) return false;
    open_.erase(found);
    return true;
}

bool BenchServer::on_message(Instant now,
                             NodeId from,
                             const wire::TransferMessage& message,
                             transport::DataTransport& transport) {
    const auto* get = std::get_if<wire::GetChunk>(&message);
    if (get == nullptr || get->digest != bench_digest() || get->chunk != 0) return false;
    const auto chunk = bench_chunk_of(get->size);
    const bool report = get->size == kBenchReportSize;
    if (!chunk && !report) return false;  // the text that has this digest is a blob like any other
    std::shared_ptr<const transport::FileRef> file;
    if (takes(now, from)) {
        if (chunk && !chunk_) chunk_ = BenchFile::holding(bench_pattern());
        file = report ? BenchFile::holding(make_bench_report(process_cpu_time())) : chunk_;
    }
    if (!file) {
        transport.send(from, {}, wire::Busy{get->request, get->digest, {}});
        return true;
    }
    open_.emplace(from, get->request);
    transport.serve({from, get->request, std::move(file), 0, chunk.value_or(kBenchReportSize), get->urgent});
    return true;
}

}  // namespace fastreg::node
