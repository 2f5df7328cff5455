// The links of one node: dials and takes them, finds the one a request belongs to, reads source chunks once
// for all who ask, and makes memory free again. Told of events and the time; opens nothing itself, so that
// tests run it over a fake of the verbs. The rdma thread only.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/rare_line.h"
#include "transport/data.h"
#include "transport/rdma/counters.h"
#include "transport/rdma/requester.h"
#include "transport/rdma/responder.h"
#include "transport/rdma/sources.h"

namespace fastreg::transport::rdma {

/// What becomes of fetches, serves and links. As in DataHandler (transport/data.h), of which this is the part
/// that RDMA has: messages are GetChunk, Cancel, Busy and NotHere only.
class RdmaEvents {
  public:
    virtual ~RdmaEvents() = default;
    virtual void on_message(NodeId from, wire::TransferMessage message) = 0;
    virtual void on_fetch_done(NodeId from, RequestId request, FetchEnd end) = 0;
    virtual void on_progress(NodeId from, RequestId request, std::uint64_t bytes) = 0;
    virtual void on_served(NodeId to, RequestId request, bool ok, std::uint64_t bytes) = 0;
    /// A link on which this node can ask `peer`.
    virtual void on_link_up(NodeId peer) = 0;
    /// Whether there is a device that works, or where peers connect to, has changed.
    virtual void on_devices() {}
    /// The peer has no link any more on which it can ask this node.
    virtual void on_asker_gone(NodeId) {}
    /// It is gone, or could not be made; its fetches have ended. `orderly`: nothing went wrong.
    virtual void on_link_down(NodeId peer, const std::string& why, bool orderly) = 0;
};

/// What the engine tells and asks, on the rdma thread.
class EngineOwner : public RdmaEvents {
  public:
    /// Fill `into` from the file, off this thread, then call Engine::on_read(slot, ok) on it.
    virtual void read(std::size_t slot, std::shared_ptr<const FileRef> file, std::uint64_t offset,
                      std::span<std::byte> into) = 0;
};

class Engine {
  public:
    struct Options {
        LinkOptions links;
        std::size_t landing_slots = 128;
        std::size_t source_slots = 64;
        std::size_t links_max = 128;  // each way; the one idle the longest makes room
    };

    /// Pins and registers the pools; the error says what to do where that is not allowed.
    [[nodiscard]] static Result<std::unique_ptr<Engine>> create(Verbs& verbs, Options options, EngineOwner& owner,
                                                                Counters& counters,
                                                                std::function<void()> on_slot_freed);
    ~Engine();
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    Result<std::uint16_t> listen(const Endpoint& at) { return verbs_.listen(at); }
    /// Makes a link to ask `peer`, unless there is one or one is being made.
    void connect(Instant now, NodeId peer, const Endpoint& address);
    void fetch(Instant now, FetchOrder order);
    void cancel_fetch(Instant now, NodeId from, RequestId request);
    void serve(Instant now, ServeOrder order);
    void refuse(Instant now, NodeId to, RequestId request, wire::RdmaNack::Why why, bool whole,
                std::vector<NodeId> try_instead);
    void drop(Instant now, NodeId peer, const std::string& why);
    void on_read(Instant now, std::size_t slot, bool ok);
    void on_slot_freed(Instant now);

    /// True when there may be more: call again soon.
    [[nodiscard]] bool on_cm_events(Instant now);
    /// True when there may be more, on whatever device: call again soon.
    [[nodiscard]] bool on_completions(Instant now, DeviceIndex device);
    void on_deadline(Instant now);
    [[nodiscard]] Instant next_deadline() const;

    /// For tests that write into memory as a peer would: all landing slots, all source slots.
    [[nodiscard]] std::span<std::byte> landing_memory() const { return landing_->memory(); }
    [[nodiscard]] std::span<std::byte> source_memory() const { return sources_->memory(); }
    /// Links that are not gone yet, teardown included.
    [[nodiscard]] std::size_t links() const { return links_.size(); }

  private:
    class Events;  // what links tell
    struct Serving {
        ConnId conn = 0;
        ServeOrder order;
    };

    Engine(Verbs& verbs, Options options, EngineOwner& owner, Counters& counters,
           std::unique_ptr<LandingPool> landing, std::unique_ptr<SourcePool> sources);
    [[nodiscard]] LinkContext context() { return {verbs_, *landing_, options_.links, counters_}; }
    [[nodiscard]] Requester* requester_to(NodeId peer);
    [[nodiscard]] Responder* responder_of(NodeId peer, RequestId request);
    void on_connect_request(Instant now, const CmEvent& event);
    void turn_away(const CmEvent& event, wire::CloseCode code, const std::string& text);
    [[nodiscard]] bool make_room_to_ask(Instant now);
    [[nodiscard]] bool make_room_for(Instant now, const Responder* proven);
    void limit_strangers(Instant now);
    [[nodiscard]] LinkLayer layer_of(DeviceIndex device) const { return verbs_.devices()[device].layer; }
    void tell_of_end(Instant now, const Link& link);
    [[nodiscard]] bool waits_to_be_served(ConnId conn, RequestId request) const;
    void start_serve(Instant now, Serving serving);
    void begin_waiting_serves(Instant now);
    void write(Instant now, const Serving& serving, SourcePool::Slot slot);
    void end_serve(const ServeOrder& order, bool ok);
    void sweep(Instant now);
    void go_on(Instant now);
    void supersede(const Responder& by);
    void tell_of_askers();

    Verbs& verbs_;
    const Options options_;
    EngineOwner& owner_;
    Counters& counters_;
    std::unique_ptr<LandingPool> landing_;
    std::unique_ptr<SourcePool> sources_;
    std::unique_ptr<Events> events_;
    std::map<ConnId, std::unique_ptr<Link>> links_;
    std::map<NodeId, Requester*> requesters_;          // not closing
    std::map<RequestId, FetchOrder> fetches_;          // of this node, open: their sinks
    std::map<SourcePool::Slot, std::vector<Serving>> loading_;  // wait for a slot to be filled
    std::deque<Serving> slotless_;                     // wait for a slot
    std::set<NodeId> askers_;                          // with a proven link that is up
    bool askers_changed_ = false;
    Instant swept_;
    RareLine asker_failed_;
    NodeId last_first_;                                // of the requesters, when slots were given out last
    std::vector<ConnId> unfinished_;                   // told of completions that were not all polled yet
    std::map<std::pair<ConnId, RequestId>, std::pair<ServeOrder, SourcePool::Slot>> writing_;
};

}  // namespace fastreg::transport::rdma
