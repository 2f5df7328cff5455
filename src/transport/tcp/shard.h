// The peers of one io thread: their connections, dials and what waits for them. That thread only; the
// gate is how other threads' jobs find out that the shard is gone.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/worker.h"
#include "transport/dial.h"
#include "transport/refusal_log.h"
#include "transport/tcp/conn.h"
#include "transport/tcp/transport.h"
#include "uv/job.h"
#include "uv/timer.h"

namespace fastreg::transport::tcp {

class Shard;

/// `shard` is read and written on the shard's thread only; empty once the shard is gone.
struct ShardGate {
    uv::LoopThread* thread = nullptr;
    Shard* shard = nullptr;
};

/// The way back to the handler on the loop thread; silent after shut().
class LoopSide {
  public:
    LoopSide(uv::Loop& loop, DataHandler& handler);
    /// Any thread.
    template <class F>
    void tell(F event) {
        post([event = std::move(event)](DataHandler& handler) mutable { event(handler); });
    }
    /// The loop thread.
    void shut();

  private:
    template <class F>
    void post(F event) {
        post_job([gate = gate_, event = std::move(event)]() mutable {
            if (*gate != nullptr) event(**gate);
        });
    }
    void post_job(uv::Job job);
    uv::Loop& loop_;
    std::shared_ptr<DataHandler*> gate_;  // what it points to: the loop thread only
};

/// What all shards of a transport share.
struct ShardContext {
    TcpTransport::Options options;
    LoopSide* loop_side = nullptr;
    std::atomic<std::size_t> inbound{0};
    std::vector<std::unique_ptr<Worker>> readers;  // cold file ranges
};

class Shard final : public ConnOwner {
  public:
    Shard(std::shared_ptr<ShardGate> gate, ShardContext& context);
    /// Closes everything.
    ~Shard() override;

    void send(NodeId to, const Endpoint& address, wire::TransferMessage message);
    void fetch(FetchOrder order);
    void cancel_fetch(NodeId from, RequestId request);
    void serve(ServeOrder order);
    void cancel_serve(NodeId to, RequestId request);
    void drop(NodeId peer, const std::string& why);
    /// A connection whose handshake is done; `dialled` by this node.
    void adopt(Greeted greeted, bool dialled);
    void set_advertised(Endpoint gossip);
    void resume_all();
    void resume(std::uint64_t conn);
    void warmed(std::uint64_t conn, std::uint64_t serial, bool ok);

    void on_message(Conn& conn, wire::TransferMessage message) override;
    void on_fetch_done(Conn& conn, RequestId request, FetchEnd end) override;
    void on_progress(Conn& conn, RequestId request, std::uint64_t bytes) override;
    void on_served(Conn& conn, RequestId request, bool ok, std::uint64_t bytes) override;
    void on_closed(Conn& conn, const std::string& why) override;
    void warm_up(Conn& conn, std::uint64_t serial, const ServeOrder& order) override;
    std::shared_ptr<BlockPool> make_reserve(Conn& conn) override;
    BlockPool& blocks() override { return *context_.options.blocks; }
    std::span<std::byte> scratch() override { return scratch_; }

  private:
    struct Peer {
        explicit Peer(NodeId node) : id(node) {}
        const NodeId id;
        Endpoint address;
        std::vector<std::unique_ptr<Conn>> conns;
        Conn* talk = nullptr;  // carries messages as long as it lives, so that they stay in order
        std::unique_ptr<Dial> dial;
        std::unique_ptr<uv::Timer> retry;  // set: the last dial failed a moment ago
        std::deque<FetchOrder> fetches;  // wait for the dial
        std::deque<wire::TransferMessage> messages;
        bool up = false;
    };

    Peer& peer_of(NodeId id);
    [[nodiscard]] static Conn* dialled_conn(const Peer& peer);
    [[nodiscard]] static Conn* asked_conn(const Peer& peer, RequestId request);
    void ensure_dial(Peer& peer);
    void dial(Peer& peer);
    void on_dialled(NodeId id, tl::expected<Greeted, GreetError> outcome);
    static void close_older_boots(Peer& peer, BootEpoch epoch);
    void fail_waiting(Peer& peer, const std::string& why);
    void on_tick();
    void later(uv::Job job);

    std::shared_ptr<ShardGate> gate_;
    ShardContext& context_;
    Identity identity_;
    uv::Loop& loop_;
    std::map<NodeId, std::unique_ptr<Peer>> peers_;
    std::map<std::uint64_t, Conn*> conns_;  // by Conn::id
    std::vector<std::unique_ptr<Conn>> graveyard_;
    std::uint64_t conn_ids_ = 0;
    std::size_t turn_ = 0;
    Instant next_sweep_;
    RefusalLog refusals_;
    std::vector<std::byte> scratch_;
    uv::Timer tick_;
};

}  // namespace fastreg::transport::tcp
