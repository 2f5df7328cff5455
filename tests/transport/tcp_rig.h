// What the stories of the TCP transport share: a node, a server that is played by hand, and a fetch
// from it that has begun.
#pragma once

#include "conformance.h"
#include "raw_peer.h"
#include "transport/tcp/transport.h"
#include "uv/listener.h"
#include "uv/loop_thread.h"

namespace fastreg::transport::test {

struct Node {
    explicit Node(unsigned number = 1,
                  const std::function<void(TcpTransport::Options&)>& adjust = {}) {
        TcpTransport::Options options;
        options.identity = identity(number);
        options.listen = {"127.0.0.1", 0};
        options.threads = {&io1, &io2};
        options.own_blocks = 8;
        // Longer than any wait of a test: what ends sooner was not ended by a deadline.
        options.connect_timeout = 30s;
        options.handshake_timeout = 30s;
        if (adjust) adjust(options);
        transport = std::make_unique<TcpTransport>(loop, options, events);
        const auto port = transport->listen();
        REQUIRE(port);
        address = {"127.0.0.1", *port};
    }
    bool wait(const std::function<bool()>& holds) { return until(loop, holds); }

    uv::Loop loop;
    uv::LoopThread io1{"io1"};
    uv::LoopThread io2{"io2"};
    Recorder events;
    std::unique_ptr<TcpTransport> transport;
    Endpoint address;
};

/// A listener whose connections the test plays by hand.
struct HandServer {
    explicit HandServer(uv::Loop& loop) {
        auto made = uv::Listener::tcp(loop, {"127.0.0.1", 0}, {}, [&](uv::Fd fd, const Endpoint&) {
            accepted.push_back(std::make_unique<RawPeer>(loop, std::move(fd)));
        });
        REQUIRE(made);
        listener = std::move(*made);
    }
    uv::Listener listener;
    std::vector<std::unique_ptr<RawPeer>> accepted;
};

inline FetchOrder fetch_from(const NodeId& id, const Endpoint& address, RequestId request,
                             std::shared_ptr<ChunkSink> sink, bool urgent = false) {
    FetchOrder order;
    order.from = id;
    order.address = address;
    order.request = request;
    order.digest = some_digest();
    order.blob_size = kBigBlob;
    order.urgent = urgent;
    order.sink = std::move(sink);
    return order;
}

inline wire::Data piece(RequestId request, std::uint32_t offset, std::uint32_t length,
                        std::uint32_t total = kBigChunk) {
    wire::Data data;
    data.request = request;
    data.offset = offset;
    data.length = length;
    data.total = total;
    return data;
}

/// A node that has asked a server, played by hand, for chunk 0 of a blob; its handshake is done.
struct BegunFetch {
    BegunFetch() {
        node.transport->fetch(fetch_from(test::node(2), server.listener.address(), 1, sink));
        REQUIRE(node.wait([&] { return server.accepted.size() == 1; }));
        REQUIRE(peer().greet(identity(2), wire::Purpose::data, wire::Role::responder));
        REQUIRE(peer().next_frame());
    }
    RawPeer& peer() { return *server.accepted.front(); }

    Node node{1};
    HandServer server{node.loop};
    std::shared_ptr<CollectingSink> sink = std::make_shared<CollectingSink>();
};

}  // namespace fastreg::transport::test
