// The conformance suite of bulk transports over the router with RDMA on a real device, TCP beside it.
#include <cstdlib>

#include "conformance.h"
#include "transport/rdma/transport.h"
#include "transport/router.h"
#include "transport/tcp/transport.h"
#include "uv/loop_thread.h"

namespace fastreg::transport::test {
namespace {

std::string device_address() {
    const char* address = std::getenv("FR_RDMA_ADDR");
    if (address == nullptr) FAIL("FR_RDMA_ADDR names no address of an RDMA device");
    return address;
}

class RdmaWorld {
  public:
    RdmaWorld() : na_(std::make_unique<Node>(*this, 1, a_)), nb_(std::make_unique<Node>(*this, 2, b_)) {}
    uv::Loop& loop() { return loop_; }
    Side& a() { return a_; }
    Side& b() { return b_; }
    void lose_b() { nb_.reset(); }
    /// Links of both kinds, both ways.
    void warm() {
        const wire::Interest hello{some_digest(), 0, 0};
        a_.transport->send(b_.id, b_.address, hello);
        b_.transport->send(a_.id, a_.address, hello);
        na_->rdma->connect(b_.id, b_.rdma);
        nb_->rdma->connect(a_.id, a_.rdma);
        REQUIRE(until(loop_, [&] {
            return na_->router.road_to(b_.id) == Road::rdma && nb_->router.road_to(a_.id) == Road::rdma &&
                   !a_.events.messages.empty() && !b_.events.messages.empty();
        }));
        a_.events.messages.clear();
        b_.events.messages.clear();
    }
    [[nodiscard]] static int blocks_of_a_big_chunk() { return 1; }
    void check_used() const {
        CHECK(na_->rdma->counters().chunks_in > 0);
        CHECK(nb_->rdma->counters().chunks_out > 0);
        CHECK(na_->router.fallbacks() == 0);
        CHECK(na_->rdma->counters().protocol_errors == 0);
    }

  private:
    struct Node {
        Node(RdmaWorld& world, unsigned number, Side& side)
            : router(side.events, {.now = [&loop = world.loop_] { return loop.now(); },
                                   .rdma_of = [&world](NodeId peer) {
                                       return peer == world.a_.id ? world.a_.rdma : world.b_.rdma;
                                   }}) {
            TcpTransport::Options options;
            options.identity = identity(number);
            options.listen = {"127.0.0.1", 0};
            options.threads = {&world.io_};
            options.connect_timeout = options.handshake_timeout = 30s;
            options.own_blocks = 8;
            tcp = std::make_unique<TcpTransport>(world.loop_, options, router.tcp_events());
            const auto port = tcp->listen();
            REQUIRE(port);
            RdmaTransport::Options by_rdma;
            by_rdma.listen = {device_address(), 0};
            by_rdma.ack_timeout = 18;
            by_rdma.engine.landing_slots = 16;  // fewer than the chunks in flight
            by_rdma.engine.source_slots = 8;
            by_rdma.engine.links.self = options.identity.node_id;
            by_rdma.engine.links.key = options.identity.key;
            by_rdma.engine.links.connect_timeout = 30s;
            by_rdma.engine.links.request_timeout = 30s;
            by_rdma.engine.links.cancel_grace = 30s;
            auto opened = RdmaTransport::open(world.loop_, by_rdma, router.rdma_events());
            if (!opened) FAIL(describe(opened.error()));
            rdma = std::move(*opened);
            router.set_tcp(tcp.get());
            router.set_rdma(rdma.get());
            side.id = options.identity.node_id;
            side.address = {"127.0.0.1", *port};
            side.rdma = rdma->advertised();
            side.transport = &router;
        }
        Router router;
        std::unique_ptr<TcpTransport> tcp;
        std::unique_ptr<RdmaTransport> rdma;
    };

    uv::Loop loop_;
    uv::LoopThread io_{"io"};
    Side a_;
    Side b_;
    std::unique_ptr<Node> na_;
    std::unique_ptr<Node> nb_;
};

TEST_CASE("RDMA with TCP beside it keeps the promises of a bulk transport") {
    // What the transfer core was tested over must not behave otherwise on a real device.
    check_data_transport<RdmaWorld>();
}

TEST_CASE("landed chunks may outlive the transport they came by") {
    // At a stop in the middle of a pull the store still writes what has landed.
    RdmaWorld world;
    world.warm();
    const auto file = std::make_shared<MemoryFile>(pattern(kBigChunk));
    world.a().events.on_get = [&](NodeId from, const wire::GetChunk& get) {
        world.a().transport->serve(serve_to(from, get.request, file, 0, kBigChunk));
    };
    std::vector<std::shared_ptr<CollectingSink>> sinks;
    for (RequestId i = 1; i <= 17; ++i) {  // one more than there are slots
        sinks.push_back(std::make_shared<CollectingSink>(true));
        FetchOrder order;
        order.from = world.a().id;
        order.address = world.a().address;
        order.request = i;
        order.digest = some_digest();
        order.blob_size = kBigBlob;
        order.sink = sinks.back();
        world.b().transport->fetch(order);
    }
    REQUIRE(until(world.loop(), [&] { return world.b().events.done.size() == 16; }));
    world.lose_b();
    for (const auto& sink : sinks) sink->let_go();
    std::size_t whole = 0;
    for (const auto& sink : sinks) whole += sink->size() == kBigChunk ? 1 : 0;
    CHECK(whole == 16);
}

}  // namespace
}  // namespace fastreg::transport::test
