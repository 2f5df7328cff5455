#include "transport/tcp/shard.h"

#include <algorithm>

#include "base/log.h"
#include "uv/loop.h"
#include "uv/loop_thread.h"

namespace fastreg::transport::tcp {

namespace {

constexpr Duration kTick = 100ms;
constexpr Duration kSweepEvery = 5s;
/// After a failed dial: what asks for the same peer meanwhile waits, so that nobody spins.
constexpr Duration kRetryAfter = 250ms;
constexpr std::size_t kWaitingMessagesMax = 4096;
/// A peer that dials again before its old connection is seen to be dead gets its place.
constexpr std::ptrdiff_t kInboundOfPeerMax = 2;
constexpr std::size_t kScratch = 64U << 10U;

/// The request of ours or theirs that a message ends, 0 for all others.
RequestId answered_by(const wire::TransferMessage& message) {
    if (const auto* busy = std::get_if<wire::Busy>(&message)) return busy->request;
    if (const auto* absent = std::get_if<wire::NotHere>(&message)) return absent->request;
    return 0;
}

}  // namespace

LoopSide::LoopSide(uv::Loop& loop, DataHandler& handler)
    : loop_(loop), gate_(std::make_shared<DataHandler*>(&handler)) {}

void LoopSide::shut() { *gate_ = nullptr; }

void LoopSide::post_job(uv::Job job) { loop_.post(std::move(job)); }

Shard::Shard(std::shared_ptr<ShardGate> gate, ShardContext& context)
    : gate_(std::move(gate)),
      context_(context),
      identity_(context.options.identity),
      loop_(gate_->thread->loop()),
      scratch_(kScratch),
      tick_(loop_, [this] { on_tick(); }) {
    gate_->shard = this;
    tick_.set(kTick);
}

Shard::~Shard() {
    gate_->shard = nullptr;
    while (!conns_.empty()) conns_.begin()->second->close("this node stops");
    for (const auto& [id, peer] : peers_) {
        peer->dial.reset();
        fail_waiting(*peer, "this node stops");
    }
}

void Shard::later(uv::Job job) {
    loop_.post([gate = gate_, job = std::move(job)] {
        if (gate->shard != nullptr) job();
    });
}

Shard::Peer& Shard::peer_of(NodeId id) {
    auto& peer = peers_[id];
    if (!peer) peer = std::make_unique<Peer>(id);
    return *peer;
}

Conn* Shard::dialled_conn(const Peer& peer) {
    for (const auto& conn : peer.conns) {
        if (conn->dialled() && !conn->closed()) return conn.get();
    }
    return nullptr;
}

Conn* Shard::asked_conn(const Peer& peer, RequestId request) {
    for (const auto& conn : peer.conns) {
        if (!conn->closed() && conn->was_asked(request)) return conn.get();
    }
    return nullptr;
}

void Shard::send(NodeId to, const Endpoint& address, wire::TransferMessage message) {
    Peer& peer = peer_of(to);
    if (!address.empty()) peer.address = address;
    if (const RequestId request = answered_by(message); request != 0) {
        // Nobody waits for it any more when the connection is gone or the asker cancelled.
        if (Conn* conn = asked_conn(peer, request)) conn->send(message);
        return;
    }
    if (peer.talk == nullptr) {
        peer.talk = dialled_conn(peer);
        if (peer.talk == nullptr && !peer.conns.empty()) peer.talk = peer.conns.front().get();
    }
    if (peer.talk != nullptr) return peer.talk->send(message);
    peer.messages.push_back(std::move(message));
    if (peer.messages.size() > kWaitingMessagesMax) {
        return fail_waiting(peer, "too many messages wait for a connection");
    }
    ensure_dial(peer);
}

void Shard::fetch(FetchOrder order) {
    Peer& peer = peer_of(order.from);
    if (!order.address.empty()) peer.address = order.address;
    if (Conn* conn = dialled_conn(peer)) return conn->fetch(std::move(order));
    peer.fetches.push_back(std::move(order));
    ensure_dial(peer);
}

void Shard::cancel_fetch(NodeId from, RequestId request) {
    const auto found = peers_.find(from);
    if (found == peers_.end()) return;
    Peer& peer = *found->second;
    const auto waiting = std::find_if(peer.fetches.begin(), peer.fetches.end(),
                                      [&](const auto& order) { return order.request == request; });
    if (waiting != peer.fetches.end()) {
        peer.fetches.erase(waiting);
        return context_.loop_side->tell([from, request](DataHandler& handler) {
            handler.on_fetch_done(from, request, FetchEnd::cancelled);
        });
    }
    if (Conn* conn = dialled_conn(peer)) conn->cancel_fetch(request);
}

void Shard::serve(ServeOrder order) {
    const auto found = peers_.find(order.to);
    Conn* conn = found != peers_.end() ? asked_conn(*found->second, order.request) : nullptr;
    if (conn != nullptr) return conn->serve(std::move(order));
    context_.loop_side->tell([to = order.to, request = order.request](DataHandler& handler) {
        handler.on_served(to, request, false, 0);
    });
}

void Shard::cancel_serve(NodeId to, RequestId request) {
    const auto found = peers_.find(to);
    if (found == peers_.end()) return;
    if (Conn* conn = asked_conn(*found->second, request)) conn->cancel_serve(request);
}

void Shard::drop(NodeId id, const std::string& why) {
    const auto found = peers_.find(id);
    if (found == peers_.end()) return;
    Peer& peer = *found->second;
    peer.dial.reset();
    fail_waiting(peer, why);
    while (!peer.conns.empty()) peer.conns.front()->close(why);
}

void Shard::ensure_dial(Peer& peer) {
    if (peer.dial || peer.retry) return;
    if (!peer.address.empty()) return dial(peer);
    later([this, id = peer.id] {
        const auto found = peers_.find(id);
        if (found != peers_.end()) fail_waiting(*found->second, "no address is known for this node");
    });
}

void Shard::dial(Peer& peer) {
    peer.dial = std::make_unique<Dial>(
        loop_, identity_,
        Dial::Setup{peer.address, wire::Purpose::data, context_.options.connect_timeout,
                    context_.options.handshake_timeout},
        [this, id = peer.id](auto outcome) { on_dialled(id, std::move(outcome)); });
}

void Shard::on_dialled(NodeId id, tl::expected<Greeted, GreetError> outcome) {
    Peer& peer = peer_of(id);
    const auto done = std::move(peer.dial);  // ends with this call
    std::string why;
    if (outcome) {
        const NodeId who = outcome->theirs.node_id;
        if (who == id) return adopt(std::move(*outcome), true);
        why = peer.address.str() + " is now node " + who.brief() + ", not " + id.brief();
    } else {
        why = outcome.error().why;
        if (outcome.error().refused) refusals_.say(loop_.now(), peer.address.str(), outcome.error());
    }
    peer.retry = std::make_unique<uv::Timer>(loop_, [this, id] {
        Peer& again = peer_of(id);
        again.retry.reset();
        if (!again.fetches.empty() || !again.messages.empty()) ensure_dial(again);
    });
    peer.retry->set(kRetryAfter);
    fail_waiting(peer, why);
}

void Shard::fail_waiting(Peer& peer, const std::string& why) {
    const auto fetches = std::exchange(peer.fetches, {});
    const bool lost = !peer.messages.empty() || !fetches.empty();
    peer.messages.clear();
    for (const FetchOrder& order : fetches) {
        context_.loop_side->tell([id = peer.id, request = order.request](DataHandler& handler) {
            handler.on_fetch_done(id, request, FetchEnd::link_lost);
        });
    }
    if (!peer.conns.empty() || (!lost && !peer.up)) return;
    peer.up = false;
    context_.loop_side->tell(
        [id = peer.id, why](DataHandler& handler) { handler.on_link_down(id, why); });
}

void Shard::adopt(Greeted greeted, bool dialled) {
    Peer& peer = peer_of(greeted.theirs.node_id);
    close_older_boots(peer, greeted.theirs.boot_epoch);
    if (!dialled) {
        ++context_.inbound;
        const auto is_inbound = [](const auto& conn) { return !conn->dialled(); };
        if (std::count_if(peer.conns.begin(), peer.conns.end(), is_inbound) >= kInboundOfPeerMax) {
            (*std::find_if(peer.conns.begin(), peer.conns.end(), is_inbound))
                ->close("the peer made a newer connection");
        }
    }
    auto made = std::make_unique<Conn>(loop_,
                                       Conn::Setup{.id = ++conn_ids_,
                                                   .peer = peer.id,
                                                   .epoch = greeted.theirs.boot_epoch,
                                                   .fd = std::move(greeted.fd),
                                                   .rest = std::move(greeted.rest),
                                                   .dialled = dialled,
                                                   .requests_in_max = context_.options.requests_in_max},
                                       *this);
    Conn& conn = *made;
    peer.conns.push_back(std::move(made));
    conns_.emplace(conn.id(), &conn);
    log::debug("data.link_up", {{"node", peer.id.brief()},
                                {"remote", greeted.remote.str()},
                                {"inbound", !dialled}});
    if (!std::exchange(peer.up, true)) {
        context_.loop_side->tell([id = peer.id](DataHandler& handler) { handler.on_link_up(id); });
    }
    conn.start();
    if (peer.talk == nullptr && !conn.closed()) peer.talk = &conn;
    while (!conn.closed() && !peer.messages.empty()) {
        conn.send(peer.messages.front());
        peer.messages.pop_front();
    }
    while (dialled && !conn.closed() && !peer.fetches.empty()) {
        FetchOrder order = std::move(peer.fetches.front());
        peer.fetches.pop_front();
        conn.fetch(std::move(order));
    }
    if (dialled && conn.closed()) fail_waiting(peer, "the new connection broke at once");
}

void Shard::close_older_boots(Peer& peer, BootEpoch epoch) {
    std::vector<Conn*> old;
    for (const auto& conn : peer.conns) {
        if (conn->epoch() < epoch) old.push_back(conn.get());
    }
    for (Conn* conn : old) conn->close("the peer has started anew");
}

void Shard::set_advertised(Endpoint gossip) { identity_.gossip = std::move(gossip); }

void Shard::resume_all() {
    // Those who were passed over last time come first: the map goes on from where it stopped.
    std::vector<std::uint64_t> ids;
    ids.reserve(conns_.size());
    for (const auto& [id, conn] : conns_) ids.push_back(id);
    if (ids.empty()) return;
    const std::size_t begin = ++turn_ % ids.size();
    for (std::size_t i = 0; i < ids.size(); ++i) resume(ids[(begin + i) % ids.size()]);
}

void Shard::resume(std::uint64_t conn) {
    const auto found = conns_.find(conn);
    if (found != conns_.end()) found->second->resume();
}

void Shard::warmed(std::uint64_t conn, std::uint64_t serial, bool ok) {
    const auto found = conns_.find(conn);
    if (found != conns_.end()) found->second->on_warmed(serial, ok);
}

void Shard::on_message(Conn& conn, wire::TransferMessage message) {
    context_.loop_side->tell(
        [peer = conn.peer(), message = std::move(message)](DataHandler& handler) mutable {
            handler.on_message(peer, std::move(message));
        });
}

void Shard::on_fetch_done(Conn& conn, RequestId request, FetchEnd end) {
    context_.loop_side->tell([peer = conn.peer(), request, end](DataHandler& handler) {
        handler.on_fetch_done(peer, request, end);
    });
}

void Shard::on_progress(Conn& conn, RequestId request, std::uint64_t bytes) {
    context_.loop_side->tell([peer = conn.peer(), request, bytes](DataHandler& handler) {
        handler.on_progress(peer, request, bytes);
    });
}

void Shard::on_served(Conn& conn, RequestId request, bool ok, std::uint64_t bytes) {
    context_.loop_side->tell([peer = conn.peer(), request, ok, bytes](DataHandler& handler) {
        handler.on_served(peer, request, ok, bytes);
    });
}

void Shard::on_closed(Conn& conn, const std::string& why) {
    Peer& peer = peer_of(conn.peer());
    conns_.erase(conn.id());
    if (!conn.dialled()) --context_.inbound;
    if (peer.talk == &conn) peer.talk = nullptr;
    const auto at = std::find_if(peer.conns.begin(), peer.conns.end(),
                                 [&](const auto& one) { return one.get() == &conn; });
    graveyard_.push_back(std::move(*at));
    peer.conns.erase(at);
    if (gate_->shard != nullptr) later([this] { graveyard_.clear(); });
    log::debug("data.link_down", {{"node", peer.id.brief()}, {"why", why}});
    if (peer.conns.empty() && !peer.dial) fail_waiting(peer, why);
}

void Shard::warm_up(Conn& conn, std::uint64_t serial, const ServeOrder& order) {
    Worker& reader = *context_.readers[conn.id() % context_.readers.size()];
    reader.post([gate = gate_, id = conn.id(), serial, file = order.file, offset = order.file_offset,
                 length = order.length] {
        const bool ok = read_ahead(file->fd(), offset, length);
        gate->thread->post([gate, id, serial, ok] {
            if (gate->shard != nullptr) gate->shard->warmed(id, serial, ok);
        });
    });
}

std::shared_ptr<BlockPool> Shard::make_reserve(Conn& conn) {
    return BlockPool::create(blocks().block_size(), 1, [gate = gate_, id = conn.id()] {
        gate->thread->post([gate, id] {
            if (gate->shard != nullptr) gate->shard->resume(id);
        });
    });
}

void Shard::on_tick() {
    tick_.set(kTick);
    for (const auto& [id, conn] : conns_) conn->report_pause();
    const Instant now = loop_.now();
    blocks().release_unused(now);
    if (now < next_sweep_) return;
    next_sweep_ = now + kSweepEvery;
    std::vector<Conn*> idle;
    for (const auto& [id, conn] : conns_) {
        if (!conn->in_use() && now - conn->last_used() > context_.options.idle) idle.push_back(conn);
    }
    for (Conn* conn : idle) conn->close("idle");
    std::erase_if(peers_, [](const auto& entry) {
        const Peer& peer = *entry.second;
        return peer.conns.empty() && !peer.dial && !peer.retry && peer.fetches.empty() &&
               peer.messages.empty();
    });
}

}  // namespace fastreg::transport::tcp
