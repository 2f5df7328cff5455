#include "transport/rdma/engine.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/log.h"

namespace fastreg::transport::rdma {
namespace {

/// While slots are not free.
constexpr Duration kLook = 250ms;
/// In one turn: strangers may connect at any rate, and chunks must go on meanwhile.
constexpr std::size_t kCmEventsAtOnce = 32;

/// The time of birth tells a file from one that was removed and whose number the file system gave out again.
std::optional<FileIdentity> identity_of(int fd) {
    struct statx about {};
    if (::statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO | STATX_BTIME, &about) != 0) return std::nullopt;
    const bool born = (about.stx_mask & STATX_BTIME) != 0;
    return FileIdentity{std::uint64_t{about.stx_dev_major} << 32U | about.stx_dev_minor, about.stx_ino,
                        born ? about.stx_btime.tv_sec : 0, born ? about.stx_btime.tv_nsec : 0};
}

}  // namespace

/// Links speak to the engine through this, so that its own face stays small.
class Engine::Events final : public RequesterOwner, public ResponderOwner {
  public:
    explicit Events(Engine& engine) : e_(engine) {}

    void on_up(Requester& link) override { e_.owner_.on_link_up(link.peer()); }
    void on_paused(Requester& link, RequestId request) override { e_.owner_.on_progress(link.peer(), request, 0); }
    void on_refused(Requester& link, wire::TransferMessage message) override {
        e_.owner_.on_message(link.peer(), std::move(message));
    }
    void on_fetch_end(Requester& link, RequestId request, FetchEnd end, Block block) override {
        const auto found = e_.fetches_.find(request);
        FR_ASSERT(found != e_.fetches_.end());
        const FetchOrder order = std::move(found->second);
        e_.fetches_.erase(found);
        if (end == FetchEnd::all_sent_to_sink) {
            ++e_.counters_.chunks_in;
            if (block) e_.owner_.on_progress(link.peer(), request, block.size());
            order.sink->on_block(0, std::move(block), std::nullopt);
        }
        e_.owner_.on_fetch_done(link.peer(), request, end);
    }

    void on_proven(Responder& link) override {
        e_.supersede(link);
        if (!e_.make_room_for(link.last_used(), &link)) link.close(link.last_used(), "too many connections", true);
        e_.askers_changed_ = true;
    }
    void on_request(Responder& link, const wire::RdmaRequest& request) override {
        e_.owner_.on_message(link.peer(), wire::GetChunk{request.request, request.digest, request.blob_size,
                                                         request.chunk, request.urgent});
    }
    void on_cancelled(Responder& link, RequestId request) override {
        e_.owner_.on_message(link.peer(), wire::Cancel{request});
        forget(link, request);
    }
    void on_written(Responder& link, RequestId request, std::size_t slot, bool ok) override {
        const auto found = e_.writing_.find({link.conn(), request});
        FR_ASSERT(found != e_.writing_.end() && found->second.second == slot);
        const ServeOrder order = std::move(found->second.first);
        e_.writing_.erase(found);
        e_.sources_->release(slot);
        if (ok) ++e_.counters_.chunks_out;
        e_.owner_.on_served(order.to, order.request, ok, ok ? order.length : 0);
    }
    void on_responder_closing(Responder& link, const std::vector<RequestId>& open) override {
        for (const RequestId request : open) on_cancelled(link, request);
        e_.askers_changed_ = true;
    }

    /// Ends a serve that waits for its source.
    void forget(const Responder& link, RequestId request) {
        const auto mine = [&](const Serving& s) { return s.conn == link.conn() && s.order.request == request; };
        std::vector<ServeOrder> ended;
        for (auto& [slot, waiters] : e_.loading_) {
            std::erase_if(waiters, [&](Serving& s) {
                if (!mine(s)) return false;
                ended.push_back(std::move(s.order));
                e_.sources_->release(slot);
                return true;
            });
        }
        std::erase_if(e_.slotless_, [&](Serving& s) {
            if (!mine(s)) return false;
            ended.push_back(std::move(s.order));
            return true;
        });
        for (const ServeOrder& order : ended) e_.end_serve(order, false);
    }

  private:
    Engine& e_;
};

Result<std::unique_ptr<Engine>> Engine::create(Verbs& verbs, Options options, EngineOwner& owner, Counters& counters,
                                               std::function<void()> on_slot_freed) {
    auto landing = LandingPool::create(options.landing_slots, kChunkSizeMax, std::move(on_slot_freed));
    auto sources = SourcePool::create(options.source_slots, kChunkSizeMax);
    if (!landing || !sources) {
        return fail(Errc::no_space, "no memory for the RDMA slots; lower rdma.landing-slots and rdma.source-slots");
    }
    FR_TRY(verbs.register_memory(landing->memory(), sources->memory(), kChunkSizeMax));
    return std::unique_ptr<Engine>(
        new Engine(verbs, std::move(options), owner, counters, std::move(landing), std::move(sources)));
}

Engine::Engine(Verbs& verbs, Options options, EngineOwner& owner, Counters& counters,
               std::unique_ptr<LandingPool> landing, std::unique_ptr<SourcePool> sources)
    : verbs_(verbs),
      options_(std::move(options)),
      owner_(owner),
      counters_(counters),
      landing_(std::move(landing)),
      sources_(std::move(sources)),
      events_(std::make_unique<Events>(*this)) {
    sweep({});
}

Engine::~Engine() {
    for (auto& [conn, link] : links_) link->finish({});
}

// --- links -------------------------------------------------------------------------------------

Requester* Engine::requester_to(NodeId peer) {
    const auto found = requesters_.find(peer);
    return found == requesters_.end() || found->second->state() != Link::State::up ? nullptr : found->second;
}

Responder* Engine::responder_of(NodeId peer, RequestId request) {
    for (const auto& [conn, link] : links_) {
        auto* responder = dynamic_cast<Responder*>(link.get());
        if (responder != nullptr && responder->peer() == peer && responder->asked(request) != nullptr) return responder;
    }
    return nullptr;
}

namespace {

/// Whichever was idle the longest; null when all are at work.
Link* idlest(const std::vector<Link*>& links) {
    Link* found = nullptr;
    for (Link* link : links) {
        if (link->state() != Link::State::up || link->in_use()) continue;
        if (found == nullptr || link->last_used() < found->last_used()) found = link;
    }
    return found;
}

}  // namespace

/// Of too many links the idlest is closed; false: all are at work.
bool Engine::make_room_to_ask(Instant now) {
    std::vector<Link*> mine;
    for (const auto& [peer, link] : requesters_) mine.push_back(link);
    if (mine.size() < options_.links_max) return true;
    Link* idle = idlest(mine);
    if (idle != nullptr) idle->close(now, "idle, and another one is needed", true);
    return idle != nullptr;
}

/// The same for links of peers that proved the key. Only one that proved it, too, takes the place of another: anybody
/// can repeat a greeting. Null: whether there will be room.
bool Engine::make_room_for(Instant now, const Responder* proven) {
    std::vector<Link*> others;
    for (const auto& [conn, link] : links_) {
        const auto* responder = dynamic_cast<const Responder*>(link.get());
        if (responder == nullptr || responder == proven || !responder->proven()) continue;
        if (link->state() != Link::State::closing && link->state() != Link::State::gone) others.push_back(link.get());
    }
    if (others.size() < options_.links_max) return true;
    Link* idle = idlest(others);
    if (idle != nullptr && proven != nullptr) idle->close(now, "idle, and another one is needed", true);
    return idle != nullptr;
}

/// Those that have proven nothing yet make room for the next of their kind, the oldest first. As many as there may be
/// peers: a whole mesh may greet at the same moment.
void Engine::limit_strangers(Instant now) {
    std::size_t count = 0;
    Link* oldest = nullptr;
    for (const auto& [conn, link] : links_) {
        const auto* responder = dynamic_cast<const Responder*>(link.get());
        if (responder == nullptr || responder->proven() || link->state() == Link::State::closing ||
            link->state() == Link::State::gone) {
            continue;
        }
        ++count;
        if (oldest == nullptr || link->last_used() < oldest->last_used()) oldest = link.get();
    }
    if (count >= options_.links_max) oldest->close(now, "another one greets, and this one has proven nothing", true);
}

/// A node asks over one link: an older one is of an earlier life.
void Engine::supersede(const Responder& by) {
    for (const auto& [conn, link] : links_) {
        auto* old = dynamic_cast<Responder*>(link.get());
        if (old == nullptr || old == &by || old->peer() != by.peer() || !old->proven()) continue;
        old->close(by.last_used(), "the peer connected again", true);
    }
}

void Engine::connect(Instant now, NodeId peer, const Endpoint& address) {
    if (requesters_.contains(peer)) return;
    if (!make_room_to_ask(now)) return owner_.on_link_down(peer, "too many RDMA connections", true);
    const auto conn = verbs_.begin_connect(address);
    if (!conn) {
        ++counters_.connects_failed;
        return owner_.on_link_down(peer, describe(conn.error()), false);
    }
    auto link = std::make_unique<Requester>(context(), *conn, peer, now, *events_);
    requesters_[peer] = link.get();
    links_.emplace(*conn, std::move(link));
    sweep(now);
}

bool Engine::on_cm_events(Instant now) {
    bool more = true;
    for (std::size_t handled = 0; more && handled < kCmEventsAtOnce; ++handled) {
        const auto event = verbs_.next_cm_event();
        if (!event) {
            more = false;
        } else if (event->type == CmEvent::Type::connect_request) {
            on_connect_request(now, *event);
        } else if (event->type == CmEvent::Type::device_removed) {
            for (const auto& [conn, link] : links_) {
                if (link->device() == event->device) link->on_cm(now, *event);
            }
        } else if (const auto found = links_.find(event->conn); found != links_.end()) {
            found->second->on_cm(now, *event);
            // Soft iWARP connects inside the call, and that may take long: the others come first then.
            if (event->type == CmEvent::Type::route_resolved && layer_of(event->device) == LinkLayer::iwarp) break;
        }
    }
    sweep(now);
    return more;
}

void Engine::turn_away(const CmEvent& event, wire::CloseCode code, const std::string& text) {
    ++counters_.greetings_refused;
    log::debug("rdma.refused", {{"from", event.remote}, {"why", text}});
    verbs_.reject(event.conn, wire::encode_rdma_reject({code, text}));
    verbs_.close(event.conn);
}

void Engine::on_connect_request(Instant now, const CmEvent& event) {
    using Code = wire::CloseCode;
    const LinkOptions& links = options_.links;
    const auto hello = wire::decode_rdma_hello(event.data);
    if (!hello) return turn_away(event, Code::protocol, hello.error().what);
    if (hello->cluster_hash != links.cluster_hash) return turn_away(event, Code::cluster, "another cluster");
    if (hello->node_id == links.self) return turn_away(event, Code::itself, "the node itself");
    if (hello->keyed != links.key.has_value()) {
        return turn_away(event, hello->keyed ? Code::key_foreign : Code::key_needed, "only one of both has a key");
    }
    if (links.key && !equal_constant_time(wire::rdma_hello_mac(*links.key, *hello, links.self), hello->mac)) {
        return turn_away(event, Code::wrong_key, "made with another key, or for another node");
    }
    if (!make_room_for(now, nullptr)) return turn_away(event, Code::busy, "too many connections");
    limit_strangers(now);
    auto link = std::make_unique<Responder>(context(), event.conn, event.device, now, *events_, *hello);
    Responder& made = *link;
    links_.emplace(event.conn, std::move(link));
    made.accept(now, layer_of(event.device));
}

bool Engine::on_completions(Instant now, DeviceIndex device) {
    std::vector<ConnId> told = verbs_.completed(device);
    told.insert(told.end(), unfinished_.begin(), unfinished_.end());
    unfinished_.clear();
    for (const ConnId conn : told) {
        const auto found = links_.find(conn);
        if (found != links_.end() && found->second->on_completions(now)) unfinished_.push_back(conn);
    }
    sweep(now);
    return !unfinished_.empty();
}

/// What every entry ends with: closed links are told of, those that are gone are dropped, counts are shown.
void Engine::sweep(Instant now) {
    std::erase_if(requesters_, [&](const auto& entry) {
        Requester& link = *entry.second;
        if (link.state() != Link::State::closing && link.state() != Link::State::gone) return false;
        owner_.on_link_down(link.peer(), link.why(), link.closed_orderly());
        return true;
    });
    std::erase_if(links_, [&](const auto& entry) {
        if (entry.second->state() != Link::State::gone) return false;
        tell_of_end(now, *entry.second);
        return true;
    });
    if (std::exchange(askers_changed_, false)) tell_of_askers();
    begin_waiting_serves(now);
    std::uint64_t out = 0;
    for (const auto& [peer, link] : requesters_) out += link->state() == Link::State::up ? 1 : 0;
    std::uint64_t in = 0;
    for (const auto& [conn, link] : links_) {
        in += dynamic_cast<Responder*>(link.get()) != nullptr && link->state() == Link::State::up ? 1 : 0;
    }
    counters_.links_out = out;
    counters_.links_in = in;
    swept_ = now;
    counters_.slots_free = landing_->free();
    counters_.slots_quarantined = landing_->quarantined();
    counters_.sources_in_use = sources_->in_use();
}

/// How a requester ended its owner hears; that a peer's own link broke nobody else would say.
void Engine::tell_of_end(Instant now, const Link& link) {
    const auto* responder = dynamic_cast<const Responder*>(&link);
    if (responder == nullptr || !responder->proven() || link.closed_orderly()) return;
    if (const auto more = asker_failed_.pass(now)) {
        log::warn("rdma.asker_failed", {{"peer", link.peer().brief()}, {"why", link.why()}, {"more", *more}});
    }
}

/// A peer that could ask over a link and cannot any more.
void Engine::tell_of_askers() {
    std::set<NodeId> asking;
    for (const auto& [conn, link] : links_) {
        const auto* responder = dynamic_cast<const Responder*>(link.get());
        if (responder == nullptr || !responder->proven() || link->state() != Link::State::up) continue;
        asking.insert(link->peer());
    }
    std::swap(asking, askers_);
    for (const NodeId& before : asking) {
        if (!askers_.contains(before)) owner_.on_asker_gone(before);
    }
}

void Engine::drop(Instant now, NodeId peer, const std::string& why) {
    for (const auto& [conn, link] : links_) {
        if (link->peer() == peer) link->close(now, why, true);
    }
    sweep(now);
}

// --- asking ------------------------------------------------------------------------------------

void Engine::fetch(Instant now, FetchOrder order) {
    Requester* link = requester_to(order.from);
    if (link == nullptr) return owner_.on_fetch_done(order.from, order.request, FetchEnd::link_lost);
    fetches_.insert_or_assign(order.request, order);
    order.sink.reset();
    link->fetch(now, std::move(order));
    sweep(now);
}

void Engine::cancel_fetch(Instant now, NodeId from, RequestId request) {
    if (Requester* link = requester_to(from)) link->cancel(now, request);
    sweep(now);
}

void Engine::on_slot_freed(Instant now) {
    go_on(now);
    sweep(now);
}

/// Each time another requester is first, so that the slots of a slow node go round.
void Engine::go_on(Instant now) {
    if (requesters_.empty()) return;
    auto first = requesters_.upper_bound(last_first_);
    if (first == requesters_.end()) first = requesters_.begin();
    last_first_ = first->first;
    for (auto at = first; at != requesters_.end(); ++at) at->second->go_on(now);
    for (auto at = requesters_.begin(); at != first; ++at) at->second->go_on(now);
}

// --- answering ---------------------------------------------------------------------------------

void Engine::serve(Instant now, ServeOrder order) {
    const Responder* link = responder_of(order.to, order.request);
    if (link == nullptr || waits_to_be_served(link->conn(), order.request)) return end_serve(order, false);
    start_serve(now, {link->conn(), std::move(order)});
    sweep(now);
}

/// A peer that used a request's id again has it served once.
bool Engine::waits_to_be_served(ConnId conn, RequestId request) const {
    const auto same = [&](const Serving& s) { return s.conn == conn && s.order.request == request; };
    return std::ranges::any_of(slotless_, same) ||
           std::ranges::any_of(loading_, [&](const auto& e) { return std::ranges::any_of(e.second, same); });
}

void Engine::start_serve(Instant now, Serving serving) {
    auto* link = dynamic_cast<Responder*>(links_.at(serving.conn).get());
    if (link->asked(serving.order.request) == nullptr) return end_serve(serving.order, false);
    const wire::RdmaRequest& asked = *link->asked(serving.order.request);
    const auto file = identity_of(serving.order.file->fd());
    if (serving.order.length != asked.chunk_bytes() || !file) {
        link->refuse(now, serving.order.request, wire::RdmaNack::Why::not_here);
        return end_serve(serving.order, false);
    }
    const auto lease = sources_->acquire({asked.digest, serving.order.file_offset, serving.order.length, *file});
    if (!lease) {
        slotless_.push_back(std::move(serving));
        return;
    }
    if (lease->state == SourcePool::State::ready) {
        ++counters_.read_hits;
        return write(now, serving, lease->slot);
    }
    const bool first = lease->state == SourcePool::State::load;
    const ServeOrder& order = serving.order;
    if (first) {
        ++counters_.reads;
        sources_->retain(lease->slot);
        owner_.read(lease->slot, order.file, order.file_offset, sources_->room(lease->slot).first(order.length));
    } else {
        ++counters_.read_hits;
    }
    auto& waiters = loading_[lease->slot];
    waiters.push_back(std::move(serving));
}

void Engine::on_read(Instant now, std::size_t slot, bool ok) {
    if (ok) {
        sources_->loaded(slot);
    } else {
        sources_->failed(slot);
    }
    const auto node = loading_.extract(slot);
    if (node) {
        for (const Serving& serving : node.mapped()) {
            auto* link = dynamic_cast<Responder*>(links_.at(serving.conn).get());
            // The write before it may have found the link broken, and closed it.
            if (ok && link->asked(serving.order.request) != nullptr) {
                write(now, serving, slot);
                continue;
            }
            sources_->release(slot);
            link->refuse(now, serving.order.request, wire::RdmaNack::Why::not_here);
            end_serve(serving.order, false);
        }
    }
    sources_->release(slot);  // the reader's
    sweep(now);
}

void Engine::write(Instant now, const Serving& serving, SourcePool::Slot slot) {
    auto* link = dynamic_cast<Responder*>(links_.at(serving.conn).get());
    writing_[{serving.conn, serving.order.request}] = {serving.order, slot};
    link->write(now, serving.order.request, slot);
}

void Engine::begin_waiting_serves(Instant now) {
    // A link that breaks on the way takes those of its own out.
    for (std::size_t left = slotless_.size(); left > 0 && !slotless_.empty() && sources_->in_use() < sources_->count();
         --left) {
        Serving next = std::move(slotless_.front());
        slotless_.pop_front();
        start_serve(now, std::move(next));
    }
}

void Engine::refuse(Instant now, NodeId to, RequestId request, wire::RdmaNack::Why why, bool whole,
                    std::vector<NodeId> try_instead) {
    if (Responder* link = responder_of(to, request)) {
        link->refuse(now, request, why, whole, std::move(try_instead));
        events_->forget(*link, request);
    }
    sweep(now);
}

void Engine::end_serve(const ServeOrder& order, bool ok) {
    owner_.on_served(order.to, order.request, ok, ok ? order.length : 0);
}

// --- time --------------------------------------------------------------------------------------

void Engine::on_deadline(Instant now) {
    for (const auto& [conn, link] : links_) link->on_deadline(now);
    landing_->on_deadline(now);
    go_on(now);
    sweep(now);
}

Instant Engine::next_deadline() const {
    Instant next = landing_->next_deadline();
    for (const auto& [conn, link] : links_) next = std::min(next, link->next_deadline());
    // The store drops landed blocks without a word, unless somebody waits for one: what is shown is looked at.
    if (counters_.slots_free != landing_->count()) next = std::min(next, swept_ + kLook);
    return next;
}

}  // namespace fastreg::transport::rdma
