#include "transport/rdma/self_test.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <memory>
#include <optional>

#include "base/pattern.h"
#include "transport/rdma/transport.h"
#include "uv/loop.h"
#include "uv/socket.h"
#include "uv/timer.h"

namespace fastreg::transport::rdma {
namespace {

constexpr std::uint64_t kBlob = kChunkSizeMax * 1024;  // whose chunks are of the largest size; one is asked for
constexpr RequestId kRequest = 1;

class PatternFile final : public FileRef {
  public:
    explicit PatternFile(uv::Fd fd) : fd_(std::move(fd)) {}
    [[nodiscard]] static Result<std::shared_ptr<PatternFile>> make(ByteView content) {
        uv::Fd fd(::memfd_create("fastreg-self-test", MFD_CLOEXEC));
        if (!fd || ::write(fd.get(), content.data(), content.size()) != static_cast<ssize_t>(content.size())) {
            return fail(Errc::no_space, "making " + human_bytes(content.size()) + " to send", errno);
        }
        return std::make_shared<PatternFile>(std::move(fd));
    }
    [[nodiscard]] int fd() const override { return fd_.get(); }

  private:
    uv::Fd fd_;
};

/// Counts the bytes that are what was sent. Called on the rdma thread, read behind the end of the fetch.
class ComparingSink final : public ChunkSink {
  public:
    explicit ComparingSink(const Bytes& sent) : sent_(sent) {}
    void on_block(std::uint64_t offset, Block block, std::optional<Xxh128>) override {
        const auto got = block.filled();
        if (offset > sent_.size() || got.size() > sent_.size() - offset) return;
        if (std::ranges::equal(got, ByteView(sent_).subspan(offset, got.size()))) same_ += got.size();
    }
    [[nodiscard]] std::uint64_t same() const { return same_; }

  private:
    const Bytes& sent_;
    std::atomic<std::uint64_t> same_{0};
};

/// One of the two ends; tells the test what became of its link and its chunk.
struct End final : RdmaEvents {
    std::function<void(const wire::GetChunk&)> on_asked;
    std::function<void()> on_up;
    std::optional<FetchEnd> ended;
    std::optional<std::string> down;
    std::unique_ptr<RdmaTransport> transport;  // the last: it tells of its end
    NodeId id;

    void on_message(NodeId, wire::TransferMessage message) override {
        const auto* get = std::get_if<wire::GetChunk>(&message);
        if (get != nullptr && on_asked) on_asked(*get);
    }
    void on_fetch_done(NodeId, RequestId, FetchEnd end) override { ended = end; }
    void on_progress(NodeId, RequestId, std::uint64_t) override {}
    void on_served(NodeId, RequestId, bool, std::uint64_t) override {}
    void on_link_up(NodeId) override {
        if (on_up) on_up();
    }
    void on_link_down(NodeId, const std::string& why, bool) override { down = why; }
};

Status open_end(End& end, uv::Loop& loop, const SelfTest& test, const Mac& key) {
    secret_random(end.id.bytes);
    RdmaTransport::Options options;
    options.listen = {test.address, 0};
    options.ack_timeout = test.ack_timeout;
    options.tos = test.tos;
    options.landing_slots_min = 1;
    options.engine.landing_slots = 1;
    options.engine.source_slots = 1;
    options.engine.links.self = end.id;
    options.engine.links.key = key;  // of this test alone: a stranger who connects meanwhile is turned away
    options.engine.links.connect_timeout = test.patience;
    options.engine.links.request_timeout = test.patience;
    FR_TRY_ASSIGN(end.transport, RdmaTransport::open(loop, options, end));
    return {};
}

}  // namespace

Result<SelfTested> run_self_test(const SelfTest& test) {
    const Bytes sent = pattern_bytes(kChunkSizeMax);
    FR_TRY_ASSIGN(const auto file, PatternFile::make(sent));
    const auto sink = std::make_shared<ComparingSink>(sent);
    Mac key{};
    secret_random(key);

    uv::Loop loop;
    bool late = false;
    End asks;
    End answers;
    FR_TRY(open_end(asks, loop, test, key));
    FR_TRY(open_end(answers, loop, test, key));
    uv::Timer timer(loop, [&] { late = true; });
    timer.set(test.patience);
    const Instant begin = loop.now();
    Instant up = begin;
    answers.on_asked = [&](const wire::GetChunk& get) {
        answers.transport->serve({asks.id, get.request, file, 0, sent.size(), get.urgent});
    };
    asks.on_up = [&] {
        up = loop.now();
        FetchOrder order;
        order.from = answers.id;
        order.request = kRequest;
        order.blob_size = kBlob;
        order.sink = sink;
        asks.transport->fetch(std::move(order));
    };
    asks.transport->connect(answers.id, answers.transport->advertised());
    while (!late && !asks.ended && !asks.down) loop.run_once(true);
    const Instant end = loop.now();

    const bool moved = asks.ended == FetchEnd::all_sent_to_sink;
    if (moved && sink->same() == sent.size()) return SelfTested{sent.size(), up - begin, end - up};
    if (moved) return fail(Errc::corrupt, "a chunk of 4 MiB arrived with other bytes than were sent");
    const std::string when = up == begin ? "connecting to itself" : "asking itself for a chunk of 4 MiB";
    if (asks.down) return fail(Errc::network, when + ": " + *asks.down);
    if (asks.ended) return fail(Errc::network, when + ": " + std::string(name_of(*asks.ended)));
    return fail(Errc::timeout, when + ": no end within " + std::to_string(millis_of(test.patience) / 1000) + " s");
}

}  // namespace fastreg::transport::rdma
