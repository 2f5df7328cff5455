// One blob in progress: its neighbours, its chain, what is here, what is asked for, who reads it. Each
// kind of decision has its own source file, download_*.cc; the private members below are in their order.
// Inside the core only; the facade (transfer.h) documents the events.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "base/chunk_map.h"
#include "transfer/chain_trust.h"
#include "transfer/context.h"
#include "transfer/pacing.h"
#include "transfer/picker.h"
#include "transfer/requests.h"
#include "transfer/swarm.h"
#include "transfer/transfer.h"

namespace fastreg::transfer {

class Download {
  public:
    Download(Instant now, const Digest& digest, Context& context);

    void start(Instant now, Outbox& out);
    void set_size(Instant now, std::uint64_t size, Outbox& out);
    /// Verified chunks that were here before; before on_opened() only.
    void set_have(ChunkMap have);
    /// Before set_size() only.
    void set_chain(std::optional<Chain> chain) { stored_chain_ = std::move(chain); }
    void on_opened(Instant now, const Status& status, ChunkMap have, Outbox& out);
    void on_holders(Instant now, std::optional<std::uint64_t> size, const std::vector<Holder>& holders,
                    Outbox& out);
    void on_holder(const Holder& holder);
    /// Named by a neighbour.
    void on_others(const std::vector<NodeId>& nodes);
    void on_lookup_failed(Instant now);
    void on_first_hand(Instant now, ChunkIndex chunk, Bytes end_link, Outbox& out);
    void on_upstream_bytes(Instant now) { alive_at_ = now; }
    /// Ends without a word of success; neighbours are told Done.
    void stop(Outbox& out);
    /// The same, and neighbours are told nothing.
    void stop_quietly(Outbox& out);

    void add_reader(ReaderId reader, std::uint64_t offset, std::uint64_t end);
    void move_reader(ReaderId reader, std::uint64_t offset);
    void drop_reader(ReaderId reader) { readers_.erase(reader); }

    void on_interest(Instant now, const NodeId& from, const wire::Interest& message, Outbox& out);
    void on_map(Instant now, const NodeId& from, const wire::Map& message, Outbox& out);
    void on_have(Instant now, const NodeId& from, const wire::Have& message, Outbox& out);
    void on_offer(Instant now, const NodeId& from, const wire::Offer& message, Outbox& out);
    void on_done(Instant now, const NodeId& from, Outbox& out);
    void on_busy(Instant now, const NodeId& from, const wire::Busy& message, Outbox& out);
    void on_not_here(Instant now, const NodeId& from, const wire::NotHere& message, Outbox& out);
    void on_chain_request(const NodeId& from, const wire::ChainRequest& message, Outbox& out) const;
    void on_chain_page(Instant now, const NodeId& from, const wire::ChainPage& message, Outbox& out);
    void on_node_gone(Instant now, const NodeId& node, Outbox& out);
    /// No byte for 400 ms: its chunks are open to others; one request stays as the probe.
    void on_node_silent(Instant now, const NodeId& node, Outbox& out);
    /// False when the request is none of this download any more.
    bool on_chunk(Instant now, const NodeId& from, RequestId request, const ChunkEnd& end, Outbox& out);
    /// True when the request is of this download.
    bool on_bytes(Instant now, const NodeId& from, RequestId request, std::uint64_t n);

    /// All that is due by now; called after every event of this blob, too.
    void tick(Instant now, Outbox& out);
    /// Call when requests were sent or ended after the last tick().
    void plan_wake(Instant now);
    [[nodiscard]] Instant next_deadline() const;
    /// Sends one more request if the rules allow; false when there is nothing to ask for now.
    bool request_one(Instant now, Outbox& out);
    /// So many requests may be outstanding in total, as seen from this blob's tau.
    [[nodiscard]] std::size_t outstanding_limit() const;

    // Questions.
    [[nodiscard]] const Digest& digest() const { return digest_; }
    [[nodiscard]] std::optional<std::uint64_t> size() const { return size_; }
    [[nodiscard]] bool has(ChunkIndex chunk) const { return opened_ && have_.has(chunk); }
    [[nodiscard]] bool over() const { return over_; }
    /// Nothing to ask for until something happens; the facade's note to itself.
    bool idle = false;
    [[nodiscard]] bool complete() const { return size_ && opened_ && have_.full(); }
    [[nodiscard]] std::uint64_t verified_run(std::uint64_t offset) const;
    [[nodiscard]] std::size_t counted() const { return requests_.counted(); }
    /// Up to three neighbours that have the chunk, at random, for BUSY.
    [[nodiscard]] std::vector<NodeId> others_with(ChunkIndex chunk, const NodeId& asker);
    [[nodiscard]] const Swarm& swarm() const { return swarm_; }
    [[nodiscard]] bool first_hand() const { return trust_.own_size() > 0 || upstream_chunks_ > 0; }
    [[nodiscard]] BlobStatus status() const;

  private:
    struct Reader {
        std::uint64_t offset = 0;
        std::uint64_t end = 0;
    };
    struct Choice {
        double cost = 0;
        std::uint64_t tie = 0;
        const NodeId* node = nullptr;
        Neighbour* neighbour = nullptr;
    };

    // download.cc
    void settle_size(Instant now, Outbox& out);
    void finish_if_complete(Outbox& out);
    void fail_with(Errc code, std::string what, Outbox& out);
    void fail_with(Error error, Outbox& out);
    SourceShare& share_of(const NodeId& node, Road road);
    [[nodiscard]] ChunkIndex missing() const { return have_.count() - have_.set_count(); }

    // download_sources.cc
    void dial(Instant now, Outbox& out);
    void greet(const NodeId& node, Outbox& out);
    void assume_whole(const NodeId& node, Neighbour& neighbour);
    void remove_neighbour(Instant now, const NodeId& node, Duration back_off, Outbox& out);
    void look_up(Instant now, Outbox& out);
    [[nodiscard]] bool few_sources() const;
    [[nodiscard]] bool useful(const Neighbour& neighbour) const;
    [[nodiscard]] bool has_source(Instant now) const;
    [[nodiscard]] std::size_t sources() const;

    // download_maps.cc
    void send_map(const NodeId& node, Outbox& out) const;
    void flush_haves(Outbox& out);

    // download_pick.cc
    [[nodiscard]] std::vector<Choice> choices(Instant now, std::size_t source_count);
    bool take_offer(Instant now, Outbox& out);
    bool ask_window(Instant now, const std::vector<Choice>& peers, Outbox& out);
    bool ask_next(Instant now, const std::vector<Choice>& peers, Outbox& out);
    [[nodiscard]] bool in_order() const;

    // download_requests.cc
    void forget_requests_of(Instant now, const NodeId& node, bool tell, Outbox& out);
    void end_request(RequestId id);
    void cancel_request(const Request& request, Outbox& out);
    void ask(Instant now, const NodeId& node, ChunkIndex chunk, bool window, bool extra, Outbox& out);

    // download_slow.cc
    void mark_stale(Instant now);
    bool ask_endgame(Instant now, const std::vector<Choice>& peers, Outbox& out);
    void hedge(Instant now, Outbox& out);
    /// So old that no cap keeps another copy from being asked for.
    [[nodiscard]] bool stuck(Instant now, const Request& request) const;
    [[nodiscard]] std::size_t fresh_copies(Instant now, ChunkIndex chunk) const;
    [[nodiscard]] bool may_duplicate(double share, ChunkIndex chunk, std::uint64_t spent) const;
    [[nodiscard]] Duration hedge_after(const Request& request) const;

    // download_landing.cc
    void on_stored(Instant now, const NodeId& from, ChunkIndex chunk, Outbox& out);
    void on_sample(Instant now, const Request& request);

    // download_chain.cc
    void ask_for_chain(Instant now, Outbox& out);
    void ask_chain_of(Instant now, const NodeId& node, Neighbour& neighbour, Outbox& out);
    void chain_dropped(Outbox& out);
    void absolve_suspects();
    void reconsider_chain(Instant now, Outbox& out);
    void settle_limbo(Outbox& out);

    // download_blame.cc
    void on_bad_chunk(Instant now, const NodeId& from, ChunkIndex chunk, Outbox& out);
    void name_suspects(ChunkIndex chunk, Outbox& out);
    void shun(Instant now, const NodeId& node, Outbox& out);
    void blame(Instant now, const NodeId& node, std::string why, Outbox& out);
    void name(const NodeId& node, std::string why, Outbox& out);
    void blame_chain(Instant now, std::map<NodeId, bool> givers, Outbox& out);

    // download_readers.cc
    void report_progress(Outbox& out);
    /// What a reader waits for now; nothing when there is no reader.
    [[nodiscard]] std::vector<ChunkIndex> heads() const;

    Digest digest_;
    Context& context_;
    std::optional<std::uint64_t> size_;
    bool size_sure_ = false;  // not only a neighbour's word
    std::map<NodeId, std::uint64_t> size_claims_;
    ChunkGrid grid_;
    bool opened_ = false;
    bool over_ = false;
    ChunkMap have_;
    std::optional<Chain> stored_chain_;
    ChainTrust trust_;
    ChunkPicker picker_;
    Swarm swarm_;
    Requests requests_;
    Pacing pacing_;
    std::map<ReaderId, Reader> readers_;

    std::vector<ChunkIndex> fresh_;  // verified, not yet announced
    Instant fresh_since_ = Instant::never();
    std::map<ChunkIndex, std::set<NodeId>> bad_;  // who sent what did not hold, under this chain
    std::map<NodeId, unsigned> damaged_;          // failed checksums by sender
    ChunkMap limbo_;  // verified under a chain that was dropped
    Bytes limbo_links_;
    std::map<std::pair<NodeId, Road>, SourceShare> shares_;
    std::uint64_t endgame_bytes_ = 0;
    std::uint64_t hedge_bytes_ = 0;
    std::uint64_t last_prefix_ = 0;

    std::uint64_t upstream_chunks_ = 0;
    Instant stored_at_;
    Instant alive_at_;  // last progress, or a source in sight
    Instant alive_checked_;
    Instant wake_ = Instant::never();
    Instant next_lookup_ = Instant::never();
    Duration lookup_wait_;
};

}  // namespace fastreg::transfer
