// What the stories of RDMA links share: nodes with the shipped engine, over the fake verbs and a clock that a
// test turns by hand (here), or over real devices (tests/rdma).
#pragma once

#include <unistd.h>

#include "support.h"
#include "transport/rdma/engine.h"
#include "transport/rdma/verbs_fake.h"

namespace fastreg::transport::rdma::test {

using namespace fastreg::transport::test;  // NOLINT(google-build-using-namespace)

inline std::shared_ptr<CollectingSink> sink() { return std::make_shared<CollectingSink>(); }

/// An engine on some verbs, and all that it told.
struct EngineNode : EngineOwner {
    EngineNode(std::unique_ptr<Verbs> on, unsigned number, const std::function<void(Engine::Options&)>& adjust)
        : id(node(number)), the_verbs(std::move(on)) {
        Engine::Options options;
        options.links.self = id;
        options.links.cluster_hash = 7;
        options.links.key = Mac{};
        options.landing_slots = 16;
        options.source_slots = 8;
        if (adjust) adjust(options);
        auto made = Engine::create(*the_verbs, options, *this, counters, [this] { slot_freed = true; });
        if (!made) FAIL(describe(made.error()));
        engine = std::move(*made);
    }

    void on_message(NodeId from, wire::TransferMessage message) override {
        if (const auto* get = std::get_if<wire::GetChunk>(&message)) {
            asked.emplace_back(from, *get);
            if (file != nullptr) engine->serve(now, {from, get->request, file, 0, file_bytes(*get), get->urgent});
        }
        messages.push_back(std::move(message));
    }
    void on_fetch_done(NodeId, RequestId request, FetchEnd end) override {
        CHECK_FALSE(done.contains(request));
        done[request] = end;
    }
    void on_progress(NodeId, RequestId request, std::uint64_t bytes) override {
        progress[request] += bytes;
        if (bytes == 0) ++pauses[request];
    }
    void on_served(NodeId, RequestId request, bool ok, std::uint64_t bytes) override {
        CHECK_FALSE(served.contains(request));
        served[request] = {ok, bytes};
        if (on_served_too) on_served_too();
    }
    void on_link_up(NodeId) override { ++ups; }
    void on_asker_gone(NodeId peer) override { askers_gone.push_back(peer); }
    void on_link_down(NodeId, const std::string& reason, bool was_orderly) override {
        ++downs;
        why = reason;
        orderly = was_orderly;
    }
    void read(std::size_t slot, std::shared_ptr<const FileRef> from, std::uint64_t offset,
              std::span<std::byte> into) override {
        reads.push_back([this, slot, from = std::move(from), offset, into] {
            const auto got = ::pread(from->fd(), into.data(), into.size(), static_cast<off_t>(offset));
            engine->on_read(now, slot, got == static_cast<ssize_t>(into.size()));
        });
    }
    static std::uint64_t file_bytes(const wire::GetChunk& get) { return ChunkGrid(get.size).size_of(get.chunk); }

    bool step() {
        bool moved = false;
        while (!reads.empty() && !reads_held) {
            const auto job = std::move(reads.front());
            reads.erase(reads.begin());
            job();
            moved = true;
        }
        while (engine->on_cm_events(now)) moved = true;
        for (DeviceIndex i = 0; i < the_verbs->devices().size(); ++i) {
            while (engine->on_completions(now, i)) moved = true;
        }
        if (std::exchange(slot_freed, false)) engine->on_slot_freed(now);
        return moved;
    }
    FetchOrder order(const EngineNode& from, RequestId request, std::shared_ptr<ChunkSink> sink,
                     std::uint64_t blob = kBigBlob, ChunkIndex chunk = 0) const {
        FetchOrder made;
        made.from = from.id;
        made.request = request;
        made.digest = some_digest();
        made.blob_size = blob;
        made.chunk = chunk;
        made.sink = std::move(sink);
        return made;
    }

    NodeId id;
    Endpoint address;
    Instant now{1'000'000'000};
    Counters counters;
    std::unique_ptr<Verbs> the_verbs;
    std::function<void()> on_served_too;
    std::shared_ptr<const FileRef> file;  // served at once to whoever asks
    bool reads_held = false;
    bool slot_freed = false;
    std::vector<std::function<void()>> reads;
    std::vector<std::pair<NodeId, wire::GetChunk>> asked;
    std::vector<wire::TransferMessage> messages;
    std::map<RequestId, FetchEnd> done;
    std::map<RequestId, std::uint64_t> progress;
    std::map<RequestId, int> pauses;  // progress of nothing, because this node has no slot
    std::vector<NodeId> askers_gone;
    std::map<RequestId, std::pair<bool, std::uint64_t>> served;
    int ups = 0;
    int downs = 0;
    bool orderly = false;
    std::string why;
    std::unique_ptr<Engine> engine;  // the last: it tells of its end
};

struct RdmaNode final : EngineNode {
    RdmaNode(FakeFabric& fabric, unsigned number, const std::function<void(Engine::Options&)>& adjust = {},
             LinkLayer layer = LinkLayer::roce)
        : EngineNode(std::make_unique<FakeVerbs>(fabric, layer), number, adjust),
          verbs(static_cast<FakeVerbs&>(*the_verbs)) {
        address = {"10.0.0." + std::to_string(number), 9999};
        REQUIRE(engine->listen(address));
    }
    FakeVerbs& verbs;
};

/// Some nodes and the wire between them.
struct RdmaWorld {
    RdmaNode& add(unsigned number, const std::function<void(Engine::Options&)>& adjust = {},
                  LinkLayer layer = LinkLayer::roce) {
        return *nodes.emplace_back(std::make_unique<RdmaNode>(fabric, number, adjust, layer));
    }
    /// Until nothing moves any more.
    void pump() {
        for (int quiet = 0; quiet < 2;) {
            bool moved = fabric.run();
            for (auto& each : nodes) moved = (each && each->step()) || moved;
            moved = fabric.run() || moved;
            quiet = moved ? 0 : quiet + 1;
        }
    }
    /// Lets time pass in steps of 50 ms.
    void pass(Duration span) {
        const Duration step = 50ms;
        for (Duration done{}; done < span; done += step) {
            for (auto& each : nodes) {
                if (!each) continue;
                each->now = each->now + step;
                each->engine->on_deadline(each->now);
            }
            pump();
        }
    }
    void connect(RdmaNode& from, const RdmaNode& to) {
        from.engine->connect(from.now, to.id, to.address);
        pump();
    }
    void lose(RdmaNode& which) {
        for (auto& each : nodes) {
            if (each.get() == &which) each.reset();
        }
    }

    FakeFabric fabric;
    std::vector<std::unique_ptr<RdmaNode>> nodes;
};

/// A asks B, which serves pattern(kBigChunk).
struct Pair : RdmaWorld {
    explicit Pair(const std::function<void(Engine::Options&)>& adjust = {}, LinkLayer layer = LinkLayer::roce)
        : a(add(1, adjust, layer)), b(add(2, adjust, layer)) {
        b.file = std::make_shared<MemoryFile>(pattern(kBigChunk));
        connect(a, b);
        REQUIRE(a.ups == 1);
    }
    RdmaNode& a;
    RdmaNode& b;
};

}  // namespace fastreg::transport::rdma::test
