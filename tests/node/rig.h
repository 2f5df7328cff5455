// What the tests of this room share: a node's core and its store on a disk in memory, alone with a silent
// network, or in a mesh of real sockets.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/metrics.h"
#include "node/core.h"
#include "node/mesh.h"
#include "store/store.h"
#include "tests/support/memory_fs.h"
#include "tests/support/until.h"
#include "uv/loop.h"
#include "uv/loop_thread.h"
#include "wire/gossip.h"
#include "wire/handshake.h"

namespace fastreg::node::test {

using fastreg::test::until;

inline store::Options store_options(std::uint64_t seed) {
    store::Options options;
    options.dir = "/data";
    options.random = [rng = std::make_shared<Rng>(seed)](std::span<std::byte> out) {
        for (auto& byte : out) byte = static_cast<std::byte>(rng->next());
    };
    options.wall_ms = [now = std::make_shared<std::uint64_t>(1'000'000)] { return ++*now; };
    return options;
}

/// A disk in memory with an open store; every job runs inside the call that gives it.
struct Disk {
    explicit Disk(std::uint64_t seed) {
        log::set_level(log::Level::off);
        auto opened = store::Store::open(fs, executor, store_options(seed));
        if (!opened) FAIL(describe(opened.error()));
        store = std::move(*opened);
    }
    fastreg::test::MemoryFs fs;
    store::InlineExecutor executor;
    std::unique_ptr<store::Store> store;
};

/// A network that carries nothing and remembers what it was to carry; time stands until it is moved.
struct SilentNet : Net {
    [[nodiscard]] Instant now() const override { return time; }
    [[nodiscard]] std::uint64_t wall_ms() const override {
        return 1'700'000'000'000 + static_cast<std::uint64_t>(time.ns / 1'000'000);
    }
    void set_deadline(Instant at) override { deadline = at; }
    void send_control(NodeId to, const Endpoint& address, wire::Purpose, wire::Frame frame) override {
        sent_to.push_back(address);
        sent.emplace_back(to, std::move(frame));
    }
    void keep_links(std::vector<NodeId>) override {}
    void send_data(NodeId, const Endpoint&, wire::TransferMessage) override {}
    void fetch(Fetch) override {}
    void cancel_fetch(NodeId, RequestId) override {}
    void serve(Serve) override {}
    void cancel_serve(NodeId, RequestId) override {}
    void drop_data(NodeId, const std::string&) override {}

    Instant time{1'000'000'000};
    Instant deadline = Instant::never();
    std::vector<Endpoint> sent_to;
    std::vector<std::pair<NodeId, wire::Frame>> sent;
};

inline CoreOptions core_options(const std::string& name) {
    CoreOptions options;
    options.name = name;
    options.gossip = {"10.0.0.1", 7946};
    options.transfer = {"10.0.0.1", 7947};
    options.http = {"10.0.0.1", 5000};
    return options;
}

inline NodeId peer(unsigned n) {
    NodeId id;
    id.bytes[0] = static_cast<std::byte>(n);
    return id;
}

/// Peer n introduces itself in its nth run (`epoch`); `port` is where it takes chunk requests.
inline void meet(Core& core, unsigned n, BootEpoch epoch = 1, const std::string& host = "10.0.1.1",
                 std::uint16_t port = 7947) {
    wire::Join join;
    Member& self = join.self.subject;
    self.id = peer(n);
    self.boot_epoch = epoch;
    self.name = "peer" + std::to_string(n);
    self.gossip = {host, static_cast<std::uint16_t>(7000 + n)};
    self.transfer = {host, port};
    join.self.from = self.id;
    core.on_frame(self.id, wire::Purpose::gossip, wire::encode(wire::GossipMessage{join, {}}));
}

/// A mesh of one.
struct LoneNode {
    explicit LoneNode(const std::vector<Endpoint>& seeds = {}, std::uint64_t seed = 1)
        : disk(seed), core(net, *disk.store, core_options("lone"), Rng(seed)) {
        core.start(seeds);
    }
    void pass(Duration span) {
        const Instant end = net.time + span;
        while (net.deadline <= end) {
            net.time = std::max(net.time, net.deadline);
            net.deadline = Instant::never();
            core.on_deadline();
        }
        net.time = end;
    }
    Disk disk;
    SilentNet net;
    Core core;
};

/// A node without HTTP, on the sockets of this machine.
struct LiveNode {
    LiveNode(uv::Loop& loop, std::uint64_t seed, std::uint16_t gossip_port = 0,
             const std::vector<Endpoint>& seeds = {},
             std::string_view key = "a key of at least sixteen bytes")
        : disk(seed) {
        MeshOptions options;
        options.identity.node_id = disk.store->identity().node;
        options.identity.epoch = disk.store->identity().boot_epoch;
        options.identity.name = "node" + std::to_string(seed);
        options.identity.cluster = "test";
        options.identity.key = wire::link_key(key);
        options.identity.gossip = {"127.0.0.1", gossip_port};
        options.gossip_listen = {"127.0.0.1", gossip_port};
        options.transfer_listen = {"127.0.0.1", 0};
        options.io_threads = {&io};
        options.blocks = 8;
        mesh = std::make_unique<Mesh>(loop, std::move(options), metrics);
        if (const auto listening = mesh->listen(); !listening) FAIL(describe(listening.error()));
        CoreOptions wanted = core_options("node" + std::to_string(seed));
        wanted.gossip = mesh->gossip_address();
        wanted.transfer = mesh->transfer_address();
        wanted.meters = &meters;
        core = std::make_unique<Core>(*mesh, *disk.store, wanted, Rng(seed));
        mesh->attach(core.get());
        core->start(seeds);
    }
    ~LiveNode() {
        mesh->attach(nullptr);
        mesh->close();
    }
    LiveNode(const LiveNode&) = delete;
    LiveNode& operator=(const LiveNode&) = delete;

    [[nodiscard]] NodeId id() const { return disk.store->identity().node; }
    [[nodiscard]] Endpoint gossip() const { return mesh->gossip_address(); }
    [[nodiscard]] std::optional<MemberState> sees(NodeId other) const {
        const Member* member = core->gossip().find(other);
        return member == nullptr ? std::nullopt : std::optional(member->state);
    }

    Disk disk;
    Metrics metrics;
    Meters meters{metrics};
    uv::LoopThread io{"io-test"};
    std::unique_ptr<Mesh> mesh;
    std::unique_ptr<Core> core;
};

}  // namespace fastreg::node::test
