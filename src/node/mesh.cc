#include "node/mesh.h"

#include "base/clock.h"
#include "base/log.h"

namespace fastreg::node {

namespace {

class OpenFile final : public transport::FileRef {
  public:
    explicit OpenFile(std::shared_ptr<store::File> file) : file_(std::move(file)) {}
    [[nodiscard]] int fd() const override { return file_->native_handle(); }

  private:
    std::shared_ptr<store::File> file_;
};

}  // namespace

/// Carries blocks from an io thread to the loop.
class Mesh::Sink final : public transport::ChunkSink {
  public:
    Sink(uv::Loop& loop, std::shared_ptr<Mesh*> mesh, RequestId request)
        : loop_(loop), mesh_(std::move(mesh)), request_(request) {}

    void on_block(std::uint64_t offset, Block block, std::optional<Xxh128> checksum) override {
        loop_.post([mesh = mesh_, request = request_, offset, block = std::move(block), checksum]() mutable {
            if (*mesh != nullptr) (*mesh)->on_block(request, offset, std::move(block), checksum);
        });
    }

  private:
    uv::Loop& loop_;
    std::shared_ptr<Mesh*> mesh_;
    RequestId request_;
};

namespace {

Counter& moved_bytes(Metrics& metrics, std::string_view direction, std::string_view source, std::string_view road,
                     std::string_view zone) {
    std::string labels = "direction=\"" + std::string(direction) + "\",source=\"" + std::string(source);
    labels += "\",transport=\"" + std::string(road) + "\",zone=\"" + std::string(zone) + "\"";
    return metrics.counter("fastreg_bytes_total", "Bytes of blobs moved, by where they came from", labels);
}

}  // namespace

Mesh::Moved::Moved(Metrics& m, std::string_view direction, std::string_view source)
    : tcp{moved_bytes(m, direction, source, "tcp", "same"), moved_bytes(m, direction, source, "tcp", "other"),
          moved_bytes(m, direction, source, "tcp", "none")},
      rdma{moved_bytes(m, direction, source, "rdma", "same"), moved_bytes(m, direction, source, "rdma", "other"),
           moved_bytes(m, direction, source, "rdma", "none")} {}

void Mesh::count(Moved& moved, Road road, const NodeId& peer, std::uint64_t bytes) const {
    moved.bytes[index(road)] += bytes;
    const Moved::ByZone& zones = road == Road::tcp ? moved.tcp : moved.rdma;
    const Member* member = core_ == nullptr ? nullptr : core_->gossip().find(peer);
    const std::string* own = core_ == nullptr ? nullptr : &core_->gossip().self().zone;
    const bool zoned = member != nullptr && !member->zone.empty() && !own->empty();
    (!zoned ? zones.none : member->zone == *own ? zones.same : zones.other).add(bytes);
}

Mesh::Mesh(uv::Loop& loop, MeshOptions options, Metrics& metrics)
    : loop_(loop),
      options_(std::move(options)),
      timer_(loop,
             [this] {
                 deadline_ = Instant::never();
                 if (core_ != nullptr) core_->on_deadline();
             }),
      in_(metrics, "in", "peer"),
      out_(metrics, "out", "local"),
      metric_hash_failures_(metrics.counter("fastreg_chunk_hash_failures_total",
                                            "Chunks from peers whose link of the digest chain did not hold")),
      self_(std::make_shared<Mesh*>(this)) {}

Mesh::~Mesh() {
    *self_ = nullptr;
    close();
}

void Mesh::close() {
    core_ = nullptr;
    timer_.cancel();
    if (bench_) bench_->close();
    rdma_.reset();
    tcp_.reset();
    router_.reset();
    bench_.reset();
    control_.reset();
}

Status Mesh::listen() {
    transport::ControlMesh::Options control;
    control.identity = options_.identity;
    control.listen = options_.gossip_listen;
    control.links_max = options_.links_max;
    control_ = std::make_unique<transport::ControlMesh>(loop_, control, static_cast<ControlHandler&>(*this));
    FR_TRY_ASSIGN(const auto gossip_port, control_->listen());
    gossip_ = {options_.gossip_listen.host, gossip_port};
    options_.identity.gossip.port = gossip_port;
    control_->set_advertised(options_.identity.gossip);

    transport::TcpTransport::Options data;
    data.identity = options_.identity;
    data.listen = options_.transfer_listen;
    data.threads = options_.io_threads;
    data.own_blocks = options_.blocks;
    data.links_max = options_.links_max;
    data.requests_in_max = options_.requests_in_max;
    transport::Router::Options router;
    router.now = [this] { return loop_.now(); };
    router.rdma_of = [this](NodeId peer) {
        const Member* member = core_ != nullptr ? core_->gossip().find(peer) : nullptr;
        return member != nullptr ? member->rdma : Endpoint{};
    };
    router.on_devices = [this] {
        if (core_ != nullptr) core_->set_rdma(rdma_address());
    };
    router.on_bytes_out = [this](Road road, NodeId to, RequestId request, std::uint64_t bytes) {
        if (!bench_->serves(to, request)) count(out_, road, to, bytes);
    };
    bench_ = std::make_unique<Bench>(loop_, static_cast<DataHandler&>(*this));
    router_ = std::make_unique<transport::Router>(*bench_, std::move(router));
    bench_->attach(*router_);
    tcp_ = std::make_unique<transport::TcpTransport>(loop_, data, router_->tcp_events());
    router_->set_tcp(tcp_.get());
    FR_TRY_ASSIGN(const auto transfer_port, tcp_->listen());
    transfer_ = {options_.transfer_listen.host, transfer_port};
    if (options_.rdma) open_rdma();
    return {};
}

/// A node without RDMA serves all the same: one line says why, and chunks go by TCP.
void Mesh::open_rdma() {
    transport::RdmaTransport::Options rdma = *options_.rdma;
    rdma.engine.links.self = options_.identity.node_id;
    rdma.engine.links.cluster_hash = wire::hash_of_cluster(options_.identity.cluster);
    rdma.engine.links.key = options_.identity.key;
    auto opened = transport::RdmaTransport::open(loop_, rdma, router_->rdma_events());
    if (!opened) {
        rdma_off_ = opened.error();
        log::warn("rdma.off", {{"why", describe(*rdma_off_)}, {"chunks_go_by", "tcp"}});
        return;
    }
    rdma_ = std::move(*opened);
    router_->set_rdma(rdma_.get());
    std::string devices;
    for (const auto& device : rdma_->devices()) {
        devices += (devices.empty() ? "" : ",") + device.name + ":" + std::string(name_of(device.layer)) +
                   (device.active ? "" : ":down");
    }
    log::info("rdma.on", {{"advertised", rdma_->advertised().str()},
                          {"devices", devices},
                          {"landing_slots", rdma_->landing_slots()},
                          {"source_slots", rdma_->source_slots()}});
    if (rdma_address().empty()) {
        log::warn("rdma.no_address", {{"do", "name the address peers reach this node's RDMA device at: "
                                             "--rdma-advertise-addr; for IPv6 also --rdma-listen-addr ::"}});
    }
}

bool Mesh::rdma_up() const {
    return !rdma_address().empty();  // there is one to tell only while a device works
}

Endpoint Mesh::rdma_address() const {
    return rdma_ && !rdma_->advertised().host.empty() ? rdma_->advertised() : Endpoint{};
}

Road Mesh::road_with(NodeId peer) const {
    return router_ ? router_->road_with(peer) : Road::tcp;
}

std::uint64_t Mesh::wall_ms() const {
    return wall_clock_ms();
}

void Mesh::set_deadline(Instant at) {
    if (at == deadline_) return;
    deadline_ = at;
    timer_.set(at);
}

std::optional<Mesh::Failure> Mesh::last_failure(const Endpoint& address) const {
    const auto at = failures_.find(address.str());
    return at == failures_.end() ? std::nullopt : std::optional(at->second);
}

std::optional<NodeId> Mesh::answered_at(const Endpoint& address) const {
    return control_ == nullptr ? std::nullopt : control_->answered_at(address, wire::Purpose::gossip);
}

// --- control -----------------------------------------------------------------------------------

void Mesh::send_control(NodeId to, const Endpoint& address, wire::Purpose purpose, wire::Frame frame) {
    if (control_ == nullptr) return;  // closing
    control_->send(to, address, purpose, std::move(frame));
}

void Mesh::keep_links(std::vector<NodeId> members) {
    if (control_ == nullptr) return;  // closing
    control_->keep(std::move(members));
}

void Mesh::on_frame(NodeId from, wire::Purpose purpose, wire::Frame frame) {
    if (core_ != nullptr) core_->on_frame(from, purpose, frame);
}

void Mesh::on_link_up(NodeId peer, wire::Purpose purpose, const wire::Hello&, const Endpoint&) {
    if (core_ != nullptr) core_->on_link_up(peer, purpose);
}

void Mesh::on_link_down(NodeId peer, wire::Purpose purpose) {
    if (core_ != nullptr) core_->on_link_down(peer, purpose);
}

void Mesh::on_dialled(const Endpoint& address) {
    failures_.erase(address.str());
    if (core_ != nullptr) core_->on_dialled(address);
}

void Mesh::on_wrong_peer(NodeId expected, const Endpoint& address, NodeId found) {
    if (core_ != nullptr) core_->on_wrong_peer(expected, address, found);
}

void Mesh::on_send_failed(NodeId to, const Endpoint& address, wire::Purpose purpose,
                          transport::SendFailure failure, const std::string& why, wire::Frame) {
    if (!to.known() && failures_.size() < 1024) failures_[address.str()] = {failure, why};
    if (failure == transport::SendFailure::foreign && core_ != nullptr) core_->on_foreign(address, why);
    log::debug("link.send_failed", {{"to", to.known() ? to.brief() : std::string("seed")},
                                    {"address", address.str()},
                                    {"purpose", wire::name_of(purpose)},
                                    {"why", why}});
    if (core_ != nullptr) core_->on_send_failed(to, address, purpose);
}

// --- chunks ------------------------------------------------------------------------------------

Status Mesh::bench(const BenchOrder& order, Bench::OnEnd on_end) {
    if (router_ == nullptr) return fail(Errc::unavailable, "this node is stopping");
    if (order.road == Road::rdma && rdma_ == nullptr) {
        return fail(Errc::unsupported,
                    "this node has no RDMA" + (rdma_off_ ? ": " + describe(*rdma_off_) : "; --rdma-enabled"));
    }
    if (order.road == Road::rdma && order.rdma.empty()) {
        return fail(Errc::unsupported, "the peer has no RDMA; `fastreg doctor` there says why");
    }
    if (order.road == Road::rdma && order.depth > rdma_->at_once()) {
        return fail(Errc::too_large, "by RDMA at most " + std::to_string(rdma_->at_once()) +
                                            " chunks of one peer are under way at once; measure with --depth 1," +
                                            std::to_string(rdma_->at_once()) +
                                            ", or raise rdma.slots-per-peer and rdma.landing-slots");
    }
    return bench_->run(order, std::move(on_end));
}

void Mesh::send_data(NodeId to, const Endpoint& address, wire::TransferMessage message) {
    if (router_ == nullptr) return;
    router_->send(to, address, std::move(message));
}

void Mesh::fetch(Fetch order) {
    if (router_ == nullptr) return;
    const RequestId request = order.request;
    landings_[request] = {order.from, std::move(order.landing), 0};
    router_->fetch({order.from, order.address, false, request, order.digest, order.blob_size, order.chunk, order.urgent,
                    std::make_shared<Sink>(loop_, self_, request)});
}

void Mesh::cancel_fetch(NodeId from, RequestId request) {
    if (router_ == nullptr) return;
    router_->cancel_fetch(from, request);
}

void Mesh::serve(Serve order) {
    if (router_ == nullptr) return;
    router_->serve({order.to, order.request, std::make_shared<OpenFile>(std::move(order.file)), order.offset,
                  order.length, order.urgent});
}

void Mesh::cancel_serve(NodeId to, RequestId request) {
    if (router_ == nullptr) return;
    router_->cancel_serve(to, request);
}

void Mesh::drop_data(NodeId peer, const std::string& why) {
    if (router_ == nullptr) return;
    router_->drop(peer, why);
}

void Mesh::on_block(RequestId request, std::uint64_t offset, Block block,
                    std::optional<Xxh128> checksum) {
    const auto at = landings_.find(request);
    if (at == landings_.end() || core_ == nullptr) return;
    at->second.bytes += block.size();
    at->second.road = block.may_change() ? Road::rdma : Road::tcp;
    count(in_, at->second.road, at->second.from, block.size());
    core_->store().land(at->second.chunk, offset, std::move(block), checksum,
                        [mesh = self_, request](store::ChunkOutcome outcome) {
                            if (*mesh == nullptr) return;
                            if (outcome == store::ChunkOutcome::bad_link) (*mesh)->metric_hash_failures_.add();
                            (*mesh)->end_fetch(request, transfer_outcome(outcome));
                        });
}

void Mesh::on_fetch_done(NodeId, RequestId request, transport::FetchEnd end) {
    switch (end) {
        case transport::FetchEnd::all_sent_to_sink: return;  // the store says how it ended
        case transport::FetchEnd::busy:
        case transport::FetchEnd::not_here:
            end_fetch(request, transfer::ChunkOutcome::refused);
            return;
        case transport::FetchEnd::cancelled:
            end_fetch(request, transfer::ChunkOutcome::cancelled);
            return;
        case transport::FetchEnd::link_lost:
        case transport::FetchEnd::no_slot:
        case transport::FetchEnd::protocol_error:
            end_fetch(request, transfer::ChunkOutcome::link_lost);
            return;
    }
}

void Mesh::end_fetch(RequestId request, transfer::ChunkOutcome outcome) {
    const auto at = landings_.find(request);
    if (at == landings_.end()) return;
    const Landing landing = std::move(at->second);
    landings_.erase(at);
    if (core_ != nullptr) core_->on_fetch_end(landing.from, request, {outcome, landing.bytes, landing.road});
}

void Mesh::on_message(NodeId from, wire::TransferMessage message) {
    if (core_ != nullptr) core_->on_transfer(from, message);
}

void Mesh::on_progress(NodeId from, RequestId request, std::uint64_t bytes) {
    if (core_ != nullptr) core_->on_fetch_bytes(from, request, bytes);
}

void Mesh::on_served(NodeId to, RequestId request, bool ok, std::uint64_t) {
    if (core_ != nullptr) core_->on_serve_end(to, request, ok);
}

void Mesh::on_link_up(NodeId) {}

void Mesh::on_link_down(NodeId peer, const std::string& why) {
    log::debug("data_link.down", {{"peer", peer.brief()}, {"why", why}});
    if (core_ != nullptr) core_->on_data_link_down(peer);
}

}  // namespace fastreg::node
