#include "transport/rdma/verbs_fake.h"

#include <algorithm>
#include <cstring>

#include "wire/rdma.h"

namespace fastreg::transport::rdma {
namespace {

using Type = CmEvent::Type;

CmEvent event_of(ConnId conn, Type type, std::string why = {}) {
    CmEvent event;
    event.conn = conn;
    event.type = type;
    event.why = std::move(why);
    return event;
}

}  // namespace

// --- the wire ----------------------------------------------------------------------------------

bool FakeFabric::run() {
    bool moved = false;
    for (bool more = true; more;) {
        more = false;
        for (FakeVerbs* node : nodes_) {
            if (held_.contains(node)) continue;
            for (const ConnId conn : node->connections()) {
                while (node->deliver(conn)) more = moved = true;
            }
        }
    }
    return moved;
}

void FakeFabric::hold(const FakeVerbs* node, bool held) {
    if (held) {
        held_.insert(node);
    } else {
        held_.erase(node);
    }
}

void FakeFabric::keep_completions(const FakeVerbs* node, bool kept) {
    if (kept) {
        kept_.insert(node);
    } else {
        kept_.erase(node);
    }
}

void FakeFabric::set_black_hole(const FakeVerbs* node, bool lost) {
    if (lost) {
        black_holes_.insert(node);
    } else {
        black_holes_.erase(node);
    }
}

std::size_t FakeFabric::on_wire() const {
    std::size_t count = 0;
    for (const FakeVerbs* node : nodes_) {
        for (const auto& [id, conn] : node->conns_) count += conn.wire.size();
    }
    return count;
}

// --- one node ----------------------------------------------------------------------------------

FakeVerbs::FakeVerbs(FakeFabric& fabric, LinkLayer layer) : fabric_(fabric) {
    fabric_.nodes_.insert(this);
    key_ = static_cast<std::uint32_t>(0x1000 + fabric_.nodes_.size());
    Device device;
    device.name = "fake0";
    device.layer = layer;
    device.active = true;
    device.mtu = 4096;
    device.message_max = 1U << 30U;
    device.addresses = {"10.0.0.1"};
    devices_.push_back(device);
}

FakeVerbs::~FakeVerbs() {
    fabric_.nodes_.erase(this);
    fabric_.listeners_.erase(listening_);
    for (auto& [id, conn] : conns_) {
        if (Conn* peer = peer_of(conn)) {
            conn.peer->tell(event_of(conn.peer_conn, Type::disconnected, "the peer disconnected"));
            peer->peer = nullptr;
        }
    }
}

std::vector<ConnId> FakeVerbs::connections() const {
    std::vector<ConnId> all;
    for (const auto& [id, conn] : conns_) all.push_back(id);
    return all;
}

FakeVerbs::Conn* FakeVerbs::find(ConnId conn) {
    const auto found = conns_.find(conn);
    return found == conns_.end() ? nullptr : &found->second;
}

FakeVerbs::Conn* FakeVerbs::peer_of(Conn& conn) {
    if (conn.peer == nullptr || !fabric_.nodes_.contains(conn.peer)) return nullptr;
    return conn.peer->find(conn.peer_conn);
}

void FakeVerbs::tell(CmEvent event) {
    if (!fabric_.black_holes_.contains(this)) events_.push_back(std::move(event));
}

Status FakeVerbs::register_memory(std::span<std::byte> landing, std::span<std::byte> source, std::size_t slot_size) {
    if (memory_denied_) return fail(Errc::permission_denied, "pinning memory for RDMA: raise the limit of memlock");
    landing_ = landing;
    source_ = source;
    slot_size_ = slot_size;
    return {};
}

std::optional<CmEvent> FakeVerbs::next_cm_event() {
    if (events_.empty()) return std::nullopt;
    CmEvent event = std::move(events_.front());
    events_.pop_front();
    return event;
}

std::vector<ConnId> FakeVerbs::completed(DeviceIndex) {
    std::vector<ConnId> said(said_.begin(), said_.end());
    said_.clear();
    return said;
}

Result<std::uint16_t> FakeVerbs::listen(const Endpoint& at) {
    listening_ = at.str();
    fabric_.listeners_[listening_] = this;
    return at.port;
}

Result<ConnId> FakeVerbs::begin_connect(const Endpoint& to) {
    if (removed_) return fail(Errc::network, "no RDMA device leads to " + to.str());
    const ConnId id = ++fabric_.conn_ids_;
    conns_[id].to = to;
    tell(event_of(id, Type::address_resolved));
    return id;
}

Status FakeVerbs::resolve_route(ConnId conn) {
    tell(event_of(conn, Type::route_resolved));
    return {};
}

Status FakeVerbs::make_queue(ConnId id, Role role, QueueSizes sizes) {
    Conn& conn = conns_.at(id);
    conn.has_queue = true;
    conn.role = role;
    conn.sends_left = sizes.sends;
    conn.buffers.resize(sizes.receives);
    for (std::uint32_t i = 0; i < sizes.receives; ++i) conn.receives.push_back(i);
    return {};
}

Status FakeVerbs::connect(ConnId id, ByteView private_data) {
    const Conn& conn = conns_.at(id);
    const auto listener = fabric_.listeners_.find(conn.to.str());
    if (listener == fabric_.listeners_.end()) {
        tell(event_of(id, Type::rejected, "nobody listens there"));
        return {};
    }
    FakeVerbs& other = *listener->second;
    if (fabric_.black_holes_.contains(&other)) return {};
    const ConnId theirs = ++fabric_.conn_ids_;
    Conn& passive = other.conns_[theirs];
    passive.peer = this;
    passive.peer_conn = id;
    conns_.at(id).peer = &other;
    conns_.at(id).peer_conn = theirs;
    CmEvent event = event_of(theirs, Type::connect_request);
    event.data.assign(private_data.begin(), private_data.end());
    event.remote = "10.0.0.9";
    other.tell(std::move(event));
    return {};
}

Status FakeVerbs::accept(ConnId id, ByteView private_data) {
    Conn& conn = conns_.at(id);
    Conn* peer = peer_of(conn);
    if (peer == nullptr) return fail(Errc::network, "the peer has gone");
    conn.established = peer->established = true;
    CmEvent event = event_of(conn.peer_conn, Type::established);
    event.data.assign(private_data.begin(), private_data.end());
    conn.peer->tell(std::move(event));
    tell(event_of(id, Type::established));
    return {};
}

void FakeVerbs::reject(ConnId id, ByteView private_data) {
    Conn& conn = conns_.at(id);
    if (peer_of(conn) == nullptr) return;
    CmEvent event = event_of(conn.peer_conn, Type::rejected, "refused by the peer");
    event.data.assign(private_data.begin(), private_data.end());
    conn.peer->tell(std::move(event));
}

std::size_t FakeVerbs::poll(ConnId id, std::span<Completion> out) {
    Conn* conn = find(id);
    if (conn == nullptr) return 0;
    std::size_t count = 0;
    for (auto at = conn->completions.begin(); at != conn->completions.end() && count < out.size();) {
        if ((at->work & kReceive) == 0 && fabric_.kept_.contains(this)) {
            ++at;
            continue;
        }
        if ((at->work & kReceive) == 0) ++conn->sends_left;
        out[count++] = *at;
        at = conn->completions.erase(at);
    }
    if (!conn->completions.empty()) said_.insert(id);
    return count;
}

ByteView FakeVerbs::received(ConnId id, std::uint32_t index, std::uint32_t) const {
    return conns_.at(id).buffers.at(index);
}

Status FakeVerbs::post_receive(ConnId id, std::uint32_t index) {
    conns_.at(id).receives.push_back(index);
    return {};
}

Status FakeVerbs::post_message(ConnId id, ByteView message, std::uint64_t work) {
    Conn& conn = conns_.at(id);
    if (!conn.has_queue || removed_) return fail(Errc::network, "posting to a queue that is gone");
    if (conn.sends_left == 0) return fail(Errc::internal, "the send queue is full");
    --conn.sends_left;
    Packet packet;
    packet.message.assign(message.begin(), message.end());
    packet.work = work;
    packet.signalled = true;
    if (conn.error) {
        complete(id, conn, packet, false, true, "flushed");
    } else {
        conn.wire.push_back(std::move(packet));
    }
    return {};
}

Status FakeVerbs::post_chunk(ConnId id, const ChunkWrite& write, ByteView done, std::uint64_t work) {
    Conn& conn = conns_.at(id);
    // Soft iWARP may still read the source of an unsignalled write when the message behind it is done.
    FR_ASSERT(write.signal_writes || devices_.front().layer != LinkLayer::iwarp);
    for (std::uint64_t at = 0; at < write.bytes; at += write.segment) {
        if (conn.sends_left == 0) return fail(Errc::internal, "the send queue is full");
        Packet packet;
        packet.write = true;
        packet.source_slot = write.source_slot;
        packet.source_offset = at;
        packet.bytes = std::min(write.segment, write.bytes - at);
        packet.address = write.address + at;
        packet.key = write.key;
        packet.work = work | kSegment;
        packet.signalled = write.signal_writes;
        --conn.sends_left;
        if (!packet.signalled) ++conn.unsignalled;
        if (conn.error) {
            complete(id, conn, packet, false, true, "flushed");
        } else {
            conn.wire.push_back(std::move(packet));
        }
    }
    return post_message(id, done, work);
}

void FakeVerbs::inject(ConnId id, ByteView message) {
    Packet packet;
    packet.message.assign(message.begin(), message.end());
    conns_.at(id).wire.push_back(std::move(packet));
}

void FakeVerbs::complete(ConnId id, Conn& conn, const Packet& packet, bool ok, bool flushed, std::string_view why) {
    if (ok && !packet.signalled) return;
    if (packet.signalled && ok && !packet.write) {
        conn.sends_left += static_cast<std::uint32_t>(std::exchange(conn.unsignalled, 0));
    }
    Completion completion;
    completion.work = packet.work;
    completion.ok = ok;
    completion.flushed = flushed;
    completion.why = why;
    conn.completions.push_back(completion);
    said_.insert(id);
}

/// Moves the first packet of a connection to its other end; false when there is none.
bool FakeVerbs::deliver(ConnId id) {
    Conn* conn = find(id);
    if (conn == nullptr) return false;
    if (conn->wire.empty()) {
        if (conn->closed) conns_.erase(id);
        return false;
    }
    const Packet packet = std::move(conn->wire.front());
    conn->wire.pop_front();
    Conn* peer = peer_of(*conn);
    // As adverse as a device may be: what is on the wire lands until the receiving queue pair is destroyed.
    if (peer == nullptr || !peer->has_queue) {
        if (packet.write) ++fabric_.too_late_;
        if (!conn->error) complete(id, *conn, packet, false, false, "the peer does not answer");
        return true;
    }
    FakeVerbs& other = *conn->peer;
    if (packet.write) {
        const auto begin = reinterpret_cast<std::uint64_t>(other.landing_.data());
        const bool allowed = packet.key == other.key_ && peer->role == Role::requester && packet.address >= begin &&
                             packet.bytes <= other.landing_.size() &&
                             packet.address - begin <= other.landing_.size() - packet.bytes;
        if (!allowed) {
            other.break_conn(conn->peer_conn, *peer, "a peer wrote outside of what it was granted");
            complete(id, *conn, packet, false, false, "remote access error");
            return true;
        }
        std::memcpy(other.landing_.data() + (packet.address - begin),
                    source_.data() + packet.source_slot * slot_size_ + packet.source_offset, packet.bytes);
        ++fabric_.landed_;
        if (!conn->error) complete(id, *conn, packet, true, false, {});
        return true;
    }
    if (peer->error) return true;  // its receives were flushed
    using Fate = FakeFabric::Fate;
    const Fate fate = fabric_.fate ? fabric_.fate(this, packet.message) : Fate::once;
    for (int left = fate == Fate::lost ? 0 : fate == Fate::twice ? 2 : 1; left > 0; --left) {
        if (peer->receives.empty()) {
            complete(id, *conn, packet, false, false, "receiver not ready");
            return true;
        }
        const std::uint32_t index = peer->receives.front();
        peer->receives.pop_front();
        peer->buffers[index] = packet.message;
        Completion got;
        got.work = kReceive | index;
        got.ok = true;
        got.bytes = static_cast<std::uint32_t>(packet.message.size());
        peer->completions.push_back(got);
        other.said_.insert(conn->peer_conn);
    }
    if (!conn->error) complete(id, *conn, packet, true, false, {});
    return true;
}

void FakeVerbs::break_conn(ConnId id, Conn& conn, std::string_view why) {
    Packet none;
    none.work = ~0ULL >> 2U;
    complete(id, conn, none, false, false, why);
}

void FakeVerbs::to_error(ConnId id) {
    ends_.emplace_back(id, "error");
    Conn* conn = find(id);
    if (conn == nullptr || !conn->has_queue || std::exchange(conn->error, true)) return;
    // Held packets are on the wire already, and land late; all of them come back as flushed.
    const auto flushed_sends = conn->wire;
    if (!fabric_.held_.contains(this)) conn->wire.clear();
    for (const Packet& packet : flushed_sends) complete(id, *conn, packet, false, true, "flushed");
    for (const std::uint32_t index : std::exchange(conn->receives, {})) {
        Completion flushed;
        flushed.work = kReceive | index;
        flushed.flushed = true;
        flushed.why = "flushed";
        conn->completions.push_back(flushed);
    }
    said_.insert(id);
}

void FakeVerbs::disconnect(ConnId id) {
    ends_.emplace_back(id, "disconnect");
    Conn* conn = find(id);
    if (conn == nullptr || !std::exchange(conn->established, false)) return;
    Conn* peer = peer_of(*conn);
    if (peer != nullptr && !fabric_.black_holes_.contains(this)) {
        conn->peer->tell(event_of(conn->peer_conn, Type::disconnected, "the peer disconnected"));
    }
}

bool FakeVerbs::destroy_queue(ConnId id) {
    if (queues_kept_) return false;
    ends_.emplace_back(id, "destroy");
    if (Conn* conn = find(id)) conn->has_queue = false;
    return true;
}

void FakeVerbs::close(ConnId id) {
    ends_.emplace_back(id, "close");
    if (Conn* conn = find(id)) {
        FR_ASSERT(!conn->has_queue);
        if (Conn* peer = peer_of(*conn); peer != nullptr && conn->wire.empty()) peer->peer = nullptr;
    }
    if (Conn* conn = find(id); conn != nullptr && !conn->wire.empty()) {
        conn->closed = true;
    } else {
        conns_.erase(id);
    }
    std::erase_if(events_, [&](const CmEvent& event) { return event.conn == id; });
}

void FakeVerbs::remove_device() {
    removed_ = true;
    CmEvent event;
    event.type = Type::device_removed;
    tell(std::move(event));
}

}  // namespace fastreg::transport::rdma
