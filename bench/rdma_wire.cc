// The wire alone, for bench/rdma: one node asks another for the same chunk over and over through the shipped
// RDMA transport - source in its registered slot, nothing stored, nothing hashed, the slot free again at once.
//   rdma_wire serve ADDRESS SIZE                        prints its port; answers until it is killed
//   rdma_wire pull ADDRESS PORT SIZE DEPTH SECONDS      prints {"bytes": ..., "seconds": ..., "all_bytes": ...}
// Every byte of every chunk is compared while it is measured.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "base/hash.h"
#include "base/pattern.h"
#include "transport/rdma/transport.h"
#include "uv/loop.h"
#include "uv/timer.h"

namespace fastreg::transport {
namespace {

/// A blob whose chunks have this size; both ends make it up.
constexpr std::uint64_t kChunksOfBlob = 1024;
constexpr RequestId kRequests = 1;

Digest the_digest() { return digest_of(HashAlg::sha256, as_bytes("bench")); }

NodeId node(unsigned number) {
    NodeId id;
    id.bytes.fill(static_cast<std::byte>(number));
    return id;
}

class Memory final : public FileRef {
  public:
    explicit Memory(const Bytes& content) : fd_(::memfd_create("chunk", MFD_CLOEXEC)) {
        FR_ASSERT(::write(fd_, content.data(), content.size()) == static_cast<ssize_t>(content.size()));
    }
    ~Memory() override { ::close(fd_); }
    [[nodiscard]] int fd() const override { return fd_; }

  private:
    int fd_;
};

RdmaTransport::Options options_of(unsigned self, const char* address, std::size_t depth) {
    RdmaTransport::Options options;
    options.listen = {address, 0};
    options.ack_timeout = 18;
    options.engine.landing_slots = 32;  // of which one peer gets a quarter
    options.engine.source_slots = 8;
    options.engine.links.self = node(self);
    options.engine.links.slots_per_peer = depth;
    options.engine.links.connect_timeout = 20s;
    options.engine.links.request_timeout = 20s;
    return options;
}

struct Server final : rdma::RdmaEvents {
    explicit Server(std::uint64_t size) : bytes(size), file(std::make_shared<Memory>(pattern_bytes(size))) {}
    void on_message(NodeId from, wire::TransferMessage message) override {
        if (const auto* get = std::get_if<wire::GetChunk>(&message)) {
            transport->serve({from, get->request, file, 0, bytes, false});
        }
    }
    void on_fetch_done(NodeId, RequestId, FetchEnd) override {}
    void on_progress(NodeId, RequestId, std::uint64_t) override {}
    void on_served(NodeId, RequestId, bool, std::uint64_t) override {}
    void on_link_up(NodeId) override {}
    void on_link_down(NodeId, const std::string&, bool) override {}

    std::uint64_t bytes;
    std::shared_ptr<const FileRef> file;
    RdmaTransport* transport = nullptr;
};

/// Compares the whole chunk.
class Comparing final : public ChunkSink {
  public:
    explicit Comparing(const Bytes& wanted) : wanted_(wanted) {}
    void on_block(std::uint64_t, Block block, std::optional<Xxh128>) override {
        // Not std::ranges::equal: over std::byte it goes byte by byte.
        const auto got = block.filled();
        FR_ASSERT(got.size() == wanted_.size() && std::memcmp(got.data(), wanted_.data(), got.size()) == 0);
    }

  private:
    const Bytes& wanted_;
};

struct Client final : rdma::RdmaEvents {
    Client(uv::Loop& on, std::uint64_t chunk, std::size_t at_once)
        : loop(on), size(chunk), depth(at_once), wanted(pattern_bytes(chunk)) {}
    void on_message(NodeId, wire::TransferMessage) override {}
    void on_fetch_done(NodeId, RequestId, FetchEnd end) override {
        if (end != FetchEnd::all_sent_to_sink) {
            const std::string_view name = name_of(end);
            std::fprintf(stderr, "a chunk ended with %.*s\n", static_cast<int>(name.size()), name.data());
            std::exit(1);
        }
        bytes += size;
        --open;
        go_on();
    }
    void on_progress(NodeId, RequestId, std::uint64_t) override {}
    void on_served(NodeId, RequestId, bool, std::uint64_t) override {}
    void on_link_up(NodeId) override {
        started = loop.now();
        go_on();
    }
    void on_link_down(NodeId, const std::string& why, bool) override {
        std::fprintf(stderr, "no link: %s\n", why.c_str());
        std::exit(1);
    }
    void go_on() {
        while (!ending && open < depth) ask();
        if (ending && open == 0) loop.stop();
    }
    void ask() {
        FetchOrder order;
        order.from = node(1);
        order.request = ++requests;
        order.digest = the_digest();
        order.blob_size = size * kChunksOfBlob;
        order.sink = comparing;
        ++open;
        transport->fetch(std::move(order));
    }

    uv::Loop& loop;
    std::uint64_t size;
    std::size_t depth;
    Bytes wanted;
    std::shared_ptr<ChunkSink> comparing = std::make_shared<Comparing>(wanted);
    RdmaTransport* transport = nullptr;
    Instant started;
    RequestId requests = kRequests;
    std::size_t open = 0;
    std::uint64_t bytes = 0;
    bool ending = false;
};

int serve(const char* address, std::uint64_t size) {
    uv::Loop loop;
    Server server(size);
    auto opened = RdmaTransport::open(loop, options_of(1, address, 16), server);
    if (!opened) {
        std::fprintf(stderr, "%s\n", describe(opened.error()).c_str());
        return 1;
    }
    server.transport = opened->get();
    std::printf("%u\n", (*opened)->advertised().port);
    std::fflush(stdout);
    loop.run();
    return 0;
}

int pull(const char* address, std::uint16_t port, std::uint64_t size, std::size_t depth, int seconds) {
    uv::Loop loop;
    Client client(loop, size, depth);
    auto opened = RdmaTransport::open(loop, options_of(2, address, depth), client);
    if (!opened) {
        std::fprintf(stderr, "%s\n", describe(opened.error()).c_str());
        return 1;
    }
    client.transport = opened->get();
    double took = 0;
    std::uint64_t moved = 0;
    uv::Timer end(loop, [&] {
        client.ending = true;
        moved = client.bytes;
        took = seconds_of(loop.now() - client.started);
    });
    client.transport->connect(node(1), {address, port});
    end.set(Duration(std::chrono::seconds(seconds)));
    loop.run();
    std::printf("{\"bytes\": %llu, \"seconds\": %.6f, \"all_bytes\": %llu}\n",
                static_cast<unsigned long long>(moved), took, static_cast<unsigned long long>(client.bytes));
    return 0;
}

}  // namespace
}  // namespace fastreg::transport

int main(int count, char** words) {
    using namespace fastreg::transport;
    const auto number = [&](int i) { return std::strtoull(words[i], nullptr, 10); };
    if (count == 4 && std::strcmp(words[1], "serve") == 0) return serve(words[2], number(3));
    if (count == 7 && std::strcmp(words[1], "pull") == 0) {
        return pull(words[2], static_cast<std::uint16_t>(number(3)), number(4), number(5), static_cast<int>(number(6)));
    }
    std::fprintf(stderr, "usage: rdma_wire serve ADDRESS SIZE | pull ADDRESS PORT SIZE DEPTH SECONDS\n");
    return 2;
}
