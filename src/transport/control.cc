#include "transport/control.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "base/log.h"
#include "transport/control_link.h"
#include "transport/dial.h"
#include "transport/reception.h"
#include "uv/loop.h"
#include "uv/timer.h"

namespace fastreg::transport {

namespace {

constexpr Duration kTick = 1s;
constexpr std::size_t kDialsMax = 512;
/// Inbound, of one peer and purpose. One is in use; others are what a peer left without hanging up.
constexpr std::size_t kInboundOfPeerMax = 4;

SendFailure failure_of(const GreetError& error) {
    if (!error.refused) return SendFailure::unreachable;
    if (error.foreign()) return SendFailure::foreign;
    return error.code == wire::CloseCode::itself ? SendFailure::itself : SendFailure::refused;
}

}  // namespace

std::string_view name_of(SendFailure failure) {
    switch (failure) {
        case SendFailure::unreachable: return "unreachable";
        case SendFailure::refused: return "refused";
        case SendFailure::foreign: return "foreign";
        case SendFailure::itself: return "itself";
        case SendFailure::overflow: return "overflow";
        case SendFailure::link_lost: return "link_lost";
    }
    return "link_lost";
}

struct ControlMesh::Impl final : ControlLinkOwner {
    using Side = std::pair<NodeId, wire::Purpose>;
    using Links = std::vector<std::unique_ptr<ControlLink>>;

    /// Frames that wait for a link to come up.
    struct Dialling {
        std::deque<wire::Frame> frames;
        std::size_t bytes = 0;
        std::unique_ptr<Dial> dial;
    };
    using DialKey = std::tuple<NodeId, Endpoint, wire::Purpose>;

    Impl(uv::Loop& l, Options o, ControlHandler& h)
        : loop(l),
          options(std::move(o)),
          handler(&h),
          reception(
              loop,
              {.identity = options.identity,
               .listen = options.listen,
               .flag = options.listen_flag,
               .purposes = {wire::Purpose::gossip, wire::Purpose::directory},
               .handshakes_max = options.handshakes_max,
               .handshake_timeout = options.handshake_timeout},
              [this] { return inbound < options.links_max; },
              [this](Greeted greeted) { add_link(std::move(greeted), {}); }),
          tick(loop, [this] { on_tick(); }),
          alive(std::make_shared<bool>(true)) {
        tick.set(kTick);
    }

    ~Impl() override {
        *alive = false;
        for (auto& [side, list] : links) {
            for (auto& link : list) link->close(wire::CloseCode::going_away, "this node stops");
        }
    }

    /// Later, and only while the mesh lives: nothing is told from inside a call of the caller.
    void later(uv::Job job) {
        loop.post([still = alive, job = std::move(job)] {
            if (*still) job();
        });
    }

    ControlLink* find(NodeId peer, wire::Purpose purpose) {
        const auto found = links.find({peer, purpose});
        if (found == links.end()) return nullptr;
        // The newest first: of a peer that came back, the older link may be dead without a sign.
        for (auto at = found->second.rbegin(); at != found->second.rend(); ++at) {
            if (!(*at)->closed()) return at->get();
        }
        return nullptr;
    }

    /// What an earlier boot of the same node left behind.
    void close_older_boots(const Side& side, BootEpoch epoch) {
        for (const auto& link : links[side]) {
            if (link->theirs().boot_epoch < epoch) {
                link->close(wire::CloseCode::going_away, "the peer has started anew");
            }
        }
    }

    ControlLink* find_dialled(const Endpoint& address, wire::Purpose purpose) {
        const auto found = seeds.find({address, purpose});
        if (found == seeds.end()) return nullptr;
        ControlLink* link = find(found->second, purpose);
        return link != nullptr && link->dialled() == address ? link : nullptr;
    }

    void send(NodeId to, const Endpoint& address, wire::Purpose purpose, wire::Frame frame) {
        ControlLink* link = to.known() ? find(to, purpose) : find_dialled(address, purpose);
        if (link != nullptr) return link->push(std::move(frame));
        const DialKey key{to, address, purpose};
        auto found = dials.find(key);
        if (found == dials.end()) {
            if (address.empty() || dials.size() >= kDialsMax) {
                return send_failed(key, SendFailure::unreachable,
                                   address.empty() ? "no address is known for " + to.brief()
                                                   : "too many nodes are being dialled at once",
                                   std::move(frame));
            }
            found = dials.try_emplace(key).first;
            found->second.dial = std::make_unique<Dial>(
                loop, options.identity,
                Dial::Setup{address, purpose, options.connect_timeout, options.handshake_timeout},
                [this, key](auto outcome) { on_dialled(key, std::move(outcome)); });
        }
        Dialling& dialling = found->second;
        if (dialling.frames.size() >= options.queue_frames_max ||
            dialling.bytes + frame.body.size() > options.queue_bytes_max) {
            return send_failed(key, SendFailure::overflow,
                               "too many frames wait for the link to " + address.str(),
                               std::move(frame));
        }
        dialling.bytes += frame.body.size();
        dialling.frames.push_back(std::move(frame));
    }

    void send_failed(const DialKey& key, SendFailure failure, std::string why, wire::Frame frame) {
        later([this, key, failure, why = std::move(why), frame = std::move(frame)]() mutable {
            handler->on_send_failed(std::get<0>(key), std::get<1>(key), std::get<2>(key), failure, why,
                                    std::move(frame));
        });
    }

    void on_dialled(const DialKey& key, tl::expected<Greeted, GreetError> outcome) {
        const auto found = dials.find(key);
        Dialling done = std::move(found->second);  // ends with this call
        dials.erase(found);
        const auto& [to, address, purpose] = key;
        SendFailure failure = SendFailure::unreachable;
        std::string why;
        if (outcome) {
            const NodeId who = outcome->theirs.node_id;
            ControlLink* link = add_link(std::move(*outcome), address);
            if (!to.known() || to == who) {
                for (wire::Frame& frame : done.frames) {
                    if (!link->closed()) {
                        link->push(std::move(frame));
                    } else {
                        send_failed(key, SendFailure::link_lost, "the link broke", std::move(frame));
                    }
                }
                return;
            }
            failure = SendFailure::refused;
            why = address.str() + " is now node " + who.brief() + ", not " + to.brief();
            later([this, expected = to, at = address, who] { handler->on_wrong_peer(expected, at, who); });
        } else {
            failure = failure_of(outcome.error());
            why = outcome.error().why;
            if (outcome.error().refused) {
                refusals.say(loop.now(), address.str(), outcome.error());
            } else {
                log::debug("link.not_made", {{"remote", address.str()}, {"why", why}});
            }
        }
        for (wire::Frame& frame : done.frames) send_failed(key, failure, why, std::move(frame));
    }

    ControlLink* add_link(Greeted greeted, const Endpoint& dialled) {
        auto made = std::make_unique<ControlLink>(
            loop, std::move(greeted), dialled,
            ControlLink::Limits{options.queue_frames_max, options.queue_bytes_max}, *this);
        ControlLink* link = made.get();
        const Side side{link->peer(), link->purpose()};
        close_older_boots(side, link->theirs().boot_epoch);
        links[side].push_back(std::move(made));
        if (dialled.empty()) {
            ++inbound;
            limit_inbound(links[side]);
        } else {
            seeds[{dialled, side.second}] = side.first;
            limit_outbound();
        }
        if (!dialled.empty()) handler->on_dialled(dialled);
        up.insert(side);
        log::debug("link.up", {{"node", side.first.brief()},
                               {"purpose", wire::name_of(side.second)},
                               {"remote", link->remote().str()},
                               {"inbound", dialled.empty()}});
        handler->on_link_up(side.first, side.second, link->theirs(), link->remote());
        link->start();
        return link;
    }

    void on_link_frame(ControlLink& link, wire::Frame frame) override {
        handler->on_frame(link.peer(), link.purpose(), std::move(frame));
    }

    void on_link_closed(ControlLink& link, bool overflow, const std::string& why,
                        std::deque<wire::Frame> unsent) override {
        const Side side{link.peer(), link.purpose()};
        if (!*alive) return;
        log::debug("link.down", {{"node", side.first.brief()},
                                 {"purpose", wire::name_of(side.second)},
                                 {"why", why}});
        if (link.dialled().empty()) --inbound;
        const auto seed = seeds.find({link.dialled(), side.second});
        if (seed != seeds.end() && seed->second == side.first) seeds.erase(seed);
        const auto failure = overflow ? SendFailure::overflow : SendFailure::link_lost;
        const DialKey key{side.first, link.dialled(), side.second};
        for (wire::Frame& frame : unsent) send_failed(key, failure, why, std::move(frame));
        later([this, side] { bury(side); });
    }

    /// Forgets closed links and tells of the last one.
    void bury(const Side& side) {
        const auto found = links.find(side);
        if (found == links.end()) return;
        std::erase_if(found->second, [](const auto& link) { return link->closed(); });
        if (!found->second.empty()) return;
        links.erase(found);
        if (up.erase(side) != 0) handler->on_link_down(side.first, side.second);
    }

    void on_tick() {
        tick.set(kTick);
        const Instant now = loop.now();
        std::vector<ControlLink*> stale;
        for (const auto& [side, list] : links) {
            for (const auto& link : list) {
                const Duration limit =
                    link->dialled().empty() ? options.inbound_idle : options.outbound_idle;
                if (link->closed() || !link->idle() || kept.contains(side.first)) continue;
                if (now - link->last_used() > limit) stale.push_back(link.get());
            }
        }
        for (ControlLink* link : stale) link->close(wire::CloseCode::going_away, "idle");
    }

    /// Closes the oldest inbound link when one peer has too many for one purpose.
    static void limit_inbound(const Links& list) {
        std::size_t count = 0;
        ControlLink* oldest = nullptr;
        for (const auto& link : list) {
            if (link->closed() || !link->dialled().empty()) continue;
            ++count;
            if (oldest == nullptr) oldest = link.get();
        }
        if (count > kInboundOfPeerMax) {
            oldest->close(wire::CloseCode::going_away, "a newer link of this peer took its place");
        }
    }

    /// The least recently used of the outbound links makes room for a new one.
    void limit_outbound() {
        std::size_t count = 0;
        ControlLink* oldest = nullptr;
        for (const auto& [side, list] : links) {
            if (kept.contains(side.first)) continue;
            for (const auto& link : list) {
                if (link->closed() || link->dialled().empty()) continue;
                ++count;
                const bool older = oldest == nullptr || link->last_used() < oldest->last_used();
                if (link->idle() && older) oldest = link.get();
            }
        }
        if (count > options.outbound_idle_max && oldest != nullptr) {
            oldest->close(wire::CloseCode::going_away, "not among the most recently used links");
        }
    }

    uv::Loop& loop;
    Options options;
    ControlHandler* handler;
    std::map<Side, Links> links;
    std::map<std::pair<Endpoint, wire::Purpose>, NodeId> seeds;  // who answered at a dialled address
    std::map<DialKey, Dialling> dials;
    std::set<Side> up;
    std::set<NodeId> kept;
    std::size_t inbound = 0;
    RefusalLog refusals;
    Reception reception;
    uv::Timer tick;
    std::shared_ptr<bool> alive;
};

ControlMesh::ControlMesh(uv::Loop& loop, Options options, ControlHandler& handler)
    : impl_(std::make_unique<Impl>(loop, std::move(options), handler)) {}

ControlMesh::~ControlMesh() = default;

Result<std::uint16_t> ControlMesh::listen() {
    FR_TRY_ASSIGN(const Endpoint address, impl_->reception.listen());
    return address.port;
}

void ControlMesh::set_advertised(Endpoint gossip) {
    impl_->reception.set_advertised(gossip);
    impl_->options.identity.gossip = std::move(gossip);
}

void ControlMesh::send(NodeId to, const Endpoint& address, wire::Purpose purpose, wire::Frame frame) {
    impl_->send(to, address, purpose, std::move(frame));
}

void ControlMesh::keep(std::vector<NodeId> nodes) {
    impl_->kept = std::set<NodeId>(nodes.begin(), nodes.end());
}

void ControlMesh::drop(NodeId peer, const std::string& why) {
    std::vector<ControlLink*> doomed;
    for (const auto& [side, list] : impl_->links) {
        if (side.first != peer) continue;
        for (const auto& link : list) doomed.push_back(link.get());
    }
    for (ControlLink* link : doomed) link->close(wire::CloseCode::going_away, why);
}

bool ControlMesh::connected(NodeId peer, wire::Purpose purpose) const {
    return impl_->find(peer, purpose) != nullptr;
}

std::optional<NodeId> ControlMesh::answered_at(const Endpoint& address, wire::Purpose purpose) const {
    const auto found = impl_->seeds.find({address, purpose});
    if (found == impl_->seeds.end() || !connected(found->second, purpose)) return std::nullopt;
    return found->second;
}

std::size_t ControlMesh::link_count() const {
    std::size_t count = 0;
    for (const auto& [side, list] : impl_->links) {
        count += static_cast<std::size_t>(
            std::count_if(list.begin(), list.end(), [](const auto& link) { return !link->closed(); }));
    }
    return count;
}

}  // namespace fastreg::transport
