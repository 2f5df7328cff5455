// This node answers: the end of a connection that writes chunks into the peer's slots. Its queue pair reaches
// no memory that a peer may write to. Every request gets exactly one DONE or NACK, after which nothing is
// written for it any more, and every CANCEL one NACK(cancelled). The rdma thread only.
#pragma once

#include <deque>
#include <map>

#include "transport/rdma/link.h"

namespace fastreg::transport::rdma {

class Responder;

class ResponderOwner {
  public:
    virtual ~ResponderOwner() = default;
    /// The peer has the mesh's key: only now its connection may stand in for an older one.
    virtual void on_proven(Responder& link) = 0;
    virtual void on_request(Responder& link, const wire::RdmaRequest& request) = 0;
    /// Before its chunk was on its way; the owner forgets it.
    virtual void on_cancelled(Responder& link, RequestId request) = 0;
    /// Once for every write(): the source slot is no longer read from. `ok`: the peer has it.
    virtual void on_written(Responder& link, RequestId request, std::size_t source_slot, bool ok) = 0;
    /// The link is closing: requests that were not written yet end.
    virtual void on_responder_closing(Responder& link, const std::vector<RequestId>& open) = 0;
};

class Responder final : public Link {
  public:
    /// For a connect request that was judged already: `hello` is what it said, `welcome` the answer.
    Responder(LinkContext context, ConnId conn, DeviceIndex device, Instant now, ResponderOwner& owner,
              wire::RdmaHello hello);

    /// Accepts; an error has closed the link.
    void accept(Instant now, LinkLayer layer);
    [[nodiscard]] const wire::RdmaRequest* asked(RequestId request) const;
    /// Writes the chunk from a source slot; asked() must know the request.
    void write(Instant now, RequestId request, std::size_t source_slot);
    void refuse(Instant now, RequestId request, wire::RdmaNack::Why why, bool whole = false,
                std::vector<NodeId> try_instead = {});

    [[nodiscard]] bool proven() const { return proven_; }
    [[nodiscard]] bool in_use() const override { return !asked_.empty() || !writing_.empty() || !waiting_.empty(); }

    void on_cm(Instant now, const CmEvent& event) override;
    void on_deadline(Instant now) override;
    [[nodiscard]] Instant next_deadline() const override;

  private:
    struct Writing {
        RequestId request = 0;
        std::size_t source_slot = 0;
    };
    struct Waiting {  // for room in the send queue
        wire::RdmaMessage end;  // a DONE, behind its chunk, or a NACK
        std::optional<ChunkWrite> chunk;
        std::uint64_t work = 0;
    };

    void on_message(Instant now, const wire::RdmaMessage& message) override;
    void on_work_done(Instant now, std::uint64_t work) override;
    void on_closing(Instant now) override;
    void on_queue_gone(Instant now) override;
    [[nodiscard]] Counters::Number& failed_as() const override {
        return proven_ ? Link::failed_as() : context_.counters.greetings_refused;
    }
    void on_proof(Instant now, const wire::RdmaProof& proof);
    void on_request(Instant now, const wire::RdmaRequest& request);
    void on_cancel(Instant now, const wire::RdmaCancel& cancel);
    void queue(Instant now, Waiting waiting);
    void flush(Instant now);

    ResponderOwner& owner_;
    const wire::RdmaHello hello_;
    wire::RdmaWelcome welcome_;
    std::size_t depth_ = 0;
    bool proven_ = false;
    bool signal_writes_ = false;
    std::uint64_t segment_ = 0;
    std::map<RequestId, wire::RdmaRequest> asked_;     // until their end is queued
    std::map<std::uint64_t, Writing> writing_;         // by work
    std::deque<Waiting> waiting_;
    std::uint64_t works_ = 0;
};

}  // namespace fastreg::transport::rdma
