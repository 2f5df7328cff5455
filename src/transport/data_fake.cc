#include "transport/data_fake.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

namespace fastreg::transport {

void FakeDataNetwork::break_link(NodeId a, NodeId b, const std::string& why) {
    if (links_.erase(pair_of(a, b)) == 0) return;
    for (const auto& [end, other] : {Pair{a, b}, Pair{b, a}}) {
        const auto found = nodes_.find(end);
        if (found != nodes_.end()) found->second->lost(other, why);
    }
}

void FakeDataNetwork::set_cut(NodeId a, NodeId b, bool cut) {
    if (!cut) {
        cut_.erase(pair_of(a, b));
        return;
    }
    cut_.insert(pair_of(a, b));
    break_link(a, b, "the network is cut");
}

FakeDataTransport::FakeDataTransport(FakeDataNetwork& network, NodeId id, DataHandler& handler)
    : network_(network),
      id_(id),
      handler_(handler),
      self_(std::make_shared<FakeDataTransport*>(this)) {
    network_.nodes_[id] = this;
}

FakeDataTransport::~FakeDataTransport() {
    *self_ = nullptr;
    network_.nodes_.erase(id_);
    const auto links = network_.links_;
    for (const auto& [a, b] : links) {
        if (a == id_ || b == id_) network_.break_link(a, b, "the peer closed the connection");
    }
}

void FakeDataTransport::later(std::function<void(FakeDataTransport&)> job) {
    network_.post_([self = self_, job = std::move(job)] {
        if (*self != nullptr) job(**self);
    });
}

bool FakeDataTransport::linked(NodeId peer) const {
    return network_.links_.contains(FakeDataNetwork::pair_of(id_, peer));
}

FakeDataTransport* FakeDataTransport::connect(NodeId peer) {
    const auto found = network_.nodes_.find(peer);
    const auto pair = FakeDataNetwork::pair_of(id_, peer);
    if (found == network_.nodes_.end() || network_.cut_.contains(pair)) return nullptr;
    if (network_.links_.insert(pair).second) {
        later([peer](FakeDataTransport& me) { me.handler_.on_link_up(peer); });
        found->second->later(
            [from = id_](FakeDataTransport& other) { other.handler_.on_link_up(from); });
    }
    return found->second;
}

void FakeDataTransport::send(NodeId to, const Endpoint&, wire::TransferMessage message) {
    RequestId answered = 0;
    if (const auto* busy = std::get_if<wire::Busy>(&message)) answered = busy->request;
    if (const auto* absent = std::get_if<wire::NotHere>(&message)) answered = absent->request;
    if (answered != 0 && asked_.erase({to, answered}) == 0) return;
    FakeDataTransport* peer = connect(to);
    if (peer == nullptr) return lost(to, "the peer cannot be reached");
    peer->later([from = id_, message = std::move(message)](FakeDataTransport& other) {
        if (other.linked(from)) other.receive(from, message);
    });
}

void FakeDataTransport::receive(NodeId from, wire::TransferMessage message) {
    if (const auto* get = std::get_if<wire::GetChunk>(&message)) {
        asked_[{from, get->request}] = get->digest;
    }
    if (const auto* cancel = std::get_if<wire::Cancel>(&message)) {
        asked_.erase({from, cancel->request});
        cancel_serve(from, cancel->request);
    }
    handler_.on_message(from, message);
    if (const auto* busy = std::get_if<wire::Busy>(&message)) {
        end_fetch({from, busy->request}, FetchEnd::busy);
    }
    if (const auto* absent = std::get_if<wire::NotHere>(&message)) {
        end_fetch({from, absent->request}, FetchEnd::not_here);
    }
}

void FakeDataTransport::fetch(FetchOrder order) {
    const Key key{order.from, order.request};
    const wire::GetChunk get{order.request, order.digest, order.blob_size, order.chunk, order.urgent};
    fetches_.insert_or_assign(key, Fetch{std::move(order)});
    send(key.first, {}, get);
}

void FakeDataTransport::cancel_fetch(NodeId from, RequestId request) {
    if (!fetches_.contains({from, request})) return;
    later([from, request](FakeDataTransport& me) {
        me.end_fetch({from, request}, FetchEnd::cancelled);
    });
    if (linked(from)) send(from, {}, wire::Cancel{request});
}

void FakeDataTransport::serve(ServeOrder order) {
    const Key key{order.to, order.request};
    const bool known = asked_.contains(key);
    if (known) servings_.insert_or_assign(key, Serving{std::move(order)});
    later([key, known](FakeDataTransport& me) {
        if (known) return me.send_piece(key);
        me.handler_.on_served(key.first, key.second, false, 0);
    });
}

void FakeDataTransport::send_piece(const Key& key) {
    const auto found = servings_.find(key);
    if (found == servings_.end()) return;
    Serving& serving = found->second;
    const auto asked = asked_.find(key);
    if (serving.cancelled) {
        const bool tell = asked != asked_.end();
        const Digest digest = tell ? asked->second : Digest{};
        if (tell) send(key.first, {}, wire::Busy{key.second, digest, {}});
        return end_serve(key, false);
    }
    const std::uint64_t total = serving.order.length;
    Bytes bytes(std::min<std::uint64_t>(total - serving.sent, wire::kDataPieceMax));
    const auto at = static_cast<off_t>(serving.order.file_offset + serving.sent);
    const ssize_t got = ::pread(serving.order.file->fd(), bytes.data(), bytes.size(), at);
    if (got != static_cast<ssize_t>(bytes.size())) {
        if (asked != asked_.end()) {
            send(key.first, {}, wire::NotHere{key.second, asked->second, false});
        }
        return end_serve(key, false);
    }
    const auto peer = network_.nodes_.find(key.first);
    peer->second->later([from = id_, request = key.second, offset = serving.sent, total,
                         bytes](FakeDataTransport& other) {
        if (other.linked(from)) other.receive_piece({from, request}, offset, total, bytes);
    });
    serving.sent += bytes.size();
    if (serving.sent == total) {
        asked_.erase(key);
        return end_serve(key, true);
    }
    later([key](FakeDataTransport& me) { me.send_piece(key); });
}

void FakeDataTransport::receive_piece(const Key& key, std::uint64_t offset, std::uint64_t total,
                                      Bytes bytes) {
    const auto found = fetches_.find(key);
    if (found == fetches_.end()) return;  // cancelled
    Fetch& fetch = found->second;
    if (total != ChunkGrid(fetch.order.blob_size).size_of(fetch.order.chunk)) {
        return network_.break_link(id_, key.first, "the peer broke the protocol");
    }
    Block block;
    if (!bytes.empty()) {
        block = BlockPool::create(wire::kDataPieceMax, 1)->try_take();
        std::memcpy(block.room().data(), bytes.data(), bytes.size());
        block.set_filled(bytes.size());
    }
    fetch.received += bytes.size();
    const bool whole = fetch.received == total;
    const std::shared_ptr<ChunkSink> sink = fetch.order.sink;
    if (!bytes.empty()) handler_.on_progress(key.first, key.second, bytes.size());
    sink->on_block(offset, std::move(block), std::nullopt);
    if (whole) end_fetch(key, FetchEnd::all_sent_to_sink);
}

void FakeDataTransport::end_fetch(const Key& key, FetchEnd end) {
    if (fetches_.erase(key) != 0) handler_.on_fetch_done(key.first, key.second, end);
}

void FakeDataTransport::end_serve(const Key& key, bool ok) {
    const auto node = servings_.extract(key);
    asked_.erase(key);
    if (node) handler_.on_served(key.first, key.second, ok, node.mapped().sent);
}

void FakeDataTransport::cancel_serve(NodeId to, RequestId request) {
    const auto found = servings_.find({to, request});
    if (found != servings_.end()) found->second.cancelled = true;
}

void FakeDataTransport::drop(NodeId peer, const std::string& why) {
    network_.break_link(id_, peer, why);
}

void FakeDataTransport::lost(NodeId peer, const std::string& why) {
    // What is under way now is lost; what is asked for from here on is not.
    std::vector<RequestId> fetches;
    std::vector<std::pair<RequestId, std::uint64_t>> servings;
    const auto of_peer = [&](const auto& entry) { return entry.first.first == peer; };
    for (const auto& [key, fetch] : fetches_) {
        if (key.first == peer) fetches.push_back(key.second);
    }
    for (const auto& [key, serving] : servings_) {
        if (key.first == peer) servings.emplace_back(key.second, serving.sent);
    }
    std::erase_if(fetches_, of_peer);
    std::erase_if(servings_, of_peer);
    std::erase_if(asked_, of_peer);
    later([peer, why, fetches, servings](FakeDataTransport& me) {
        for (const RequestId request : fetches) {
            me.handler_.on_fetch_done(peer, request, FetchEnd::link_lost);
        }
        for (const auto& [request, bytes] : servings) {
            me.handler_.on_served(peer, request, false, bytes);
        }
        me.handler_.on_link_down(peer, why);
    });
}

}  // namespace fastreg::transport
