// What the tests of this room share: a recorder of events, files and sinks in memory, a loop that runs
// until something holds.
#pragma once

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "tests/support/until.h"
#include "transport/data.h"
#include "transport/identity.h"
#include "uv/loop.h"
#include "uv/socket.h"
#include "wire/handshake.h"

namespace fastreg::transport::test {

using fastreg::test::until;

inline NodeId node(unsigned number) {
    NodeId id;
    id.bytes[0] = static_cast<std::byte>(number);
    id.bytes[15] = std::byte{1};
    return id;
}

inline Identity identity(unsigned number) {
    Identity who;
    who.node_id = node(number);
    who.epoch = 1;
    who.name = "node" + std::to_string(number);
    who.cluster = "test";
    who.key = wire::link_key("a key of at least sixteen bytes");
    return who;
}

/// Runs `loop` for a while: to see that something does not happen.
inline void idle(uv::Loop& loop, Duration span) {
    const Instant end = loop.now() + span;
    (void)until(loop, [&] { return loop.now() >= end; }, span + 1s);
}

inline std::size_t open_fds() {
    const std::filesystem::directory_iterator all("/proc/self/fd");
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

inline Bytes pattern(std::size_t size, unsigned seed = 1) {
    Bytes bytes(size);
    std::uint32_t x = seed * 2654435761U + 1;
    for (auto& byte : bytes) {
        x = x * 1664525U + 1013904223U;
        byte = static_cast<std::byte>(x >> 24U);
    }
    return bytes;
}

class MemoryFile final : public FileRef {
  public:
    explicit MemoryFile(const Bytes& content) : fd_(::memfd_create("chunk", MFD_CLOEXEC)) {
        REQUIRE(::write(fd_.get(), content.data(), content.size()) ==
                static_cast<ssize_t>(content.size()));
    }
    [[nodiscard]] int fd() const override { return fd_.get(); }

  private:
    uv::Fd fd_;
};

/// Collects a chunk; may hold its blocks instead of giving them back.
class CollectingSink final : public ChunkSink {
  public:
    explicit CollectingSink(bool hold = false) : hold_(hold) {}
    void on_block(std::uint64_t offset, Block block, std::optional<Xxh128>) override {
        const std::lock_guard lock(mutex_);
        in_order_ = in_order_ && offset == bytes_.size();
        bytes_.insert(bytes_.end(), block.filled().begin(), block.filled().end());
        ++calls_;
        if (hold_) held_.push_back(std::move(block));
    }
    [[nodiscard]] Bytes bytes() const {
        const std::lock_guard lock(mutex_);
        return bytes_;
    }
    [[nodiscard]] std::size_t size() const {
        const std::lock_guard lock(mutex_);
        return bytes_.size();
    }
    [[nodiscard]] int calls() const {
        const std::lock_guard lock(mutex_);
        return calls_;
    }
    [[nodiscard]] bool in_order() const {
        const std::lock_guard lock(mutex_);
        return in_order_;
    }
    void let_go() {
        std::vector<Block> held;
        const std::lock_guard lock(mutex_);
        hold_ = false;
        held.swap(held_);
    }

  private:
    mutable std::mutex mutex_;
    bool hold_;
    bool in_order_ = true;
    int calls_ = 0;
    Bytes bytes_;
    std::vector<Block> held_;
};

class Recorder final : public DataHandler {
  public:
    void on_message(NodeId from, wire::TransferMessage message) override {
        if (const auto* get = std::get_if<wire::GetChunk>(&message)) {
            asked.push_back(*get);
            if (on_get) on_get(from, *get);
        }
        messages.push_back(std::move(message));
    }
    void on_fetch_done(NodeId, RequestId request, FetchEnd end) override {
        CHECK_FALSE(done.contains(request));
        done[request] = end;
    }
    void on_progress(NodeId, RequestId request, std::uint64_t bytes) override {
        progress[request] += bytes;
    }
    void on_served(NodeId, RequestId request, bool ok, std::uint64_t bytes) override {
        CHECK_FALSE(served.contains(request));
        served[request] = {ok, bytes};
    }
    void on_link_up(NodeId) override { ++ups; }
    void on_link_down(NodeId, const std::string& reason) override {
        ++downs;
        why = reason;
    }
    [[nodiscard]] bool ended(RequestId request, FetchEnd end) const {
        const auto found = done.find(request);
        return found != done.end() && found->second == end;
    }

    std::function<void(NodeId, const wire::GetChunk&)> on_get;
    std::vector<wire::GetChunk> asked;
    std::vector<wire::TransferMessage> messages;
    std::map<RequestId, FetchEnd> done;
    std::map<RequestId, std::uint64_t> progress;
    std::map<RequestId, std::pair<bool, std::uint64_t>> served;
    int ups = 0;
    int downs = 0;
    std::string why;
};

/// A blob whose chunks are 4 MiB, so that one takes 16 pieces.
inline constexpr std::uint64_t kBigBlob = 8ULL << 30U;
inline constexpr std::uint64_t kBigChunk = 4ULL << 20U;

inline Digest some_digest() { return digest_of(HashAlg::sha256, as_bytes("blob")); }

}  // namespace fastreg::transport::test
