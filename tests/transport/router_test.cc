// Which way chunks go, and what becomes of them when RDMA fails; both ways are played by the test.
#include "support.h"
#include "transport/router.h"

namespace fastreg::transport::test {
namespace {

/// Takes every order and remembers it.
class PlayedTcp final : public DataTransport {
  public:
    void send(NodeId, const Endpoint&, wire::TransferMessage message) override { sent.push_back(std::move(message)); }
    void fetch(FetchOrder order) override { fetched.push_back(order.request); }
    void cancel_fetch(NodeId, RequestId request) override { cancelled.push_back(request); }
    void serve(ServeOrder order) override { served.push_back(order.request); }
    void cancel_serve(NodeId, RequestId) override {}
    void drop(NodeId peer, const std::string&) override { dropped.push_back(peer); }

    std::vector<wire::TransferMessage> sent;
    std::vector<RequestId> fetched, cancelled, served;
    std::vector<NodeId> dropped;
};

class PlayedRdma final : public RdmaRoad {
  public:
    void connect(NodeId peer, const Endpoint& address) override { connects.emplace_back(peer, address); }
    void fetch(FetchOrder order) override { fetched.push_back(order.request); }
    void cancel_fetch(NodeId, RequestId request) override { cancelled.push_back(request); }
    void serve(ServeOrder order) override { served.push_back(order.request); }
    void refuse(NodeId, const wire::Busy& busy) override { refused.push_back(busy.request); }
    void refuse(NodeId, const wire::NotHere& absent) override { refused.push_back(absent.request); }
    void drop(NodeId peer, const std::string&) override { dropped.push_back(peer); }
    [[nodiscard]] std::size_t active_devices() const override { return devices; }

    std::size_t devices = 1;
    std::vector<std::pair<NodeId, Endpoint>> connects;
    std::vector<RequestId> fetched, cancelled, served, refused;
    std::vector<NodeId> dropped;
};

struct Rig {
    Rig() { router.set_tcp(&tcp); }
    /// With RDMA, and links of both kinds to node 2.
    void all_up() {
        router.set_rdma(&rdma);
        router.tcp_events().on_link_up(node(2));
        router.rdma_events().on_link_up(node(2));
    }
    FetchOrder order(RequestId request) const {
        FetchOrder made;
        made.from = node(2);
        made.request = request;
        made.sink = std::make_shared<CollectingSink>();
        return made;
    }
    Recorder events;
    Instant now{1'000'000'000};
    std::vector<std::pair<Road, std::uint64_t>> out;
    Router router{events, {.now = [this] { return now; },
                           .rdma_of = [](NodeId) { return Endpoint{"10.0.0.2", 9999}; },
                           .on_bytes_out = [this](Road road, NodeId, RequestId, std::uint64_t n) {
                               out.emplace_back(road, n);
                           }}};
    PlayedTcp tcp;
    PlayedRdma rdma;
};

constexpr RequestId kAgain = RequestId{1} << 63U;

TEST_CASE("without RDMA of its own a node sends everything by TCP, whatever its peers have") {
    Rig rig;
    rig.router.tcp_events().on_link_up(node(2));
    rig.router.send(node(2), {}, wire::Interest{some_digest(), 0, 0});
    rig.router.fetch(rig.order(1));
    rig.router.cancel_fetch(node(2), 1);
    rig.router.serve({node(2), 7, nullptr, 0, 0, false});
    rig.router.drop(node(2), "enough");
    CHECK(rig.tcp.sent.size() == 1);
    CHECK(rig.tcp.fetched == std::vector<RequestId>{1});
    CHECK(rig.tcp.cancelled == std::vector<RequestId>{1});
    CHECK(rig.tcp.served == std::vector<RequestId>{7});
    CHECK(rig.tcp.dropped == std::vector{node(2)});
    CHECK(rig.router.road_with(node(2)) == Road::tcp);
}

TEST_CASE("what TCP tells is told on as it is, and its bytes are counted as its own") {
    Rig rig;
    DataHandler& tcp = rig.router.tcp_events();
    tcp.on_link_up(node(2));
    tcp.on_message(node(2), wire::Busy{5, some_digest(), {}});
    tcp.on_progress(node(2), 5, 10);
    tcp.on_fetch_done(node(2), 5, FetchEnd::busy);
    tcp.on_served(node(2), 6, true, 100);
    tcp.on_link_down(node(2), "gone");
    CHECK(rig.events.ups == 1);
    CHECK(rig.events.downs == 1);
    CHECK(rig.events.ended(5, FetchEnd::busy));
    CHECK(rig.events.progress[5] == 10);
    CHECK(rig.out == std::vector{std::pair{Road::tcp, std::uint64_t{100}}});
}

TEST_CASE("nothing waits for an RDMA connection; it is made when a peer becomes interesting") {
    // A black hole of a connection must not cost a byte's delay.
    Rig rig;
    rig.router.set_rdma(&rig.rdma);
    rig.router.tcp_events().on_link_up(node(2));
    rig.router.send(node(2), {}, wire::Have{some_digest(), {1}});
    CHECK(rig.rdma.connects.empty());
    rig.router.send(node(2), {}, wire::Interest{some_digest(), 0, 0});
    REQUIRE(rig.rdma.connects.size() == 1);
    CHECK(rig.rdma.connects[0].second.str() == "10.0.0.2:9999");
    rig.router.fetch(rig.order(1));
    rig.router.fetch(rig.order(2));
    CHECK(rig.rdma.connects.size() == 1);  // one attempt at a time
    CHECK(rig.tcp.fetched == std::vector<RequestId>{1, 2});
    rig.router.rdma_events().on_link_up(node(2));
    CHECK(rig.router.road_with(node(2)) == Road::rdma);
    rig.router.fetch(rig.order(3));
    CHECK(rig.rdma.fetched == std::vector<RequestId>{3});
}

TEST_CASE("a chunk that RDMA failed is asked by TCP at once, under an id of its own") {
    // A late answer to the first must not be taken for one to the second.
    Rig rig;
    rig.all_up();
    rig.router.fetch(rig.order(1));
    rig.router.rdma_events().on_fetch_done(node(2), 1, FetchEnd::link_lost);
    CHECK(rig.tcp.fetched == std::vector<RequestId>{1 | kAgain});
    CHECK(rig.events.done.empty());
    CHECK(rig.router.fallbacks() == 1);
    rig.router.cancel_fetch(node(2), 1);
    CHECK(rig.tcp.cancelled == std::vector<RequestId>{1 | kAgain});
    DataHandler& tcp = rig.router.tcp_events();
    tcp.on_message(node(2), wire::NotHere{1 | kAgain, some_digest(), false});
    CHECK(std::get<wire::NotHere>(rig.events.messages.at(0)).request == 1);
    tcp.on_fetch_done(node(2), 1 | kAgain, FetchEnd::not_here);
    CHECK(rig.events.ended(1, FetchEnd::not_here));
    rig.router.rdma_events().on_fetch_done(node(2), 1, FetchEnd::all_sent_to_sink);  // late: nobody is told twice
}

TEST_CASE("what the peer refuses or this node cancels is no failure of RDMA") {
    Rig rig;
    rig.all_up();
    for (RequestId i = 1; i <= 3; ++i) rig.router.fetch(rig.order(i));
    rdma::RdmaEvents& events = rig.router.rdma_events();
    events.on_fetch_done(node(2), 1, FetchEnd::busy);
    rig.router.cancel_fetch(node(2), 2);
    CHECK(rig.rdma.cancelled == std::vector<RequestId>{2});
    events.on_fetch_done(node(2), 2, FetchEnd::cancelled);
    rig.router.fetch(rig.order(4));  // its link breaks while the cancel is on its way
    rig.router.cancel_fetch(node(2), 4);
    events.on_fetch_done(node(2), 4, FetchEnd::link_lost);
    CHECK(rig.events.ended(4, FetchEnd::cancelled));
    CHECK(rig.router.fallbacks() == 0);
    events.on_progress(node(2), 3, 77);
    events.on_fetch_done(node(2), 3, FetchEnd::all_sent_to_sink);
    CHECK(rig.events.ended(1, FetchEnd::busy));
    CHECK(rig.events.ended(2, FetchEnd::cancelled));
    CHECK(rig.events.ended(3, FetchEnd::all_sent_to_sink));
    CHECK(rig.events.progress[3] == 77);
    CHECK(rig.tcp.fetched.empty());
}

TEST_CASE("a chunk that a client waits for goes by TCP where no slot is free, and that is no failure") {
    Rig rig;
    rig.all_up();
    rig.router.fetch(rig.order(1));
    rig.router.rdma_events().on_fetch_done(node(2), 1, FetchEnd::no_slot);
    CHECK(rig.tcp.fetched == std::vector<RequestId>{1 | kAgain});
    CHECK(rig.router.fallbacks() == 0);
    CHECK(rig.router.slotless() == 1);
}

TEST_CASE("without a device of its own a node tries no peer, and with one again it tries all at once") {
    // A port that was down for a minute must not cost five minutes of TCP afterwards.
    Rig rig;
    rig.all_up();
    rdma::RdmaEvents& events = rig.router.rdma_events();
    events.on_link_down(node(2), "the RDMA device was removed", false);
    rig.rdma.devices = 0;
    events.on_devices();
    rig.now = rig.now + Router::kRetryLongest;
    rig.router.fetch(rig.order(1));
    CHECK(rig.rdma.connects.empty());
    rig.rdma.devices = 1;
    events.on_devices();
    rig.router.fetch(rig.order(2));
    REQUIRE(rig.rdma.connects.size() == 1);
    events.on_link_down(node(2), "no answer", false);
    rig.router.fetch(rig.order(3));
    CHECK(rig.rdma.connects.size() == 1);  // it waits
    events.on_devices();                   // an address came or went
    rig.router.fetch(rig.order(4));
    CHECK(rig.rdma.connects.size() == 1);
    rig.rdma.devices = 2;
    events.on_devices();  // the port of another device was down, and is up
    rig.router.fetch(rig.order(5));
    CHECK(rig.rdma.connects.size() == 2);
}

TEST_CASE("RDMA that failed is tried again ever later, and sooner once a link has proven itself") {
    // A flapping link must not cost a connect for every chunk.
    Rig rig;
    rig.all_up();
    rdma::RdmaEvents& events = rig.router.rdma_events();
    Duration wait = Router::kRetryFirst;
    for (int i = 0; i < 9; ++i) {
        events.on_link_down(node(2), "broken", false);
        rig.now = rig.now + wait - 1ms;
        rig.router.fetch(rig.order(static_cast<RequestId>(100 + i)));
        CHECK(rig.rdma.connects.size() == static_cast<std::size_t>(i));
        rig.now = rig.now + 1ms;
        rig.router.fetch(rig.order(static_cast<RequestId>(200 + i)));
        CHECK(rig.rdma.connects.size() == static_cast<std::size_t>(i + 1));
        events.on_link_up(node(2));
        wait = std::min(wait * 2, Duration(Router::kRetryLongest));
    }
    CHECK(wait == Router::kRetryLongest);
    rig.now = rig.now + Router::kProvenAfter;
    events.on_link_down(node(2), "broken", false);
    rig.now = rig.now + Router::kRetryFirst - 1ms;
    rig.router.fetch(rig.order(300));
    CHECK(rig.rdma.connects.size() == 9);
    rig.now = rig.now + 1ms;
    rig.router.fetch(rig.order(301));
    CHECK(rig.rdma.connects.size() == 10);
    events.on_link_up(node(2));
    events.on_link_down(node(2), "idle", true);  // no failure: at once again
    rig.router.fetch(rig.order(302));
    CHECK(rig.rdma.connects.size() == 11);
}

TEST_CASE("a peer that is dropped while it owes chunks by RDMA is asked by TCP for a while") {
    // It connects well and delivers nothing: so looks another MTU on the way.
    Rig rig;
    rig.all_up();
    rig.router.fetch(rig.order(1));
    rig.router.drop(node(2), "no byte for 2 s");
    CHECK(rig.rdma.dropped == std::vector{node(2)});
    CHECK(rig.events.ended(1, FetchEnd::link_lost));
    CHECK(rig.router.stalls() == 1);  // the metric that says why
    rig.router.rdma_events().on_link_down(node(2), "no byte for 2 s", true);
    rig.router.tcp_events().on_link_down(node(2), "no byte for 2 s");
    rig.router.tcp_events().on_link_up(node(2));
    rig.router.fetch(rig.order(2));
    CHECK(rig.rdma.connects.empty());
    CHECK(rig.tcp.fetched == std::vector<RequestId>{2});
    rig.now = rig.now + Router::kRetryFirst;
    rig.router.fetch(rig.order(3));
    CHECK(rig.rdma.connects.size() == 1);
}

TEST_CASE("the fetches of a link end before it does, by whichever way they went") {
    Rig rig;
    rig.all_up();
    rig.router.fetch(rig.order(1));
    rig.router.fetch(rig.order(2));
    rig.router.rdma_events().on_fetch_done(node(2), 2, FetchEnd::link_lost);  // 2 waits for TCP now
    rig.router.tcp_events().on_link_down(node(2), "gone");
    CHECK(rig.events.ended(1, FetchEnd::link_lost));
    CHECK(rig.events.ended(2, FetchEnd::link_lost));
    CHECK(rig.events.downs == 1);
    CHECK(rig.rdma.dropped == std::vector{node(2)});
    rig.router.tcp_events().on_fetch_done(node(2), 2 | kAgain, FetchEnd::link_lost);  // nobody is told twice
    rig.router.rdma_events().on_fetch_done(node(2), 1, FetchEnd::link_lost);
    CHECK(rig.tcp.fetched.size() == 1);
}

TEST_CASE("while all chunks go by RDMA the link by TCP is not left to idle") {
    // It would be closed after two minutes, and every chunk under way with it.
    Rig rig;
    rig.all_up();
    const auto chunk = [&](RequestId request) {
        rig.router.fetch(rig.order(request));
        rig.router.rdma_events().on_fetch_done(node(2), request, FetchEnd::all_sent_to_sink);
    };
    for (RequestId i = 1; i <= 29; ++i) {
        chunk(i);
        rig.now = rig.now + 1s;
    }
    CHECK(rig.tcp.sent.empty());
    for (RequestId i = 30; i <= 150; ++i) {
        chunk(i);
        rig.now = rig.now + 1s;
    }
    CHECK(rig.tcp.sent.size() == 4);
    for (const auto& message : rig.tcp.sent) CHECK(std::get<wire::Have>(message).chunks.empty());
}

TEST_CASE("what carries chunks between two nodes is what carries them now") {
    Rig rig;
    rig.router.set_rdma(&rig.rdma);
    rig.router.tcp_events().on_link_up(node(2));
    rig.router.rdma_events().on_message(node(2), wire::GetChunk{7, some_digest(), kBigBlob, 0, false});
    CHECK(rig.router.road_with(node(2)) == Road::rdma);
    rig.router.rdma_events().on_asker_gone(node(2));
    CHECK(rig.router.road_with(node(2)) == Road::tcp);
}

TEST_CASE("an answer goes back the way its question came") {
    Rig rig;
    rig.all_up();
    rdma::RdmaEvents& events = rig.router.rdma_events();
    for (RequestId i = 1; i <= 4; ++i) events.on_message(node(2), wire::GetChunk{i, some_digest(), 1, 0, false});
    CHECK(rig.events.asked.size() == 4);
    rig.router.serve({node(2), 1, nullptr, 0, 1, false});
    rig.router.send(node(2), {}, wire::Busy{2, some_digest(), {}});
    rig.router.send(node(2), {}, wire::NotHere{3, some_digest(), true});
    rig.router.cancel_serve(node(2), 4);
    CHECK(rig.rdma.served == std::vector<RequestId>{1});
    CHECK(rig.rdma.refused == std::vector<RequestId>{2, 3, 4});
    rig.router.send(node(2), {}, wire::Busy{0, some_digest(), {}});
    rig.router.serve({node(2), 9, nullptr, 0, 1, false});
    CHECK(rig.tcp.sent.size() == 1);
    CHECK(rig.tcp.served == std::vector<RequestId>{9});
    events.on_served(node(2), 1, true, 50);
    CHECK(rig.out == std::vector{std::pair{Road::rdma, std::uint64_t{50}}});
    rig.router.serve({node(2), 1, nullptr, 0, 1, false});  // ended: not RDMA's any more
    CHECK(rig.tcp.served.size() == 2);
}

}  // namespace
}  // namespace fastreg::transport::test
