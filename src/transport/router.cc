#include "transport/router.h"

#include <algorithm>

#include "base/log.h"

namespace fastreg::transport {
namespace {

/// A request that goes by TCP after RDMA failed it has an id of its own: its answers must not be taken for
/// late ones of the first.
constexpr RequestId kAgain = RequestId{1} << 63U;

RequestId plain(RequestId request) { return request & ~kAgain; }

}  // namespace

// --- what TCP tells ----------------------------------------------------------------------------

class Router::FromTcp final : public DataHandler {
  public:
    explicit FromTcp(Router& router) : r_(router) {}

    void on_message(NodeId from, wire::TransferMessage message) override {
        if (auto* busy = std::get_if<wire::Busy>(&message)) busy->request = plain(busy->request);
        if (auto* absent = std::get_if<wire::NotHere>(&message)) absent->request = plain(absent->request);
        r_.handler_.on_message(from, std::move(message));
    }
    void on_fetch_done(NodeId from, RequestId request, FetchEnd end) override {
        if (request != plain(request) && r_.retried_.erase(plain(request)) == 0) return;  // told already
        r_.handler_.on_fetch_done(from, plain(request), end);
    }
    void on_progress(NodeId from, RequestId request, std::uint64_t bytes) override {
        r_.handler_.on_progress(from, plain(request), bytes);
    }
    void on_served(NodeId to, RequestId request, bool ok, std::uint64_t bytes) override {
        r_.options_.on_bytes_out(Road::tcp, to, request, bytes);
        r_.handler_.on_served(to, request, ok, bytes);
    }
    void on_link_up(NodeId peer) override {
        Peer& state = r_.peers_[peer];
        state.tcp_up = true;
        state.spoken_at = r_.options_.now();
        r_.handler_.on_link_up(peer);
    }
    void on_link_down(NodeId peer, const std::string& why) override {
        // What was said may be lost, so whoever is on the other end starts anew, by RDMA as well.
        if (r_.rdma_ != nullptr) r_.rdma_->drop(peer, why);
        r_.lose_fetches(peer);
        std::erase_if(r_.asked_by_rdma_, [&](const auto& asked) { return asked.first == peer; });
        const auto found = r_.peers_.find(peer);
        if (found != r_.peers_.end()) {
            Peer& state = found->second;
            state.tcp_up = state.asks_by_rdma = false;
            if (!state.rdma_up && !state.connecting && state.retry_at <= r_.options_.now()) r_.peers_.erase(found);
        }
        r_.handler_.on_link_down(peer, why);
    }

  private:
    Router& r_;
};

// --- what RDMA tells ---------------------------------------------------------------------------

class Router::FromRdma final : public rdma::RdmaEvents {
  public:
    explicit FromRdma(Router& router) : r_(router) {}

    void on_message(NodeId from, wire::TransferMessage message) override {
        if (const auto* get = std::get_if<wire::GetChunk>(&message)) {
            r_.asked_by_rdma_.emplace(from, get->request);
            r_.peers_[from].asks_by_rdma = true;
        }
        if (const auto* cancel = std::get_if<wire::Cancel>(&message)) {
            if (r_.asked_by_rdma_.erase({from, cancel->request}) == 0) return;  // the link went before
        }
        r_.handler_.on_message(from, std::move(message));
    }
    void on_fetch_done(NodeId from, RequestId request, FetchEnd end) override {
        const auto found = r_.by_rdma_.find(request);
        if (found == r_.by_rdma_.end()) return;  // told already, when TCP's link went
        FetchOrder order = std::move(found->second.order);
        const bool cancelled = found->second.cancelled;
        r_.by_rdma_.erase(found);
        const bool slotless = end == FetchEnd::no_slot;
        const bool broken = end == FetchEnd::link_lost || end == FetchEnd::protocol_error || slotless;
        // Nobody waits for it any more: its link broke while the cancel was on its way there.
        if (cancelled && broken) return r_.handler_.on_fetch_done(from, request, FetchEnd::cancelled);
        if (!broken) {
            r_.keep_alive(order);
            return r_.handler_.on_fetch_done(from, request, end);
        }
        ++(slotless ? r_.slotless_ : r_.fallbacks_);
        r_.retried_.emplace(request, from);
        order.request |= kAgain;
        r_.tcp_->fetch(std::move(order));
    }
    void on_progress(NodeId from, RequestId request, std::uint64_t bytes) override {
        if (r_.by_rdma_.contains(request)) r_.handler_.on_progress(from, request, bytes);
    }
    void on_served(NodeId to, RequestId request, bool ok, std::uint64_t bytes) override {
        r_.asked_by_rdma_.erase({to, request});
        r_.options_.on_bytes_out(Road::rdma, to, request, bytes);
        r_.handler_.on_served(to, request, ok, bytes);
    }
    void on_link_up(NodeId peer) override {
        Peer& state = r_.peers_[peer];
        state.connecting = false;
        state.rdma_up = true;
        state.rdma_since = r_.options_.now();
        log::debug("rdma.link_up", {{"peer", peer.brief()}});
    }
    void on_devices() override {
        // What failed while a device of this node was down says nothing of the peers.
        const std::size_t before = std::exchange(r_.devices_, r_.rdma_->active_devices());
        if (r_.devices_ > before) {
            for (auto& [id, peer] : r_.peers_) {
                peer.retry_at = {};
                peer.retry_after = {};
            }
        }
        r_.options_.on_devices();
    }
    void on_asker_gone(NodeId peer) override {
        if (const auto found = r_.peers_.find(peer); found != r_.peers_.end()) found->second.asks_by_rdma = false;
    }
    void on_link_down(NodeId peer, const std::string& why, bool orderly) override {
        Peer& state = r_.peers_[peer];
        const bool was_up = std::exchange(state.rdma_up, false);
        state.connecting = false;
        if (!orderly) {
            r_.blame_rdma(peer, state, why, was_up);
        } else if (!state.tcp_up && state.retry_at <= r_.options_.now()) {
            r_.peers_.erase(peer);
        }
    }

  private:
    Router& r_;
};

// --- what the node asks ------------------------------------------------------------------------

Router::Router(DataHandler& handler, Options options)
    : handler_(handler),
      options_(std::move(options)),
      from_tcp_(std::make_unique<FromTcp>(*this)),
      from_rdma_(std::make_unique<FromRdma>(*this)) {}

Router::~Router() = default;

DataHandler& Router::tcp_events() { return *from_tcp_; }
rdma::RdmaEvents& Router::rdma_events() { return *from_rdma_; }

Road Router::road_to(NodeId peer) const {
    const auto found = peers_.find(peer);
    return found != peers_.end() && found->second.tcp_up && found->second.rdma_up ? Road::rdma : Road::tcp;
}

Road Router::road_with(NodeId peer) const {
    const auto found = peers_.find(peer);
    return found != peers_.end() && found->second.asks_by_rdma ? Road::rdma : road_to(peer);
}

void Router::try_rdma(NodeId id) {
    if (rdma_ == nullptr || rdma_->active_devices() == 0) return;
    const Endpoint address = options_.rdma_of(id);
    if (address.empty()) return;
    Peer& peer = peers_[id];
    if (peer.rdma_up || peer.connecting || options_.now() < peer.retry_at) return;
    peer.connecting = true;
    rdma_->connect(id, address);
}

void Router::blame_rdma(NodeId peer, Peer& state, const std::string& why, bool was_up) {
    const Instant now = options_.now();
    if (was_up && now - state.rdma_since >= kProvenAfter) state.retry_after = {};
    state.retry_after = std::clamp(state.retry_after * 2, kRetryFirst, kRetryLongest);
    state.retry_at = now + state.retry_after;
    log::warn("rdma.link_failed", {{"peer", peer.brief()},
                                   {"why", why},
                                   {"was_up", was_up},
                                   {"chunks_go_by", "tcp"},
                                   {"retry_in_s", millis_of(state.retry_after) / 1000}});
}

void Router::keep_alive(const FetchOrder& order) {
    const auto found = peers_.find(order.from);
    if (found == peers_.end() || options_.now() - found->second.spoken_at < kKeepAlive) return;
    found->second.spoken_at = options_.now();
    tcp_->send(order.from, order.address, wire::Have{order.digest, {}});  // nothing new
}

/// A link's fetches end before it does: those by RDMA, and those that just fell back to TCP and wait for a link.
void Router::lose_fetches(NodeId from) {
    std::vector<RequestId> lost;
    for (const auto& [request, asked] : by_rdma_) {
        if (asked.order.from == from) lost.push_back(request);
    }
    for (const auto& [request, node] : retried_) {
        if (node != from) continue;
        lost.push_back(request);
        tcp_->cancel_fetch(from, request | kAgain);
    }
    for (const RequestId request : lost) {
        by_rdma_.erase(request);
        retried_.erase(request);
        handler_.on_fetch_done(from, request, FetchEnd::link_lost);
    }
}

void Router::send(NodeId to, const Endpoint& address, wire::TransferMessage message) {
    if (const auto* busy = std::get_if<wire::Busy>(&message); busy && asked_by_rdma_.erase({to, busy->request}) != 0) {
        return rdma_->refuse(to, *busy);
    }
    if (const auto* absent = std::get_if<wire::NotHere>(&message);
        absent && asked_by_rdma_.erase({to, absent->request}) != 0) {
        return rdma_->refuse(to, *absent);
    }
    // Before the first chunk is asked for, so that the link is there by then.
    if (std::holds_alternative<wire::Interest>(message)) try_rdma(to);
    if (const auto found = peers_.find(to); found != peers_.end()) found->second.spoken_at = options_.now();
    tcp_->send(to, address, std::move(message));
}

void Router::fetch(FetchOrder order) {
    FR_ASSERT((order.request & kAgain) == 0);
    if (!order.by_tcp && road_to(order.from) == Road::rdma) {
        by_rdma_.insert_or_assign(order.request, ByRdma{order, false});
        return rdma_->fetch(std::move(order));
    }
    if (!order.by_tcp) try_rdma(order.from);
    tcp_->fetch(std::move(order));
}

void Router::cancel_fetch(NodeId from, RequestId request) {
    if (const auto found = by_rdma_.find(request); found != by_rdma_.end()) {
        found->second.cancelled = true;
        return rdma_->cancel_fetch(from, request);
    }
    tcp_->cancel_fetch(from, retried_.contains(request) ? request | kAgain : request);
}

void Router::serve(ServeOrder order) {
    if (asked_by_rdma_.contains({order.to, order.request})) return rdma_->serve(std::move(order));
    tcp_->serve(std::move(order));
}

void Router::cancel_serve(NodeId to, RequestId request) {
    if (!asked_by_rdma_.contains({to, request})) return tcp_->cancel_serve(to, request);
    rdma_->refuse(to, wire::Busy{request, {}, {}});
}

void Router::drop(NodeId peer, const std::string& why) {
    if (rdma_ != nullptr) {
        // A peer is dropped because nothing came. If chunks were under way by RDMA then that is to blame, however
        // well it connects: another MTU on the way looks just so.
        const bool stalled = std::ranges::any_of(by_rdma_, [&](const auto& e) { return e.second.order.from == peer; });
        if (stalled) {
            ++stalls_;
            blame_rdma(peer, peers_[peer], why, true);
        }
        rdma_->drop(peer, why);
        lose_fetches(peer);
    }
    tcp_->drop(peer, why);
}

}  // namespace fastreg::transport
