// The nodes of the swarm, and the network that moves their chunks quantum by quantum.
#include "swarm_sim.h"

#include <algorithm>

namespace fastreg::transfer {
namespace {
constexpr unsigned kQuanta = 16;
constexpr unsigned kWindow = 4;
}  // namespace

struct SwarmSim::Flow {
    std::size_t from = 0;
    std::size_t to = 0;
    RequestId request = 0;
    ChunkIndex chunk = 0;
    std::uint64_t length = 0;
    unsigned sent = 0;
    unsigned received = 0;
    unsigned under_way = 0;
    bool blocked = false;
    bool cancelled = false;
};

struct SwarmSim::Node : LocalBlobs {
    explicit Node(const SwarmSim& s) : sim(s) {}
    std::optional<std::uint64_t> complete_size(const Digest&) const override {
        if (complete) return sim.grid_.blob_size();
        return {};
    }

    const SwarmSim& sim;
    std::unique_ptr<Transfer> core;
    Outbox out;
    Fault fault;
    bool complete = false;
    bool dead = false;
    bool reads = false;
    std::uint64_t read_from = 0;
    std::uint64_t read_to = UINT64_MAX;
    Instant started;
    Instant timer = Instant::never();
    ChunkMap have;
    std::vector<std::shared_ptr<Flow>> flows;
    std::size_t turn = 0;
    bool uplink_busy = false;
    Instant downlink_free{};
    std::map<RequestId, FetchChunk> fetches;
    Outcome result;
};

SwarmSim::SwarmSim(SimOptions options)
    : options_(options), grid_(std::uint64_t{options.chunks} * kChunkSizeMin), rng_(options.seed) {
    FR_ASSERT(grid_.count() == options.chunks);
    for (std::size_t i = 0; i < 32; ++i) digest_.value[i] = static_cast<std::byte>(rng_.below(256));
    for (std::size_t n = 0; n <= options_.nodes; ++n) {
        auto node = std::make_unique<Node>(*this);
        node->have = ChunkMap(grid_.count(), n == 0);
        node->complete = n == 0;
        node->core = std::make_unique<Transfer>(id(n), "z", options_.options, *node, rng_.fork());
        nodes_.push_back(std::move(node));
    }
    holders_.push_back(0);
}

SwarmSim::~SwarmSim() = default;

Fault& SwarmSim::fault(std::size_t node) { return nodes_[node]->fault; }

void SwarmSim::make_complete(std::size_t node) {
    nodes_[node]->complete = true;
    nodes_[node]->have.set_all();
    holders_.push_back(node);
}

void SwarmSim::add_reader(std::size_t node, std::uint64_t offset, std::uint64_t end) {
    nodes_[node]->reads = true;
    nodes_[node]->read_from = offset;
    nodes_[node]->read_to = end;
}

NodeId SwarmSim::id(std::size_t node) const {
    NodeId id;
    // Spread over the id space so that order by id is not order by number.
    const std::uint64_t mixed = (node + 1) * 0x9e3779b97f4a7c15ULL;
    for (std::size_t i = 0; i < 8; ++i) id.bytes[i] = static_cast<std::byte>(mixed >> (8 * i));
    id.bytes[15] = static_cast<std::byte>(node);
    id.bytes[14] = static_cast<std::byte>(node >> 8U);
    return id;
}

std::size_t SwarmSim::index_of(const NodeId& id) const {
    return std::to_integer<std::size_t>(id.bytes[15]) + (std::to_integer<std::size_t>(id.bytes[14]) << 8U);
}

std::uint64_t SwarmSim::blob_size() const { return grid_.blob_size(); }
const SwarmSim::Outcome& SwarmSim::outcome(std::size_t node) const { return nodes_[node]->result; }
const Transfer& SwarmSim::core(std::size_t node) const { return *nodes_[node]->core; }

Bytes SwarmSim::link(std::size_t version, ChunkIndex i) const {
    Bytes link(32);
    for (std::size_t b = 0; b < 32; ++b) link[b] = static_cast<std::byte>((i * 31 + b * 7 + version * 101) & 255U);
    link[0] = static_cast<std::byte>(i);
    link[1] = static_cast<std::byte>(i >> 8U);
    return link;
}

Chain SwarmSim::chain(std::size_t version) const {
    Bytes links;
    for (ChunkIndex i = 1; i < grid_.count(); ++i) {
        const Bytes one = link(version, i);
        links.insert(links.end(), one.begin(), one.end());
    }
    return *Chain::from_bytes(HashAlg::sha256, grid_, std::move(links));
}

void SwarmSim::at(Instant when, std::function<void()> what) {
    events_.push({std::max(when, now_), order_++, std::move(what)});
}

void SwarmSim::kill(std::size_t n) {
    nodes_[n]->dead = true;
    std::erase(holders_, n);
    for (std::size_t other = 0; other < nodes_.size(); ++other) {
        if (other == n || nodes_[other]->dead) continue;
        at(now_ + options_.rtt, [this, other, n] {
            Node& node = *nodes_[other];
            node.core->on_link_down(now_, id(n), node.out);
            drain(other);
        });
    }
}

void SwarmSim::run(Duration limit) {
    const Instant end = now_ + limit;
    for (std::size_t n = 0; n < nodes_.size(); ++n) {
        Node& node = *nodes_[n];
        if (node.fault.dies) at(*node.fault.dies, [this, n] { kill(n); });
        if (node.complete) continue;
        const auto late = static_cast<std::int64_t>(rng_.unit() * static_cast<double>(options_.start_spread.count()));
        at(now_ + Duration(late), [this, n] {
            Node& me = *nodes_[n];
            me.started = now_;
            me.core->want(now_, digest_, grid_.blob_size(), {}, {}, me.out);
            if (me.reads) me.core->add_reader(now_, digest_, 1, me.read_from, me.read_to, me.out);
            drain(n);
        });
    }
    while (!events_.empty() && events_.top().at <= end) {
        const auto run = std::move(const_cast<Event&>(events_.top()).run);
        now_ = events_.top().at;
        events_.pop();
        run();
        if (stop_when && stop_when()) stop_when = nullptr;
        const bool all = std::ranges::all_of(nodes_, [](const auto& node) {
            return node->complete || node->dead || node->result.failed || node->result.completed;
        });
        if (all) break;
    }
}

void SwarmSim::drain(std::size_t n) {
    Node& node = *nodes_[n];
    while (!node.out.empty()) {
        Outbox actions;
        actions.swap(node.out);
        for (Action& action : actions) handle(n, action);
    }
    const Instant next = node.core->next_deadline();
    if (next < node.timer) {
        node.timer = next;
        at(next, [this, n, next] {
            Node& me = *nodes_[n];
            if (me.timer != next || me.dead) return;
            me.timer = Instant::never();
            if (me.core->next_deadline() <= now_) me.core->on_deadline(now_, me.out);
            drain(n);
        });
    }
}

std::vector<Holder> SwarmSim::holders_for(std::size_t n) {
    std::vector<std::size_t> others;
    for (const std::size_t h : holders_) {
        if (!options_.names_downloaders && !nodes_[h]->complete) continue;
        if (h != n) others.push_back(h);
    }
    rng_.shuffle(others);
    std::vector<Holder> holders;
    for (const std::size_t h : others) {
        if (holders.size() < 50) holders.push_back({id(h), nodes_[h]->complete || nodes_[h]->fault.forged_chain});
    }
    if (std::ranges::find(holders_, n) == holders_.end()) holders_.push_back(n);
    return holders;
}

void SwarmSim::handle(std::size_t n, Action& action) {
    Node& node = *nodes_[n];
    if (node.dead) return;
    if (auto* send = std::get_if<Send>(&action)) {
        ++messages_;
        if (std::holds_alternative<wire::Busy>(send->message)) ++busy_;
        const std::size_t to = index_of(send->to);
        const auto message = std::make_shared<wire::TransferMessage>(std::move(send->message));
        // Everything crosses the wire as bytes now and then, so that both sides of the codec are used.
        if (messages_ % 64 == 0) FR_ASSERT(wire::decode_transfer(wire::to_frame(*message)).has_value());
        at(now_ + options_.rtt / 2, [this, n, to, message] {
            Node& peer = *nodes_[to];
            if (peer.dead || nodes_[n]->dead) return;
            peer.core->on_message(now_, id(n), *message, peer.out);
            drain(to);
        });
    } else if (auto* fetch = std::get_if<FetchChunk>(&action)) {
        node.fetches[fetch->request] = *fetch;
        const std::size_t to = index_of(fetch->from);
        const wire::GetChunk get{fetch->request, fetch->digest, fetch->size, fetch->chunk, fetch->urgent};
        at(now_ + options_.rtt / 2, [this, n, to, get] {
            Node& peer = *nodes_[to];
            if (peer.dead || nodes_[n]->dead) return;
            peer.core->on_message(now_, id(n), get, peer.out);
            drain(to);
        });
    } else if (auto* cancel = std::get_if<CancelFetch>(&action)) {
        node.fetches.erase(cancel->request);
        const std::size_t to = index_of(cancel->from);
        at(now_ + options_.rtt / 2, [this, n, to, request = cancel->request] {
            Node& peer = *nodes_[to];
            if (peer.dead) return;
            peer.core->on_message(now_, id(n), wire::Cancel{request}, peer.out);
            drain(to);
        });
    } else if (auto* serve = std::get_if<ServeChunk>(&action)) {
        start_flow(n, *serve);
    } else if (auto* stop = std::get_if<CancelServe>(&action)) {
        for (const auto& flow : node.flows) {
            if (flow->to == index_of(stop->to) && flow->request == stop->request) flow->cancelled = true;
        }
        pump_uplink(n);
    } else if (std::holds_alternative<LookUp>(action)) {
        at(now_ + options_.rtt, [this, n] {
            Node& me = *nodes_[n];
            me.core->on_holders(now_, digest_, {}, holders_for(n), me.out);
            drain(n);
        });
    } else if (std::holds_alternative<OpenPartial>(action)) {
        node.core->on_opened(now_, digest_, {}, {}, node.out);
    } else if (std::holds_alternative<NeedChain>(action)) {
        node.core->on_chain(now_, digest_, chain(0), node.out);
    } else if (auto* have = std::get_if<Have>(&action)) {
        node.have.set(have->chunk);
    } else if (auto* lost = std::get_if<Unverify>(&action)) {
        for (const ChunkIndex i : lost->chunks) node.have.clear(i);
    } else if (auto* progress = std::get_if<Progress>(&action)) {
        if (node.result.prefix == 0 && progress->verified_prefix > 0) {
            node.result.first_byte = now_ - node.started;
        }
        node.result.prefix = progress->verified_prefix;
        if (!progress->complete) {
            node.result.prefix_before_end = std::max(node.result.prefix_before_end, progress->verified_prefix);
        }
        if (node.reads && node.core->downloading(digest_)) {
            node.core->move_reader(now_, digest_, 1, node.core->verified_run(digest_, node.read_from), node.out);
        }
    } else if (std::holds_alternative<Completed>(action)) {
        node.result.completed = true;
        node.result.took = now_ - node.started;
        node.complete = true;
    } else if (std::holds_alternative<Failed>(action)) {
        node.result.failed = true;
        node.result.took = now_ - node.started;
    } else if (auto* blame = std::get_if<Blame>(&action)) {
        node.result.blamed.push_back(blame->node);
    } else if (auto* drop = std::get_if<DropLink>(&action)) {
        node.result.dropped.push_back(drop->node);
    }
}

void SwarmSim::start_flow(std::size_t from, const ServeChunk& serve) {
    Node& node = *nodes_[from];
    if (node.fault.silent) return;
    if (node.fault.trickles) {
        trickle(index_of(serve.to), from, serve.request);
        return;
    }
    auto flow = std::make_shared<Flow>();
    flow->from = from;
    flow->to = index_of(serve.to);
    flow->request = serve.request;
    flow->chunk = serve.chunk;
    flow->length = serve.length;
    node.flows.push_back(std::move(flow));
    pump_uplink(from);
}

void SwarmSim::trickle(std::size_t to, std::size_t from, RequestId request) {
    at(now_ + 300ms, [this, to, from, request] {
        Node& node = *nodes_[to];
        if (node.dead || !node.fetches.contains(request)) return;
        node.core->on_bytes(now_, id(from), request, 1);
        drain(to);
        trickle(to, from, request);
    });
}

void SwarmSim::pump_uplink(std::size_t n) {
    Node& node = *nodes_[n];
    std::erase_if(node.flows, [](const auto& flow) { return flow->cancelled || flow->sent == kQuanta; });
    if (node.uplink_busy || node.dead || node.flows.empty()) return;
    std::shared_ptr<Flow> next;
    for (std::size_t i = 0; i < node.flows.size() && !next; ++i) {
        const auto& flow = node.flows[(node.turn + i) % node.flows.size()];
        if (flow->under_way < kWindow) {
            next = flow;
            node.turn = (node.turn + i + 1) % node.flows.size();
        }
    }
    if (options_.serve_blocked_reports) {
        for (const auto& flow : node.flows) {
            const bool blocked = flow->under_way >= kWindow;
            if (blocked == flow->blocked) continue;
            flow->blocked = blocked;
            at(now_, [this, n, flow, blocked] {
                Node& me = *nodes_[n];
                me.core->on_serve_blocked(now_, id(flow->to), flow->request, blocked, me.out);
                drain(n);
            });
        }
    }
    if (!next) return;
    node.uplink_busy = true;
    const double share = seconds_of(options_.blob_time) / options_.chunks / kQuanta;
    const auto quantum = Duration(static_cast<std::int64_t>(share * 1e9));
    const auto upload = Duration(static_cast<std::int64_t>(share * 1e9 / node.fault.uplink));
    ++next->sent;
    ++next->under_way;
    at(now_ + upload, [this, n, next, quantum] {
        Node& me = *nodes_[n];
        me.uplink_busy = false;
        if (next->sent == kQuanta && !next->cancelled) {
            me.core->on_served(now_, id(next->to), next->request, true, me.out);
            drain(n);
        }
        at(now_ + options_.rtt / 2, [this, n, next, quantum] {
            Node& to = *nodes_[next->to];
            to.downlink_free = std::max(to.downlink_free, now_) + quantum;
            at(to.downlink_free, [this, n, next] {
                on_quantum(next->to, next);
                at(now_ + options_.rtt / 2, [this, n, next] {
                    --next->under_way;
                    pump_uplink(n);
                });
            });
        });
        pump_uplink(n);
    });
}

void SwarmSim::on_quantum(std::size_t to, const std::shared_ptr<Flow>& flow) {
    Node& node = *nodes_[to];
    if (node.dead || nodes_[flow->from]->dead) return;
    node.result.bytes += flow->length / kQuanta;
    const auto it = node.fetches.find(flow->request);
    if (it == node.fetches.end()) return;
    ++flow->received;
    node.core->on_bytes(now_, id(flow->from), flow->request, flow->length / kQuanta);
    if (flow->received < kQuanta) return;

    const FetchChunk fetch = std::move(it->second);
    node.fetches.erase(it);
    const Fault& fault = nodes_[flow->from]->fault;
    // Content of version 0 is the truth; a forger serves version 1 with version 1's links.
    const std::size_t version = fault.forged_chain ? 1 : 0;
    bool holds = true;
    if (fault.bad_chunks) holds = !rng_.chance(fault.bad_share);
    if (fetch.chunk != 0) holds = holds && fetch.start_link == link(version, fetch.chunk);
    if (!grid_.is_last(fetch.chunk)) {
        holds = holds && fetch.end_link == link(version, fetch.chunk + 1);
    } else {
        holds = holds && version == 0;
    }
    node.core->on_chunk(now_, id(flow->from), flow->request, digest_, fetch.chunk,
                        {holds ? ChunkOutcome::stored : ChunkOutcome::bad_link, flow->length}, node.out);
    drain(to);
}

ChunkIndex SwarmSim::spread() const {
    ChunkMap all(grid_.count());
    for (std::size_t n = 1; n < nodes_.size(); ++n) {
        if (nodes_[n]->dead || nodes_[n]->fault.forged_chain) continue;
        for (ChunkIndex i = 0; i < grid_.count(); ++i) {
            if (nodes_[n]->have.has(i)) all.set(i);
        }
    }
    return all.set_count();
}

SwarmSim::Ratios SwarmSim::ratios() const {
    Ratios ratios;
    std::vector<double> times;
    double bytes = 0;
    for (std::size_t n = 1; n < nodes_.size(); ++n) {
        const Node& node = *nodes_[n];
        if (node.started == Instant{} || node.dead || node.fault.forged_chain) continue;
        if (!node.result.completed) {
            ++ratios.unfinished;
            continue;
        }
        bytes += static_cast<double>(node.result.bytes);
        times.push_back(seconds_of(node.result.took) / seconds_of(options_.blob_time));
    }
    if (times.empty()) return ratios;
    std::ranges::sort(times);
    ratios.p50 = times[times.size() / 2];
    ratios.p99 = times[(times.size() * 99) / 100];
    ratios.max = times.back();
    const double needed = static_cast<double>(grid_.blob_size()) * static_cast<double>(times.size());
    ratios.duplicates = bytes / needed - 1;
    return ratios;
}

}  // namespace fastreg::transfer
