#include "transport/rdma/requester.h"

#include <algorithm>

namespace fastreg::transport::rdma {
namespace {

constexpr Duration kWanted = 1s;
/// A chunk may take so many times what the last ones took, and the first ones, and larger ones, so long at least,
/// before it counts as silence.
constexpr int kUsualTimes = 3;
constexpr Duration kFirstTakes = 1s;
/// With many chunks due one of them ends far more often than each takes: so many of the widest gaps is silence too.
constexpr int kGapTimes = 2;
constexpr Duration kGapLeast = 1s;

}  // namespace

Requester::Requester(LinkContext context, ConnId conn, NodeId peer, Instant now, RequesterOwner& owner)
    : Link(context, conn, peer, kNoDevice, now), owner_(owner), heard_(now) {}

// --- connecting --------------------------------------------------------------------------------

void Requester::on_cm(Instant now, const CmEvent& event) {
    using Type = CmEvent::Type;
    if (state_ == State::closing || state_ == State::gone) return;
    switch (event.type) {
        case Type::address_resolved:
            device_ = event.device;
            if (auto asked = context_.verbs.resolve_route(conn_); !asked) close(now, describe(asked.error()));
            return;
        case Type::route_resolved: return on_route_resolved(now);
        case Type::established: return on_established(now, event);
        case Type::rejected: {
            const auto reject = wire::decode_rdma_reject(event.data);
            return close(now, reject && !reject->text.empty() ? "refused: " + reject->text : event.why);
        }
        case Type::failed: return close(now, event.why);
        case Type::disconnected:
            // Nothing is lost with an idle link; but a peer that ends one at once does not want it, and is let be.
            return close(now, event.why, state_ == State::up && !in_use() && now >= since_ + kWanted);
        case Type::device_removed: return close(now, "the RDMA device was removed");
        case Type::connect_request: return;
    }
}

void Requester::on_route_resolved(Instant now) {
    if (auto made = context_.verbs.make_queue(conn_, Role::requester, queue_sizes()); !made) {
        return close(now, describe(made.error()));
    }
    set_queue_made();
    hello_.depth = context_.options.depth;
    hello_.cluster_hash = context_.options.cluster_hash;
    hello_.node_id = context_.options.self;
    secret_random(hello_.nonce);
    hello_.keyed = context_.options.key.has_value();
    if (hello_.keyed) hello_.mac = wire::rdma_hello_mac(*context_.options.key, hello_, peer_);
    if (auto asked = context_.verbs.connect(conn_, wire::encode_rdma_hello(hello_)); !asked) {
        close(now, describe(asked.error()));
    }
}

void Requester::on_established(Instant now, const CmEvent& event) {
    if (state_ != State::connecting) return;
    const auto welcome = wire::decode_rdma_welcome(event.data);
    if (!welcome) return close(now, "the peer broke the protocol: " + welcome.error().what);
    if (welcome->node_id != peer_) return close(now, "another node answers there");
    if (welcome->keyed != hello_.keyed || welcome->cluster_hash != hello_.cluster_hash) {
        return close(now, "the peer is of another cluster, or only one of both has a key");
    }
    wire::RdmaProof proof;
    if (hello_.keyed) {
        const Mac& key = *context_.options.key;
        if (!equal_constant_time(wire::rdma_welcome_mac(key, hello_, *welcome), welcome->mac)) {
            return close(now, "the peer did not prove the mesh's key");
        }
        proof.mac = wire::rdma_proof_mac(key, hello_, *welcome);
    }
    depth_ = std::min(context_.options.depth, welcome->depth);
    set_up(now);
    heard_ = now;
    // The connecting side speaks first: iWARP demands it (RFC 5044), and the peer waits for the proof.
    if (!post(now, proof, ++works_)) return;
    owner_.on_up(*this);
    send_requests(now);
}

// --- requests ----------------------------------------------------------------------------------

void Requester::fetch(Instant now, FetchOrder order) {
    FR_ASSERT(state_ == State::up);
    last_used_ = now;
    if (order.urgent) {
        waiting_.push_front(std::move(order));
    } else {
        waiting_.push_back(std::move(order));
    }
    send_requests(now);
}

std::size_t Requester::slots_max() const {
    return std::min(depth_, slots_of_one_peer(context_.landing.count(), context_.options));
}

void Requester::send_requests(Instant now) {
    starved_ = false;
    while (state_ == State::up && !waiting_.empty() && open_.size() < slots_max() && has_send_room(open_.size() + 2)) {
        auto grant = context_.landing.grant(conn_);
        if (!grant) {
            starved_ = !waiting_.front().urgent;
            if (starved_) break;
            // A client waits for this one: TCP keeps a block for such.
            const RequestId request = waiting_.front().request;
            waiting_.pop_front();
            owner_.on_fetch_end(*this, request, FetchEnd::no_slot, {});
            continue;
        }
        FetchOrder order = std::move(waiting_.front());
        waiting_.pop_front();
        send_request(now, std::move(order), std::move(*grant));
    }
    if (waiting_.empty()) {
        waiting_tick_ = Instant::never();
    } else if (waiting_tick_ == Instant::never()) {
        waiting_tick_ = now + kPausedTick;
    }
}

void Requester::send_request(Instant now, FetchOrder order, Grant grant) {
    wire::RdmaRequest request;
    request.request = order.request;
    request.generation = grant.generation();
    request.address = reinterpret_cast<std::uint64_t>(grant.data());
    request.key = context_.verbs.landing_key(device_, grant.data());
    request.room = static_cast<std::uint32_t>(grant.size());
    request.digest = order.digest;
    request.blob_size = order.blob_size;
    request.chunk = order.chunk;
    request.urgent = order.urgent;
    Open& open = open_[order.request];
    open.grant = std::move(grant);
    open.digest = order.digest;
    open.bytes = request.chunk_bytes();
    open.sent = now;
    open.deadline = now + patience();
    if (alive_tick_ == Instant::never()) alive_tick_ = now + kPausedTick;
    (void)post(now, request, ++works_);  // a failure has closed the link, and ended this
}

Duration Requester::patience() const {
    return std::clamp(usual_ * 20, context_.options.request_timeout, context_.options.request_timeout_max);
}

/// As long as others end, the peer is at work and a cancelled one's turn comes; but come it must.
Instant Requester::end_due(const Open& open) const {
    if (!open.cancelled) return open.deadline;
    return std::min(std::max(open.deadline, heard_ + context_.options.cancel_grace),
                    open.deadline + context_.options.send_timeout);
}

Instant Requester::late_at(const Open& open) const {
    const Duration usual = usual_ * kUsualTimes;
    const Duration takes = open.bytes > usual_bytes_ ? std::max(usual, Duration(kFirstTakes)) : usual;
    return std::min(open.sent + takes, at_work_until(open.sent));
}

Instant Requester::at_work_until(Instant sent) const {
    return std::max(heard_, sent) + std::max(widest_gap_ * kGapTimes, Duration(kGapLeast));
}

void Requester::note_pace(Instant now, const Open& open, std::uint64_t bytes) {
    const Duration took = now - open.sent;
    usual_ = usual_ == Duration{} ? took : (usual_ * 7 + took) / 8;
    usual_bytes_ = bytes;
    widest_gap_ = std::max(now - std::max(heard_, open.sent), widest_gap_ * 7 / 8);
}

void Requester::cancel(Instant now, RequestId request) {
    const auto waits = std::ranges::find(waiting_, request, &FetchOrder::request);
    if (waits != waiting_.end()) {
        waiting_.erase(waits);
        return owner_.on_fetch_end(*this, request, FetchEnd::cancelled, {});
    }
    const auto found = open_.find(request);
    if (found == open_.end() || found->second.told) return;
    tell(request, found->second, FetchEnd::cancelled);
    begin_cancel(now, request, found->second);
}

void Requester::begin_cancel(Instant now, RequestId request, Open& open) {
    open.cancelled = true;
    open.deadline = now + context_.options.cancel_grace;
    (void)post(now, wire::RdmaCancel{request, open.grant.generation()}, ++works_);
}

void Requester::tell(RequestId request, Open& open, FetchEnd end, Block block) {
    if (std::exchange(open.told, true)) return;
    owner_.on_fetch_end(*this, request, end, std::move(block));
}

void Requester::on_message(Instant now, const wire::RdmaMessage& message) {
    if (const auto* done = std::get_if<wire::RdmaDone>(&message)) {
        on_done(now, *done);
    } else if (const auto* nack = std::get_if<wire::RdmaNack>(&message)) {
        on_nack(now, *nack);
    } else {
        return close(now, "the peer broke the protocol: an answering end that asks");
    }
    send_requests(now);
}

void Requester::on_done(Instant now, const wire::RdmaDone& done) {
    const auto found = open_.find(done.request);
    if (found == open_.end() || !found->second.grant || found->second.grant.generation() != done.generation ||
        found->second.bytes != done.bytes) {
        return close(now, "the peer broke the protocol: a DONE that answers no request");
    }
    Open& open = found->second;
    if (open.told) ++context_.counters.late_ends;
    if (!open.cancelled) note_pace(now, open, done.bytes);
    heard_ = now;
    Block block = std::move(open.grant).give_up(Terminal(conn_, done.generation), done.bytes);
    if (done.bytes == 0) block.reset();
    tell(done.request, open, FetchEnd::all_sent_to_sink, std::move(block));
    // A cancel that crossed the DONE is answered too, and counts until then.
    if (!open.cancelled) open_.erase(done.request);
}

void Requester::on_nack(Instant now, const wire::RdmaNack& nack) {
    using Why = wire::RdmaNack::Why;
    const auto found = open_.find(nack.request);
    if (found == open_.end() || (nack.why == Why::cancelled && !found->second.cancelled) ||
        (found->second.grant && found->second.grant.generation() != nack.generation) ||
        (!found->second.grant && nack.why != Why::cancelled)) {
        return close(now, "the peer broke the protocol: a refusal that answers no request");
    }
    Open& open = found->second;
    heard_ = now;
    if (open.grant) (void)std::move(open.grant).give_up(Terminal(conn_, nack.generation), 0);
    if (nack.why == Why::cancelled) {
        open_.erase(found);
        return;
    }
    if (!open.told) {
        if (nack.why == Why::busy) {
            owner_.on_refused(*this, wire::Busy{nack.request, open.digest, nack.try_instead});
        } else {
            owner_.on_refused(*this, wire::NotHere{nack.request, open.digest, nack.whole});
        }
        tell(nack.request, open, nack.why == Why::busy ? FetchEnd::busy : FetchEnd::not_here);
    }
    if (!open.cancelled) open_.erase(nack.request);
}

void Requester::on_work_done(Instant now, std::uint64_t) { send_requests(now); }

// --- time and the end --------------------------------------------------------------------------

void Requester::on_deadline(Instant now) {
    Link::on_deadline(now);
    if (state_ != State::up) return;
    for (auto& [request, open] : open_) {
        if (now < end_due(open)) continue;
        if (open.cancelled) {
            const Duration took = now - open.deadline + context_.options.cancel_grace;
            return close(now, "the peer did not end a cancelled request within " + std::to_string(millis_of(took)) +
                                  " ms");
        }
        ++context_.counters.timeouts;
        tell(request, open, FetchEnd::link_lost);
        begin_cancel(now, request, open);
        if (state_ != State::up) return;
    }
    if (now >= waiting_tick_) {
        waiting_tick_ = now + kPausedTick;
        // Or the peer has all the slots that it may: also for requests that were cancelled and end behind the others.
        const bool at_work = now < at_work_until(heard_);
        for (const FetchOrder& order : waiting_) {
            if (starved_ || at_work) owner_.on_paused(*this, order.request);
        }
    }
    if (now >= alive_tick_) {
        alive_tick_ = Instant::never();
        for (const auto& [request, open] : open_) {
            if (open.told || now >= late_at(open)) continue;
            alive_tick_ = now + kPausedTick;
            owner_.on_paused(*this, request);
        }
    }
    if (!in_use() && now >= last_used_ + context_.options.idle) close(now, "idle", true);
}

Instant Requester::next_deadline() const {
    Instant next = Link::next_deadline();
    if (state_ != State::up) return next;
    for (const auto& [request, open] : open_) next = std::min(next, end_due(open));
    if (!in_use()) next = std::min(next, last_used_ + context_.options.idle);
    return std::min({next, waiting_tick_, alive_tick_});
}

void Requester::on_closing(Instant) {
    waiting_tick_ = alive_tick_ = Instant::never();
    for (FetchOrder& order : std::exchange(waiting_, {})) {
        owner_.on_fetch_end(*this, order.request, FetchEnd::link_lost, {});
    }
    for (auto& [request, open] : open_) {
        if (open.grant) context_.landing.quarantine(std::move(open.grant));
        tell(request, open, FetchEnd::link_lost);
    }
    open_.clear();
}

void Requester::on_queue_gone(Instant) {}

}  // namespace fastreg::transport::rdma
