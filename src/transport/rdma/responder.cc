#include "transport/rdma/responder.h"

#include <algorithm>

namespace fastreg::transport::rdma {

Responder::Responder(LinkContext context, ConnId conn, DeviceIndex device, Instant now, ResponderOwner& owner,
                     wire::RdmaHello hello)
    : Link(context, conn, hello.node_id, device, now), owner_(owner), hello_(hello) {}

// --- connecting --------------------------------------------------------------------------------

void Responder::accept(Instant now, LinkLayer layer) {
    // An iWARP write that is not signalled "completes" when TCP has it, and may still be read from its source.
    signal_writes_ = layer == LinkLayer::iwarp;
    segment_ = std::min(context_.options.segment, context_.verbs.devices()[device_].message_max);
    if (auto made = context_.verbs.make_queue(conn_, Role::responder, queue_sizes()); !made) {
        return close(now, describe(made.error()));
    }
    set_queue_made();
    welcome_.depth = context_.options.depth;
    welcome_.cluster_hash = context_.options.cluster_hash;
    welcome_.node_id = context_.options.self;
    secret_random(welcome_.nonce);
    welcome_.keyed = context_.options.key.has_value();
    if (welcome_.keyed) welcome_.mac = wire::rdma_welcome_mac(*context_.options.key, hello_, welcome_);
    depth_ = std::min(welcome_.depth, hello_.depth);
    if (auto accepted = context_.verbs.accept(conn_, wire::encode_rdma_welcome(welcome_)); !accepted) {
        close(now, describe(accepted.error()));
    }
}

void Responder::on_cm(Instant now, const CmEvent& event) {
    using Type = CmEvent::Type;
    switch (event.type) {
        case Type::established:
            if (state_ == State::connecting) set_up(now);
            return;
        case Type::disconnected: return close(now, event.why, !in_use());  // the asker's idle links end so
        case Type::rejected:
        case Type::failed: return close(now, event.why);
        case Type::device_removed: return close(now, "the RDMA device was removed");
        case Type::address_resolved:
        case Type::route_resolved:
        case Type::connect_request: return;
    }
}

// --- requests ----------------------------------------------------------------------------------

void Responder::on_message(Instant now, const wire::RdmaMessage& message) {
    // The peer's first message may come before the connection manager says "established".
    if (state_ == State::connecting) set_up(now);
    if (const auto* proof = std::get_if<wire::RdmaProof>(&message)) return on_proof(now, *proof);
    if (!proven_) return close(now, "the peer broke the protocol: it asked before it proved the mesh's key");
    if (const auto* request = std::get_if<wire::RdmaRequest>(&message)) return on_request(now, *request);
    if (const auto* cancel = std::get_if<wire::RdmaCancel>(&message)) return on_cancel(now, *cancel);
    close(now, "the peer broke the protocol: an asking end that answers");
}

void Responder::on_proof(Instant now, const wire::RdmaProof& proof) {
    if (proven_) return close(now, "the peer broke the protocol: a second proof");
    if (context_.options.key &&
        !equal_constant_time(wire::rdma_proof_mac(*context_.options.key, hello_, welcome_), proof.mac)) {
        return close(now, "the peer did not prove the mesh's key");
    }
    proven_ = true;
    owner_.on_proven(*this);
}

void Responder::on_deadline(Instant now) {
    Link::on_deadline(now);
    if (state_ == State::up && !proven_ && now >= since_ + context_.options.connect_timeout) {
        close(now, "the peer did not prove the mesh's key in time");
    }
}

Instant Responder::next_deadline() const {
    const Instant next = Link::next_deadline();
    return state_ == State::up && !proven_ ? std::min(next, since_ + context_.options.connect_timeout) : next;
}

void Responder::on_request(Instant now, const wire::RdmaRequest& request) {
    const auto same = [&](const auto& w) { return w.second.request == request.request; };
    const bool in_flight = std::ranges::any_of(writing_, same);
    if (in_flight || asked_.contains(request.request) || asked_.size() >= depth_) {
        return close(now, "the peer broke the protocol: a request id twice, or more requests than agreed");
    }
    asked_.emplace(request.request, request);
    owner_.on_request(*this, request);
}

void Responder::on_cancel(Instant now, const wire::RdmaCancel& cancel) {
    // One that is not known crossed its end on the way.
    if (const auto found = asked_.find(cancel.request); found != asked_.end()) {
        if (found->second.generation != cancel.generation) {
            return close(now, "the peer broke the protocol: a CANCEL of another slot than the request's");
        }
        asked_.erase(found);
        owner_.on_cancelled(*this, cancel.request);
    }
    // What is on its way ends with its DONE; the cancel is answered behind it either way.
    queue(now, {wire::RdmaNack{cancel.request, cancel.generation, wire::RdmaNack::Why::cancelled, false, {}},
                std::nullopt, ++works_});
}

const wire::RdmaRequest* Responder::asked(RequestId request) const {
    const auto found = asked_.find(request);
    return found == asked_.end() ? nullptr : &found->second;
}

void Responder::write(Instant now, RequestId request, std::size_t source_slot) {
    const auto found = asked_.find(request);
    FR_ASSERT(found != asked_.end());
    const wire::RdmaRequest asked = found->second;
    asked_.erase(found);  // nothing is written for it after its one end
    const std::uint64_t bytes = asked.chunk_bytes();
    const std::uint64_t work = ++works_;
    writing_[work] = {request, source_slot};
    last_used_ = now;
    queue(now, {wire::RdmaDone{request, asked.generation, static_cast<std::uint32_t>(bytes)},
                ChunkWrite{source_slot, bytes, asked.address, asked.key, segment_, signal_writes_}, work});
}

void Responder::refuse(Instant now, RequestId request, wire::RdmaNack::Why why, bool whole,
                       std::vector<NodeId> try_instead) {
    const auto found = asked_.find(request);
    if (found == asked_.end()) return;
    const std::uint32_t generation = found->second.generation;
    asked_.erase(found);
    if (try_instead.size() > wire::kRdmaTryMax) try_instead.resize(wire::kRdmaTryMax);
    queue(now, {wire::RdmaNack{request, generation, why, whole, std::move(try_instead)}, std::nullopt, ++works_});
}

void Responder::queue(Instant now, Waiting waiting) {
    // A request and its cancel each have one end: more of them means that the peer takes none.
    if (waiting_.size() > 4 * depth_ + 16) return close(now, "the peer broke the protocol: it takes no answers");
    waiting_.push_back(std::move(waiting));
    flush(now);
}

void Responder::flush(Instant now) {
    while ((state_ == State::up || state_ == State::connecting) && !waiting_.empty()) {
        const Waiting& next = waiting_.front();
        const std::size_t units = next.chunk ? (next.chunk->bytes + segment_ - 1) / segment_ + 1 : 1;
        if (!has_send_room(units)) return;
        const Waiting taken = std::move(waiting_.front());
        waiting_.pop_front();
        if (!(taken.chunk ? post_chunk(now, *taken.chunk, taken.end, taken.work)
                          : post(now, taken.end, taken.work))) {
            return;
        }
    }
}

void Responder::on_work_done(Instant now, std::uint64_t work) {
    if (const auto found = writing_.find(work); found != writing_.end()) {
        const Writing writing = found->second;
        writing_.erase(found);
        owner_.on_written(*this, writing.request, writing.source_slot, state_ == State::up);
    }
    flush(now);
}

// --- the end -----------------------------------------------------------------------------------

void Responder::on_closing(Instant) {
    std::vector<RequestId> open;
    for (const auto& [request, asked] : asked_) open.push_back(request);
    asked_.clear();
    waiting_.clear();
    owner_.on_responder_closing(*this, open);
}

void Responder::on_queue_gone(Instant) {
    // The device reads from the source slots until its queue pair is gone.
    for (const auto& [work, writing] : std::exchange(writing_, {})) {
        owner_.on_written(*this, writing.request, writing.source_slot, false);
    }
}

}  // namespace fastreg::transport::rdma
