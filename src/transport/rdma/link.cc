#include "transport/rdma/link.h"

#include <algorithm>
#include <array>

namespace fastreg::transport::rdma {
namespace {

constexpr std::size_t kPollAtOnce = 32;
/// Completions of one link in one turn, so that others get theirs.
constexpr std::size_t kCompletionBudget = 256;
/// A request, its cancel, and what is neither.
constexpr std::uint32_t kMessageReserve = 8;
constexpr std::uint32_t kSendsMin = 96;

}  // namespace

Link::Link(LinkContext context, ConnId conn, NodeId peer, DeviceIndex device, Instant now)
    : context_(context), conn_(conn), peer_(peer), device_(device), since_(now), last_used_(now) {}

Link::~Link() { FR_ASSERT(state_ == State::gone); }

// A request may be followed by its cancel, and both are answered: so many messages may be under way at once
// in either direction. Receiver-not-ready cannot happen; on soft iWARP it would end the connection.
QueueSizes Link::queue_sizes() const {
    const std::uint32_t messages = 2U * context_.options.depth + kMessageReserve;
    return {messages, std::max(messages, kSendsMin)};
}

void Link::set_queue_made() {
    has_queue_ = true;
    receives_out_ = queue_sizes().receives;
    send_room_ = queue_sizes().sends;
}

void Link::set_up(Instant now) {
    state_ = State::up;
    was_up_ = true;
    since_ = last_used_ = now;
}

bool Link::post(Instant now, const wire::RdmaMessage& message, std::uint64_t work) {
    FR_ASSERT(send_room_ > 0);
    if (auto posted = context_.verbs.post_message(conn_, wire::encode_rdma(message), work); !posted) {
        close(now, describe(posted.error()));
        return false;
    }
    --send_room_;
    if (posted_.empty()) moved_ = now;
    posted_.push_back({work, 1});
    return true;
}

bool Link::post_chunk(Instant now, const ChunkWrite& write, const wire::RdmaMessage& done, std::uint64_t work) {
    const std::size_t segments = (write.bytes + write.segment - 1) / write.segment;
    FR_ASSERT(send_room_ >= segments + 1);
    if (auto posted = context_.verbs.post_chunk(conn_, write, wire::encode_rdma(done), work); !posted) {
        close(now, describe(posted.error()));
        return false;
    }
    send_room_ -= segments + 1;
    if (posted_.empty()) moved_ = now;
    posted_.push_back({work, segments + 1});
    return true;
}

bool Link::on_completions(Instant now) {
    if (!has_queue_) return false;
    std::array<Completion, kPollAtOnce> batch;
    for (std::size_t seen = 0; seen < kCompletionBudget; seen += batch.size()) {
        const std::size_t count = context_.verbs.poll(conn_, batch);
        for (const Completion& completion : std::span(batch).first(count)) on_completion(now, completion);
        if (state_ == State::closing && posted_.empty() && receives_out_ == 0) destroy_queue(now);
        if (!has_queue_ || count < batch.size()) return false;
    }
    return true;
}

void Link::on_completion(Instant now, const Completion& completion) {
    const bool receive = (completion.work & Verbs::kReceive) != 0;
    if (!completion.ok && state_ != State::closing) {
        // The first that failed says what happened; those behind it are flushed.
        close(now, std::string(receive ? "receiving" : "sending") + " failed: " + std::string(completion.why));
    }
    if (!receive) return on_send(now, completion);
    FR_ASSERT(receives_out_ > 0);
    --receives_out_;
    if (completion.ok && state_ != State::closing) {
        on_receive(now, static_cast<std::uint32_t>(completion.work & ~Verbs::kReceive), completion.bytes);
    }
}

void Link::on_receive(Instant now, std::uint32_t index, std::uint32_t bytes) {
    last_used_ = now;
    const auto message = wire::decode_rdma(context_.verbs.received(conn_, index, bytes));
    // Posted again before it is answered: the peer may send the next at once.
    if (auto posted = context_.verbs.post_receive(conn_, index); !posted) {
        return close(now, describe(posted.error()));
    }
    ++receives_out_;
    if (!message) return close(now, "the peer broke the protocol: " + message.error().what);
    on_message(now, *message);
}

void Link::on_send(Instant now, const Completion& completion) {
    if (!completion.ok) ++context_.counters.works_broken;
    if ((completion.work & Verbs::kSegment) != 0) return;  // counted with the message behind it
    const auto at = std::ranges::find(posted_, completion.work, &Posted::work);
    if (at == posted_.end()) return;
    for (auto done = posted_.begin(); done != at + 1; ++done) send_room_ += done->units;
    posted_.erase(posted_.begin(), at + 1);
    last_used_ = moved_ = now;
    on_work_done(now, completion.work);
}

void Link::close(Instant now, std::string why, bool orderly) {
    if (state_ == State::closing || state_ == State::gone) return;
    orderly_ = orderly;
    state_ = State::closing;
    since_ = now;
    why_ = std::move(why);
    if (why_.starts_with("the peer broke the protocol")) ++context_.counters.protocol_errors;
    if (!orderly_) ++failed_as();
    context_.verbs.to_error(conn_);
    context_.verbs.disconnect(conn_);
    on_closing(now);
    if (!has_queue_) destroy_queue(now);
}

void Link::destroy_queue(Instant now) {
    if (state_ == State::gone) return;
    if (!context_.verbs.destroy_queue(conn_)) {  // its slots are not free while it may live: again in a while
        since_ = now;
        return;
    }
    has_queue_ = false;
    state_ = State::gone;
    posted_.clear();
    on_queue_gone(now);
    context_.landing.on_queue_gone(QueueGone(conn_), now);
    context_.verbs.close(conn_);
}

void Link::finish(Instant now) {
    close(now, "the node is closing", true);
    destroy_queue(now);
    state_ = State::gone;  // whatever a device still has ends with the process
}

void Link::on_deadline(Instant now) {
    if (state_ == State::closing && now >= since_ + context_.options.drain_max) destroy_queue(now);
    if (state_ == State::connecting && now >= since_ + context_.options.connect_timeout) {
        close(now, "no answer within " + std::to_string(millis_of(context_.options.connect_timeout)) + " ms");
    }
    // A peer that takes nothing (over iWARP: an empty TCP window) would keep source slots for ever.
    if (state_ == State::up && !posted_.empty() && now >= moved_ + context_.options.send_timeout) {
        close(now, "nothing that was sent arrived within " + std::to_string(millis_of(context_.options.send_timeout)) +
                       " ms");
    }
}

Instant Link::next_deadline() const {
    switch (state_) {
        case State::connecting: return since_ + context_.options.connect_timeout;
        case State::closing: return since_ + context_.options.drain_max;
        case State::up: return posted_.empty() ? Instant::never() : moved_ + context_.options.send_timeout;
        case State::gone: return Instant::never();
    }
    return Instant::never();
}

}  // namespace fastreg::transport::rdma
