// This node asks: the end of a connection that grants landing slots and is written into. It is always the
// side that connects. A request has one end for whoever ordered it (RequesterOwner::on_fetch_end), and one
// for its slot (transport/rdma/slots.h); a cancelled request has the first long before the second. The rdma
// thread only.
#pragma once

#include <deque>
#include <map>

#include "transport/data.h"
#include "transport/rdma/link.h"

namespace fastreg::transport::rdma {

class Requester;

class RequesterOwner {
  public:
    virtual ~RequesterOwner() = default;
    virtual void on_up(Requester& link) = 0;
    /// Exactly once for every fetch. With all_sent_to_sink `block` holds the chunk, in memory that its
    /// sender can write to: store first, check what was stored.
    virtual void on_fetch_end(Requester& link, RequestId request, FetchEnd end, Block block) = 0;
    /// No byte of it is here, and the peer is not to blame for that yet: the request waits for a landing slot, or is
    /// no older than chunks of this peer may be; how much of one has landed nobody sees. Said every kPausedTick.
    virtual void on_paused(Requester& link, RequestId request) = 0;
    /// Before the end of a request that the peer refused.
    virtual void on_refused(Requester& link, wire::TransferMessage message) = 0;
};

class Requester final : public Link {
  public:
    Requester(LinkContext context, ConnId conn, NodeId peer, Instant now, RequesterOwner& owner);

    /// What was asked for is sent at once or waits here for its turn; urgent ones first.
    void fetch(Instant now, FetchOrder order);
    void cancel(Instant now, RequestId request);
    [[nodiscard]] bool in_use() const override { return !open_.empty() || !waiting_.empty(); }
    /// A slot may be free again.
    void go_on(Instant now) { send_requests(now); }
    static constexpr Duration kPausedTick = 100ms;

    void on_cm(Instant now, const CmEvent& event) override;
    void on_deadline(Instant now) override;
    [[nodiscard]] Instant next_deadline() const override;

  private:
    /// From its request to the peer's last word on it.
    struct Open {
        Grant grant;               // empty once the peer said how it ended
        Digest digest;
        std::uint64_t bytes = 0;
        Instant sent;
        Instant deadline;          // of the request, or of the end of a cancelled one
        bool told = false;         // the owner knows its end
        bool cancelled = false;    // the peer's NACK(cancelled) is awaited, whatever came before
    };

    void on_message(Instant now, const wire::RdmaMessage& message) override;
    void on_work_done(Instant now, std::uint64_t work) override;
    void on_closing(Instant now) override;
    void on_queue_gone(Instant now) override;

    void on_route_resolved(Instant now);
    void on_established(Instant now, const CmEvent& event);
    void on_done(Instant now, const wire::RdmaDone& done);
    void on_nack(Instant now, const wire::RdmaNack& nack);
    void send_requests(Instant now);
    void send_request(Instant now, FetchOrder order, Grant grant);
    void note_pace(Instant now, const Open& open, std::uint64_t bytes);
    void begin_cancel(Instant now, RequestId request, Open& open);
    void tell(RequestId request, Open& open, FetchEnd end, Block block = {});
    [[nodiscard]] Duration patience() const;
    /// When its end, or that of its cancel, must have come.
    [[nodiscard]] Instant end_due(const Open& open) const;
    /// From when on a request is silent: chunks do not take so long here, or none has ended for longer than usual.
    [[nodiscard]] Instant late_at(const Open& open) const;
    /// Until when the peer counts as at work on what was sent then, should no more ends come.
    [[nodiscard]] Instant at_work_until(Instant sent) const;
    [[nodiscard]] std::size_t slots_max() const;

    RequesterOwner& owner_;
    wire::RdmaHello hello_;
    std::size_t depth_ = 0;  // agreed with the peer
    std::map<RequestId, Open> open_;
    std::deque<FetchOrder> waiting_;
    std::uint64_t works_ = 0;
    bool starved_ = false;                     // the peer would take more, and no slot is free
    Instant waiting_tick_ = Instant::never();  // of those in waiting_
    Instant alive_tick_ = Instant::never();    // of those that the peer works at
    Instant heard_;              // the last end of a request
    Duration usual_{};           // from request to end, smoothed
    Duration widest_gap_{};      // without an end while chunks were due: the widest, forgotten over some ends
    std::uint64_t usual_bytes_ = 0;  // of the last chunk
};

}  // namespace fastreg::transport::rdma
