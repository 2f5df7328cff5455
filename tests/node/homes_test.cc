// Stories of the copies of a pushed blob: who is asked to keep one, and when another takes its place.
#include "node/homes.h"

#include <algorithm>

#include "tests/node/rig.h"
#include "wire/node.h"

using namespace fastreg;
using namespace fastreg::node;
using namespace fastreg::node::test;

namespace {

Digest put_layer(store::Store& store, std::string_view text = "a layer") {
    const ByteView bytes = as_bytes(text);
    const Digest digest = digest_of(HashAlg::sha256, bytes);
    store.put_small(digest, Bytes(bytes.begin(), bytes.end()), true, store::Durability::durable,
                    [](const Status& status) { REQUIRE(status); });
    return digest;
}

/// Those who were asked to keep the blob since the last call; `request` is the latest.
std::set<NodeId> asked_to_keep(SilentNet& net, const Digest& digest, RequestId& request) {
    std::set<NodeId> nodes;
    for (auto& [to, frame] : std::exchange(net.sent, {})) {
        const auto message = wire::decode_node(frame);
        const auto* ask = message ? std::get_if<wire::HomeRequest>(&*message) : nullptr;
        if (ask == nullptr || ask->digest != digest) continue;
        nodes.insert(to);
        request = ask->request;
    }
    return nodes;
}

/// A node with one pushed blob.
struct Pusher : LoneNode {
    Pusher() : digest(put_layer(*disk.store)) {}
    void push() { core.on_pushed(digest, 7); }
    std::set<NodeId> asked() { return asked_to_keep(net, digest, request); }
    std::size_t replies_to(NodeId id) {
        return static_cast<std::size_t>(std::ranges::count_if(net.sent, [&](const auto& sent) {
            const auto message = wire::decode_node(sent.second);
            return sent.first == id && message && std::holds_alternative<wire::HomeReply>(*message);
        }));
    }
    void kept_by(NodeId id) {
        core.on_frame(id, wire::Purpose::directory, wire::encode(wire::HomeReply{request, true, ""}));
    }
    [[nodiscard]] std::size_t under_replicated() { return core.homes().under_replicated(); }

    Digest digest;
    RequestId request = 0;
};

/// A node that pushed a blob with peer 2, and runs again: peers 2 and 3 answer while they are `here`, and say as owners
/// of the directory that peer 2 has a copy as soon as it is back.
struct Returned {
    Returned() : digest(put_layer(*disk.store)) {
        {
            Core before(net, *disk.store, core_options("lone"), Rng(1));
            before.start({});
            meet(before, 2);
            meet(before, 3);
            before.on_pushed(digest, 7);
            const auto first = asked_to_keep(net, digest, request);
            REQUIRE(first.size() == 1);
            before.on_frame(*first.begin(), wire::Purpose::directory,
                            wire::encode(wire::HomeReply{request, true, ""}));
            before.stop();
        }
        start();
    }
    void start() {
        core.reset();
        disk.store.reset();
        disk.store = std::move(*store::Store::open(disk.fs, disk.executor, store_options(1)));
        net.deadline = Instant::never();
        core = std::make_unique<Core>(net, *disk.store, core_options("lone"), Rng(2));
        core->start({});
        net.sent.clear();
    }
    void comes(unsigned n, BootEpoch epoch) {
        here.insert(peer(n));
        meet(*core, n, epoch);
    }
    /// Peer 3 passes on what peer n said last.
    void says(unsigned n, BootEpoch epoch, MemberState state) {
        here.erase(peer(n));
        wire::Claim claim;
        claim.subject.id = claim.from = peer(n);
        claim.subject.boot_epoch = epoch;
        claim.subject.incarnation = 1;
        claim.subject.state = state;
        claim.subject.name = "peer" + std::to_string(n);
        claim.subject.gossip = {"10.0.1.1", static_cast<std::uint16_t>(7000 + n)};
        claim.subject.transfer = {"10.0.1.1", 7947};
        core->on_frame(peer(3), wire::Purpose::gossip, wire::encode(wire::GossipMessage{wire::Updates{}, {claim}}));
    }
    void pass(Duration span) {
        const Instant end = net.time + span;
        while (net.deadline <= end) {
            net.time = std::max(net.time, net.deadline);
            net.deadline = Instant::never();
            core->on_deadline();
            for (const auto& [to, frame] : std::exchange(net.sent, {})) answer(to, frame);
        }
        net.time = end;
    }
    void answer(NodeId from, const wire::Frame& frame) {
        if (!here.contains(from)) return;
        if (const auto gossip = wire::decode_gossip(frame)) {
            const auto* ping = std::get_if<wire::Ping>(&gossip->body);
            if (ping == nullptr || ping->target != from) return;
            wire::GossipMessage ack{wire::Ack{ping->sequence}, {}};
            core->on_frame(from, wire::Purpose::gossip, wire::encode(ack));
        } else if (const auto directory = wire::decode_directory(frame)) {
            const auto* look = std::get_if<wire::Lookup>(&*directory);
            if (look == nullptr) return;
            wire::LookupReply reply{look->request, look->digest, false, 7, {{core_id(), wire::HolderKind::home}}};
            if (here.contains(peer(2))) reply.holders.push_back({peer(2), wire::HolderKind::home});
            core->on_frame(from, wire::Purpose::directory, wire::encode(wire::DirectoryMessage{reply}));
        } else if (const auto message = wire::decode_node(frame)) {
            const auto* ask = std::get_if<wire::HomeRequest>(&*message);
            if (ask == nullptr) return;
            asked.insert(from);
            asked_for.insert(ask->digest);
            ++asked_times;
            wire::HomeReply reply{ask->request, !refuses, refuses ? "full" : ""};
            core->on_frame(from, wire::Purpose::directory, wire::encode(reply));
        }
    }
    [[nodiscard]] NodeId core_id() const { return disk.store->identity().node; }

    Disk disk{1};
    SilentNet net;
    Digest digest;
    RequestId request = 0;
    std::unique_ptr<Core> core;
    std::set<NodeId> here;
    bool refuses = false;  // whoever is asked for a copy
    std::set<NodeId> asked;
    std::set<Digest> asked_for;
    std::size_t asked_times = 0;
};

}  // namespace

TEST_CASE("a node that starts while its other home is away for a moment has no further copy made") {
    // The directory does not name who stops; nothing would ever remove the copy too many.
    Returned node;
    node.comes(3, 1);
    node.says(2, 1, MemberState::stopping);
    node.pass(100s);
    CHECK(node.asked.empty());
    CHECK(node.core->homes().under_replicated() == 1);  // not looked over yet
    node.comes(2, 2);
    node.pass(20s);
    CHECK(node.asked.empty());
    CHECK(node.core->homes().under_replicated() == 0);
    node.pass(700s);
    CHECK(node.asked.empty());
}

TEST_CASE("a node that starts while its other home is away has a copy made when that one does not come back") {
    Returned node;
    node.comes(3, 1);
    node.says(2, 1, MemberState::stopping);
    node.pass(590s);
    CHECK(node.asked.empty());
    node.pass(20s);
    CHECK(node.asked == std::set{peer(3)});
}

TEST_CASE("a member that left is replaced at once, but not while another one is away for a moment") {
    Returned node;
    node.comes(3, 1);
    node.comes(2, 2);
    node.pass(20s);
    REQUIRE(node.core->homes().under_replicated() == 0);
    node.says(2, 2, MemberState::left);
    CHECK(node.core->homes().under_replicated() == 1);
    meet(*node.core, 4);
    node.says(4, 1, MemberState::stopping);
    node.pass(60s);
    CHECK(node.asked.empty());
    node.comes(4, 2);
    node.pass(10s);
    CHECK(node.asked.size() == 1);
}

TEST_CASE("the copy of a member that died is replaced when it does not come back") {
    Pusher node;
    meet(node.core, 2);
    node.push();
    REQUIRE(node.asked() == std::set{peer(2)});
    node.kept_by(peer(2));
    REQUIRE(node.under_replicated() == 0);
    node.pass(590s);  // it is silent from the start
    CHECK(node.under_replicated() == 0);
    node.pass(60s);
    CHECK(node.under_replicated() == 1);  // and nobody is there to take its place
    node.asked();
    for (BootEpoch epoch = 1; epoch < 8; ++epoch) {  // it answers no ping
        meet(node.core, 3, epoch);
        node.pass(1s);
    }
    CHECK(node.asked() == std::set{peer(3)});
    node.kept_by(peer(3));
    CHECK(node.under_replicated() == 0);
}

TEST_CASE("the copy of a member that died and came back is not replaced") {
    Pusher node;
    meet(node.core, 2);
    node.push();
    REQUIRE(node.asked() == std::set{peer(2)});
    node.kept_by(peer(2));
    node.pass(300s);
    meet(node.core, 2, 2);
    node.pass(301s);
    CHECK(node.under_replicated() == 0);
}

TEST_CASE("a push with too few copies is not forgotten over a restart") {
    // The node would say that all is well, and nobody would ever make the second copy.
    Disk disk(1);
    SilentNet net;
    const Digest digest = put_layer(*disk.store);
    {
        Core core(net, *disk.store, core_options("lone"), Rng(1));
        core.start({});
        core.on_pushed(digest, 7);
        REQUIRE(core.homes().under_replicated() == 1);
    }
    disk.store.reset();
    disk.store = std::move(*store::Store::open(disk.fs, disk.executor, store_options(1)));
    Core core(net, *disk.store, core_options("lone"), Rng(1));
    core.start({});
    CHECK(core.homes().under_replicated() == 1);
    const auto pass = [&](int seconds) {
        for (int i = 0; i < 10 * seconds; ++i) {
            net.time = net.time + 100ms;
            core.on_deadline();
        }
    };
    pass(20);
    CHECK(core.homes().under_replicated() == 1);
    RequestId request = 0;
    for (BootEpoch epoch = 1; epoch < 8; ++epoch) {  // it answers no ping
        meet(core, 2, epoch);
        pass(1);
    }
    CHECK(asked_to_keep(net, digest, request) == std::set{peer(2)});
    core.on_frame(peer(2), wire::Purpose::directory, wire::encode(wire::HomeReply{request, true, ""}));
    CHECK(core.homes().under_replicated() == 0);
}

TEST_CASE("blobs whose copies everybody refuses do not keep others from being looked over") {
    // A member whose disk is full refuses each; 16 blobs would hold all places, and come first again and again.
    Returned node;
    std::set<Digest> all{node.digest};
    for (int n = 0; n < 40; ++n) all.insert(put_layer(*node.disk.store, "layer " + std::to_string(n)));
    for (const Digest& digest : all) {
        node.disk.store->set_home(digest, 7, true, [](const Status& status) { REQUIRE(status); });
    }
    node.refuses = true;
    node.start();
    node.comes(3, 1);
    node.pass(200s);
    CHECK(node.asked_for == all);
    CHECK(node.asked_times == all.size());  // each is tried again, but not for 10 minutes
    CHECK(node.core->homes().under_replicated() == all.size());
    node.refuses = false;
    node.pass(700s);
    CHECK(node.core->homes().under_replicated() == 0);
}

TEST_CASE("a home that lost its file counts as one copy less until it has it again") {
    // There is one copy, and who watches the number would be told that all is well.
    Returned node;
    node.core.reset();
    node.disk.store.reset();
    const std::string hex = node.digest.hex();
    REQUIRE(node.disk.fs.unlink("/data/blobs/sha256/" + hex.substr(0, 2) + "/" + hex));
    node.start();
    node.comes(3, 1);
    node.comes(2, 2);
    node.pass(60s);
    CHECK(node.core->homes().under_replicated() == 1);
    put_layer(*node.disk.store);
    node.core->downloads().came_whole(node.digest);
    CHECK(node.core->homes().under_replicated() == 1);
    node.pass(60s);
    CHECK(node.core->homes().under_replicated() == 0);
}

TEST_CASE("a home that lost its file while it ran counts as one copy less at once") {
    Returned node;
    node.comes(3, 1);
    node.comes(2, 2);
    node.pass(20s);
    REQUIRE(node.core->homes().under_replicated() == 0);
    const std::string hex = node.digest.hex();
    REQUIRE(node.disk.fs.unlink("/data/blobs/sha256/" + hex.substr(0, 2) + "/" + hex));
    node.disk.store->check_file(node.digest, [](bool here) { REQUIRE_FALSE(here); });
    CHECK(node.core->homes().under_replicated() == 1);
}

TEST_CASE("a new home tells the size it hashed, not the one that was claimed") {
    // The directory passes it on, and downloads that believe it fail.
    Pusher node;
    meet(node.core, 2);
    wire::HomeRequest ask{10, node.digest, 22};
    node.core.on_frame(peer(2), wire::Purpose::directory, wire::encode(wire::NodeMessage{ask}));
    REQUIRE(node.replies_to(peer(2)) == 1);
    std::vector<std::uint64_t> told;
    node.pass(1s);
    for (const auto& [to, frame] : node.net.sent) {
        const auto message = wire::decode_directory(frame);
        const auto* announce = message ? std::get_if<wire::Announce>(&*message) : nullptr;
        if (announce == nullptr) continue;
        for (const auto& entry : announce->entries) {
            if (entry.digest == node.digest) told.push_back(entry.size);
        }
    }
    CHECK(!told.empty());
    CHECK(std::ranges::all_of(told, [](std::uint64_t size) { return size == 7; }));
}

TEST_CASE("who asks for a copy again while it is fetched is answered once, by the latest number") {
    Pusher node;
    meet(node.core, 2);
    const Digest wanted = digest_of(HashAlg::sha256, as_bytes("a blob that nobody has"));
    for (RequestId request = 10; request < 20; ++request) {
        node.core.on_frame(peer(2), wire::Purpose::directory, wire::encode(wire::HomeRequest{request, wanted, 22}));
    }
    node.net.sent.clear();
    meet(node.core, 2, 2);
    node.pass(120s);  // it is not to be had
    CHECK(node.replies_to(peer(2)) == 1);
}

TEST_CASE("an answer to an earlier run of the node is none to this one") {
    Disk disk(1);
    SilentNet net;
    const auto first_request = [&] {
        Core core(net, *disk.store, core_options("lone"), Rng(1));
        core.start({});
        meet(core, 2);
        const Digest digest = put_layer(*disk.store);
        net.sent.clear();
        core.on_pushed(digest, 7);
        for (const auto& [to, frame] : net.sent) {
            const auto message = wire::decode_node(frame);
            if (!message) continue;
            if (const auto* ask = std::get_if<wire::HomeRequest>(&*message)) return ask->request;
        }
        FAIL("nobody was asked");
        return RequestId{0};
    };
    const auto before = first_request();
    disk.store.reset();
    auto again = store::Store::open(disk.fs, disk.executor, store_options(1));
    REQUIRE(again);
    disk.store = std::move(*again);
    CHECK(first_request() != before);
}
