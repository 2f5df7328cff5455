// Links, frames and chunks as events of the world.
#include "tests/sim/sim_net.h"

#include <algorithm>

#include "base/block_pool.h"
#include "base/chain.h"
#include "node/core.h"
#include "node/downloads.h"

namespace fastreg::sim {

namespace {

constexpr Duration kSendTimeout = 2s;         // what nobody acknowledges has failed
constexpr Duration kRetransmission = 200ms;   // a lost segment costs so much
constexpr std::uint64_t kDeadlinesPerSecondMax = 5'000;
constexpr std::uint64_t kFramesPerSecondMax = 10'000;  // of control; a busy node sends some hundreds

Block chunk_block(ByteView bytes) {
    if (bytes.empty()) return {};
    static const auto pool = BlockPool::create(wire::kDataPieceMax, 64);
    Block block = pool->try_take();
    if (!block) block = BlockPool::create(wire::kDataPieceMax, 1)->try_take();
    std::ranges::copy(bytes, block.room().begin());
    block.set_filled(bytes.size());
    return block;
}

std::string name_of_purpose(wire::Purpose purpose) { return std::string(wire::name_of(purpose)); }

}  // namespace

// --- what a process calls ------------------------------------------------------------------------

Instant Port::now() const { return network_.world.now(); }

std::uint64_t Port::wall_ms() const {
    return static_cast<std::uint64_t>(static_cast<std::int64_t>(network_.world.wall_ms()) + clock_skew_ms);
}

void Port::begin_second() {
    if (now() - second_ <= 1s) return;
    second_ = now();
    deadlines_ = frames_sent_ = 0;
}

void Port::set_deadline(Instant at) {
    deadline_ = at;
    if (at == Instant::never()) return;
    // A loop's timer counts milliseconds and is late rather than early.
    const Instant soonest{(std::max(at, now()).ns / 1'000'000 + 1) * 1'000'000};
    if (armed_ <= soonest) return;
    armed_ = soonest;
    const std::uint64_t token = ++timer_;
    network_.tell(index_, network_.hosts_[index_].life, soonest - now(), [token](Network::Host& host) {
        Port& port = *host.port;
        if (token != port.timer_) return;
        port.armed_ = Instant::never();
        if (port.deadline_ > port.now()) return port.set_deadline(port.deadline_);
        port.begin_second();
        if (++port.deadlines_ > kDeadlinesPerSecondMax) {
            port.network_.world.broken("a core asks for its deadline without end");
        }
        port.deadline_ = Instant::never();
        host.core->on_deadline();  // says its next one
    });
}

void Port::send_control(NodeId to, const Endpoint& address, wire::Purpose purpose, wire::Frame frame) {
    const NodeId self = network_.hosts_[index_].id;
    if (frame.body.size() > wire::kFrameBodyMax) {
        return network_.world.broken("a frame is larger than the protocol allows");
    }
    begin_second();
    if (++frames_sent_ > kFramesPerSecondMax) {
        return network_.world.broken("node " + std::to_string(index_) + " sends frames without end");
    }
    network_.carry(index_, to, address, purpose,
                   [&net = network_, self, purpose, frame = std::move(frame)](Network::Host& host) {
                       ++net.world.frames[frame.type];
                       net.world.mix(frame.type + frame.body.size() * 256);
                       const auto hear = [&] { host.core->on_frame(self, purpose, frame); };
                       if (net.watch.hears) {
                           net.watch.hears(static_cast<std::size_t>(&host - net.hosts_.data()), frame, hear);
                       } else {
                           hear();
                       }
                   });
}

void Port::send_data(NodeId to, const Endpoint& address, wire::TransferMessage message) {
    if (network_.watch.sends) network_.watch.sends(index_, message);
    const Network::Host& me = network_.hosts_[index_];
    if (me.lie == Lie::forged_chain) {
        if (auto* page = std::get_if<wire::ChainPage>(&message); page != nullptr && !page->links.empty()) {
            page->links[page->links.size() / 2] ^= std::byte{1};
        }
    } else if (me.lie == Lie::claims_all) {
        if (auto* map = std::get_if<wire::Map>(&message); map != nullptr && !map->complete) {
            for (ChunkIndex i = 0; i < map->chunks.count(); ++i) map->chunks.set(i);
        }
    }
    network_.carry(index_, to, address, wire::Purpose::data,
                   [&net = network_, from = me.id, message = std::move(message)](Network::Host& host) {
                       const wire::Frame frame = wire::to_frame(message);
                       ++net.world.frames[frame.type];
                       net.world.mix(frame.type + frame.body.size() * 256);
                       auto read = wire::decode_transfer(frame);
                       if (!read) return net.world.broken("a transfer message cannot be read back");
                       net.on_data(static_cast<std::size_t>(&host - net.hosts_.data()), from, std::move(*read));
                   });
}

void Port::fetch(node::Fetch order) {
    const ChunkGrid grid(order.blob_size);
    fetches_[order.request] = {order.from, grid.size_of(order.chunk), 0, std::move(order.landing), false};
    send_data(order.from, order.address,
              wire::GetChunk{order.request, order.digest, order.blob_size, order.chunk, order.urgent});
}

void Port::cancel_fetch(NodeId from, RequestId request) {
    if (!fetches_.contains(request)) return;
    network_.tell(index_, network_.hosts_[index_].life, 1us, [&net = network_, request](Network::Host& host) {
        net.end_fetch(host, request, static_cast<std::uint8_t>(transfer::ChunkOutcome::cancelled));
    });
    const std::size_t peer = network_.of(from);
    if (peer == Network::kNobody) return;
    const auto link = network_.links_.find(Network::key(index_, peer, wire::Purpose::data));
    if (link != network_.links_.end() && link->second.up) send_data(from, {}, wire::Cancel{request});
}

void Port::serve(node::Serve order) {
    const Key key{order.to, order.request};
    if (!asked_.contains(key)) {
        network_.tell(index_, network_.hosts_[index_].life, 1us,
                      [key](Network::Host& host) { host.core->on_serve_end(key.first, key.second, false); });
        return;
    }
    servings_.insert_or_assign(key, Serving{std::move(order)});
    const std::size_t me = index_;
    network_.tell(index_, network_.hosts_[index_].life, 5us,
                  [&net = network_, me, key](Network::Host&) { net.send_piece(me, key); });
}

void Port::cancel_serve(NodeId to, RequestId request) {
    const auto at = servings_.find({to, request});
    if (at != servings_.end()) at->second.cancelled = true;
}

void Port::drop_data(NodeId peer, const std::string&) {
    const std::size_t other = network_.of(peer);
    if (other != Network::kNobody) network_.break_link(Network::key(index_, other, wire::Purpose::data), 1us);
}

// --- nodes and links -----------------------------------------------------------------------------

void Network::attach(std::size_t index, NodeId id, const Endpoint& gossip, const Endpoint& transfer,
                     Port& port, node::Core& core) {
    Host& host = hosts_[index];
    ++host.life;
    host.core = &core;
    host.port = &port;
    host.id = id;
    host.machine_up = true;
    std::erase_if(addresses_, [&](const auto& entry) { return entry.second == index; });
    addresses_[gossip.str()] = index;
    addresses_[transfer.str()] = index;
}

void Network::detach(std::size_t index, bool abruptly) {
    Host& host = hosts_[index];
    ++host.life;
    host.core = nullptr;
    host.port = nullptr;
    host.machine_up = !abruptly;
    for (auto& [where, link] : links_) {
        if (where.first.first != index && where.first.second != index) continue;
        if (!link.up) continue;
        // A process that dies closes its sockets; a machine says nothing any more.
        break_link(where, abruptly ? kSendTimeout : delay());
    }
}

std::size_t Network::at(const Endpoint& address) const {
    const auto found = addresses_.find(address.str());
    return found == addresses_.end() ? kNobody : found->second;
}

std::size_t Network::of(const NodeId& id) const {
    for (std::size_t i = 0; i < hosts_.size(); ++i) {
        if (hosts_[i].id == id) return i;
    }
    return kNobody;
}

Duration Network::delay() {
    return options.latency + Duration{static_cast<std::int64_t>(
                                 world.rng.unit() * static_cast<double>(options.jitter.count()))};
}

void Network::tell(std::size_t index, std::uint64_t life, Duration after, std::function<void(Host&)> job) {
    world.after(after, [this, index, life, job = std::move(job)] {
        Host& host = hosts_[index];
        if (host.life != life || host.core == nullptr) return;
        world.touched = index;
        job(host);
    });
}

void Network::carry(std::size_t from, NodeId to_id, const Endpoint& address, wire::Purpose purpose,
                    std::function<void(Host&)> deliver) {
    std::size_t to = at(address);
    if (address.empty() && to_id.known()) to = of(to_id);
    if (to == kNobody || to == from || (to_id.known() && hosts_[to].id != to_id)) {
        return failed(from, to_id, address, purpose, delay() * 2);
    }
    const LinkKey where = key(from, to, purpose);
    Link& link = links_[where];
    Host& there = hosts_[to];
    if (there.core == nullptr && there.machine_up) {
        return failed(from, to_id, address, purpose, delay() * 2);
    }
    const bool silent = there.core == nullptr || blocked(from, to) || (!link.up && blocked(to, from));
    if (silent) {
        failed(from, to_id, address, purpose, kSendTimeout);
        if (link.up) {
            const std::uint64_t epoch = link.epoch;
            world.after(kSendTimeout, [this, where, epoch] {
                if (links_[where].epoch == epoch) break_link(where, 1us);
            });
        }
        return;
    }
    if (!link.up) {
        // SYN, then a handshake of one round trip.
        link.up = true;
        ++link.epoch;
        link.ready = world.now() + delay() * 4;
        link.last = {link.ready, link.ready};
        const std::uint64_t epoch = link.epoch;
        if (purpose != wire::Purpose::data) {
            for (const auto& [end, other] : {std::pair{from, to}, std::pair{to, from}}) {
                tell(end, hosts_[end].life, link.ready - world.now(),
                     [this, where, epoch, peer = hosts_[other].id, purpose](Host& host) {
                         if (links_[where].epoch == epoch) host.core->on_link_up(peer, purpose);
                     });
            }
        }
    }
    Duration late = delay();
    for (int lost = 0; world.rng.chance(options.loss); ++lost) {
        world.count("fault.loss");
        late += kRetransmission * (1 << lost);
        if (lost == 3) {
            world.count("fault.link_broken_by_loss");
            break_link(where, kSendTimeout);
            return;
        }
    }
    Instant& last = link.last[from < to ? 0 : 1];
    last = std::max({last + 1us, link.ready, world.now() + late});
    const std::uint64_t epoch = link.epoch;
    const std::uint64_t life = there.life;
    world.at(last, [this, from, to, life, epoch, where, deliver = std::move(deliver)] {
        Host& host = hosts_[to];
        if (links_[where].epoch != epoch) return;  // the link broke under it
        if (host.life != life || host.core == nullptr) return;
        if (blocked(from, to)) {
            break_link(where, kSendTimeout);
            return;
        }
        world.touched = to;
        deliver(host);
    });
}

void Network::failed(std::size_t from, NodeId to, const Endpoint& address, wire::Purpose purpose,
                     Duration after) {
    tell(from, hosts_[from].life, after, [this, from, to, address, purpose](Host& host) {
        world.mix(0xdead);
        if (purpose == wire::Purpose::data) {
            lost_data(from, to);
        } else {
            host.core->on_send_failed(to, address, purpose);
        }
    });
}

void Network::break_link(const LinkKey& where, Duration after) {
    const std::uint64_t epoch = links_[where].epoch;
    world.after(after, [this, where, epoch] {
        Link& link = links_[where];
        if (!link.up || link.epoch != epoch) return;
        link.up = false;
        ++link.epoch;
        const auto [a, b] = where.first;
        world.mix(a * 1000 + b);
        for (const auto& [end, other] : {std::pair{a, b}, std::pair{b, a}}) {
            tell(end, hosts_[end].life, 1us,
                 [this, end = end, peer = hosts_[other].id, purpose = where.second](Host& host) {
                     if (purpose == wire::Purpose::data) {
                         lost_data(end, peer);
                     } else {
                         host.core->on_link_down(peer, purpose);
                     }
                 });
        }
    });
}

void Network::lost_data(std::size_t index, NodeId peer) {
    Host& host = hosts_[index];
    std::vector<RequestId> fetches;
    for (const auto& [request, fetch] : host.port->fetches_) {
        if (fetch.from == peer && !fetch.all_given) fetches.push_back(request);
    }
    std::vector<Port::Key> servings;
    for (const auto& [key, serving] : host.port->servings_) {
        if (key.first == peer) servings.push_back(key);
    }
    for (const auto& key : servings) host.port->servings_.erase(key);
    std::erase_if(host.port->asked_, [&](const auto& entry) { return entry.first.first == peer; });
    for (const RequestId request : fetches) {
        end_fetch(host, request, static_cast<std::uint8_t>(transfer::ChunkOutcome::link_lost));
    }
    for (const auto& key : servings) host.core->on_serve_end(key.first, key.second, false);
    host.core->on_data_link_down(peer);
}

void Network::block(std::size_t from, std::size_t to, bool is_blocked) {
    if (is_blocked) {
        blocked_.insert({from, to});
    } else {
        blocked_.erase({from, to});
    }
}

void Network::heal() {
    blocked_.clear();
    options.loss = 0;
    for (Host& host : hosts_) host.rate = 0;
}

void Network::break_links(std::size_t a, std::size_t b) {
    for (const auto purpose : {wire::Purpose::gossip, wire::Purpose::directory, wire::Purpose::data}) {
        const auto found = links_.find(key(a, b, purpose));
        if (found == links_.end() || !found->second.up) continue;
        world.note("link " + std::to_string(a) + "-" + std::to_string(b) + " " + name_of_purpose(purpose));
        break_link(found->first, 1us);
    }
}

// --- chunks --------------------------------------------------------------------------------------

void Network::on_data(std::size_t at, NodeId from, wire::TransferMessage message) {
    Host& host = hosts_[at];
    Port& port = *host.port;
    const std::uint64_t life = host.life;
    RequestId ended = 0;
    if (const auto* get = std::get_if<wire::GetChunk>(&message)) {
        if (host.lie == Lie::silent) return;
        port.asked_[{from, get->request}] = get->digest;
    } else if (const auto* cancel = std::get_if<wire::Cancel>(&message)) {
        port.asked_.erase({from, cancel->request});
        if (port.servings_.erase({from, cancel->request}) != 0) {
            host.core->on_serve_end(from, cancel->request, false);
        }
    } else if (const auto* busy = std::get_if<wire::Busy>(&message)) {
        ended = busy->request;
    } else if (const auto* absent = std::get_if<wire::NotHere>(&message)) {
        ended = absent->request;
    }
    host.core->on_transfer(from, message);
    if (ended == 0 || host.life != life) return;
    const auto fetch = port.fetches_.find(ended);
    if (fetch == port.fetches_.end() || fetch->second.from != from || fetch->second.all_given) return;
    end_fetch(host, ended, static_cast<std::uint8_t>(transfer::ChunkOutcome::refused));
}

void Network::send_piece(std::size_t from, Port::Key key) {
    Host& host = hosts_[from];
    Port& port = *host.port;
    const auto found = port.servings_.find(key);
    if (found == port.servings_.end()) return;
    Port::Serving& serving = found->second;
    const auto asked = port.asked_.find(key);
    const auto finish = [&](bool ok, std::optional<wire::TransferMessage> say) {
        port.servings_.erase(key);
        port.asked_.erase(key);
        if (say) port.send_data(key.first, {}, std::move(*say));
        host.core->on_serve_end(key.first, key.second, ok);
    };
    if (asked == port.asked_.end()) return finish(false, std::nullopt);
    const Digest digest = asked->second;
    if (serving.cancelled) return finish(false, wire::Busy{key.second, digest, {}});
    const std::uint64_t total = serving.order.length;
    Bytes bytes(std::min<std::uint64_t>(total - serving.sent, wire::kDataPieceMax));
    const auto got = serving.order.file->pread(bytes, serving.order.offset + serving.sent);
    if (!got || *got != bytes.size()) return finish(false, wire::NotHere{key.second, digest, false});
    if (host.lie == Lie::wrong_bytes && !bytes.empty()) {
        bytes[world.rng.below(bytes.size())] ^= std::byte{0x10};
        world.count("lie.wrong_bytes");
    }
    const std::size_t to = of(key.first);
    const LinkKey where = Network::key(from, to == kNobody ? from : to, wire::Purpose::data);
    const auto link = links_.find(where);
    if (to == kNobody || link == links_.end() || !link->second.up) return finish(false, std::nullopt);
    const auto rate = [&](const Host& end) { return end.rate != 0 ? end.rate : options.bytes_per_second; };
    const std::uint64_t size = bytes.size();
    const auto span = [&](std::uint64_t per_second) {
        return Duration{static_cast<std::int64_t>((size + 64) * 1'000'000'000ULL / per_second)};
    };
    Host& there = hosts_[to];
    host.uplink_free = std::max(host.uplink_free, world.now()) + span(rate(host));
    there.downlink_free = std::max(there.downlink_free, host.uplink_free + delay()) + span(rate(there));
    if (blocked(from, to) || there.core == nullptr) {
        break_link(where, kSendTimeout);
    } else {
        world.at(there.downlink_free, [this, from, to, where, epoch = link->second.epoch, life = there.life,
                                       self = host.id, request = key.second, offset = serving.sent, total,
                                       bytes = std::move(bytes)] {
            if (links_[where].epoch != epoch || hosts_[to].life != life) return;
            if (blocked(from, to)) return break_link(where, kSendTimeout);
            world.touched = to;
            on_piece(to, self, request, offset, total, bytes);
        });
    }
    serving.sent += size;
    const Instant free = host.uplink_free;
    tell(from, host.life, free - world.now(), [this, from, key, last = serving.sent == total](Host& me) {
        if (!last) return send_piece(from, key);
        if (me.port->servings_.erase(key) == 0) return;
        me.port->asked_.erase(key);
        me.core->on_serve_end(key.first, key.second, true);
    });
}

void Network::on_piece(std::size_t at, NodeId from, RequestId request, std::uint64_t offset,
                       std::uint64_t total, const Bytes& bytes) {
    Host& host = hosts_[at];
    if (host.core == nullptr) return;
    const auto found = host.port->fetches_.find(request);
    if (found == host.port->fetches_.end() || found->second.from != from) return;  // cancelled
    Port::Fetching& fetch = found->second;
    world.mix(request * 7 + offset);
    ++world.frames[static_cast<std::size_t>(wire::TransferType::data)];
    if (total != fetch.total || offset != fetch.received) {
        return break_link(key(at, of(from), wire::Purpose::data), 1us);
    }
    fetch.received += bytes.size();
    fetch.all_given = fetch.received == total;
    const auto landing = fetch.landing;
    if (!bytes.empty()) host.core->on_fetch_bytes(from, request, bytes.size());
    host.core->store().land(landing, offset, chunk_block(bytes), std::nullopt,
                            [this, at, life = host.life, request](store::ChunkOutcome outcome) {
                                Host& me = hosts_[at];
                                if (me.life != life || me.core == nullptr) return;
                                world.count("landed." + std::string(store::name_of(outcome)));
                                end_fetch(me, request, static_cast<std::uint8_t>(node::transfer_outcome(outcome)));
                            });
}

void Network::end_fetch(Host& host, RequestId request, std::uint8_t outcome) {
    const auto found = host.port->fetches_.find(request);
    if (found == host.port->fetches_.end()) return;
    const NodeId from = found->second.from;
    const std::uint64_t bytes = found->second.received;
    host.port->fetches_.erase(found);
    host.core->on_fetch_end(from, request, {static_cast<transfer::ChunkOutcome>(outcome), bytes});
}

}  // namespace fastreg::sim
