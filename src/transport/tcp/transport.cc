#include "transport/tcp/transport.h"

#include "transport/reception.h"
#include "transport/tcp/shard.h"
#include "uv/loop_thread.h"
#include "uv/signal.h"

namespace fastreg::transport {

namespace {

using tcp::LoopSide;
using tcp::Shard;
using tcp::ShardContext;
using tcp::ShardGate;

constexpr std::size_t kReaders = 2;
constexpr std::size_t kBlockSize = wire::kDataPieceMax;

using Gates = std::vector<std::shared_ptr<ShardGate>>;

void resume_shards(const Gates& gates) {
    for (const auto& gate : gates) {
        gate->thread->post([gate] {
            if (gate->shard != nullptr) gate->shard->resume_all();
        });
    }
}

}  // namespace

struct TcpTransport::Impl {
    Impl(uv::Loop& loop, Options options, DataHandler& handler) : loop_side(loop, handler) {
        FR_ASSERT(!options.threads.empty());
        for (uv::LoopThread* thread : options.threads) {
            gates.push_back(std::make_shared<ShardGate>(ShardGate{thread, nullptr}));
        }
        if (!options.blocks) {
            options.blocks =
                BlockPool::create(kBlockSize, options.own_blocks, [all = gates] { resume_shards(all); });
        }
        FR_ASSERT(options.blocks && options.blocks->block_size() >= kBlockSize);
        context.options = std::move(options);
        context.loop_side = &loop_side;
        for (std::size_t i = 0; i < kReaders; ++i) {
            context.readers.push_back(std::make_unique<Worker>("fr-read-ahead"));
        }
        for (const auto& gate : gates) {
            gate->thread->call([&] { shards.push_back(std::make_unique<Shard>(gate, context)); });
        }
    }

    ~Impl() {
        loop_side.shut();
        gates.front()->thread->call([&] { reception.reset(); });
        for (std::size_t i = 0; i < shards.size(); ++i) {
            gates[i]->thread->call([&, i] { shards[i].reset(); });
        }
    }

    [[nodiscard]] std::size_t index_of(NodeId peer) const {
        return std::hash<NodeId>{}(peer) % shards.size();
    }

    /// Runs `job(shard)` on the thread that owns `peer`.
    template <class F>
    void on_shard(NodeId peer, F job) {
        const std::size_t i = index_of(peer);
        gates[i]->thread->post([gate = gates[i], job = std::move(job)]() mutable {
            if (gate->shard != nullptr) job(*gate->shard);
        });
    }

    Result<std::uint16_t> listen() {
        Result<Endpoint> listening;
        const Options& options = context.options;
        gates.front()->thread->call([&] {
            reception = std::make_unique<Reception>(
                gates.front()->thread->loop(),
                Reception::Options{.identity = options.identity,
                                   .listen = options.listen,
                                   .flag = options.listen_flag,
                                   .purposes = {wire::Purpose::data},
                                   .handshakes_max = options.handshakes_max,
                                   .handshake_timeout = options.handshake_timeout},
                [this] { return context.inbound < context.options.links_max; },
                [this](Greeted greeted) {
                    const NodeId peer = greeted.theirs.node_id;
                    on_shard(peer, [greeted = std::move(greeted)](Shard& shard) mutable {
                        shard.adopt(std::move(greeted), false);
                    });
                });
            listening = reception->listen();
            if (!listening) reception.reset();
        });
        if (!listening) return tl::unexpected(std::move(listening).error());
        return listening->port;
    }

    LoopSide loop_side;
    Gates gates;
    ShardContext context;
    std::vector<std::unique_ptr<Shard>> shards;  // each made and destroyed on its thread
    std::unique_ptr<Reception> reception;        // on the first thread
};

TcpTransport::TcpTransport(uv::Loop& loop, Options options, DataHandler& handler)
    : impl_(std::make_unique<Impl>(loop, std::move(options), handler)) {
    uv::ignore_broken_pipes();  // sendfile has no MSG_NOSIGNAL
}

TcpTransport::~TcpTransport() = default;

Result<std::uint16_t> TcpTransport::listen() { return impl_->listen(); }

void TcpTransport::set_advertised(Endpoint gossip) {
    for (const auto& gate : impl_->gates) {
        gate->thread->post([gate, gossip] {
            if (gate->shard != nullptr) gate->shard->set_advertised(gossip);
        });
    }
    impl_->gates.front()->thread->post([impl = impl_.get(), gate = impl_->gates.front(), gossip] {
        if (gate->shard != nullptr && impl->reception) impl->reception->set_advertised(gossip);
    });
}

const std::shared_ptr<BlockPool>& TcpTransport::blocks() const {
    return impl_->context.options.blocks;
}

void TcpTransport::blocks_freed() { resume_shards(impl_->gates); }

void TcpTransport::send(NodeId to, const Endpoint& address, wire::TransferMessage message) {
    impl_->on_shard(to, [to, address, message = std::move(message)](Shard& shard) mutable {
        shard.send(to, address, std::move(message));
    });
}

void TcpTransport::fetch(FetchOrder order) {
    FR_ASSERT(order.request != 0 && order.sink && order.blob_size <= kBlobSizeMax);
    FR_ASSERT(order.chunk < ChunkGrid(order.blob_size).count());
    const NodeId from = order.from;
    impl_->on_shard(from, [order = std::move(order)](Shard& shard) mutable {
        shard.fetch(std::move(order));
    });
}

void TcpTransport::cancel_fetch(NodeId from, RequestId request) {
    impl_->on_shard(from, [from, request](Shard& shard) { shard.cancel_fetch(from, request); });
}

void TcpTransport::serve(ServeOrder order) {
    FR_ASSERT(order.file && order.length <= kChunkSizeMax);
    const NodeId to = order.to;
    impl_->on_shard(to, [order = std::move(order)](Shard& shard) mutable {
        shard.serve(std::move(order));
    });
}

void TcpTransport::cancel_serve(NodeId to, RequestId request) {
    impl_->on_shard(to, [to, request](Shard& shard) { shard.cancel_serve(to, request); });
}

void TcpTransport::drop(NodeId peer, const std::string& why) {
    impl_->on_shard(peer, [peer, why](Shard& shard) { shard.drop(peer, why); });
}

}  // namespace fastreg::transport
