// What a node tells of itself: its status, its peers, its metrics.
#include <algorithm>
#include <cmath>

#include "node/admin_parts.h"

namespace fastreg::node {
namespace {

/// In ms, to the microsecond.
double rounded_ms(Duration d) {
    return std::round(seconds_of(d) * 1e6) / 1e3;
}

Json rdma_status(const Mesh& mesh) {
    Json devices = Json::array();
    const auto* rdma = mesh.rdma();
    if (rdma == nullptr) return {{"enabled", false}, {"devices", devices}};
    for (const auto& device : rdma->devices()) {
        devices.push_back({{"name", device.name},
                           {"link_layer", name_of(device.layer)},
                           {"active", device.active},
                           {"mtu", device.mtu},
                           {"addresses", device.addresses}});
    }
    const auto& counters = rdma->counters();
    return {{"enabled", true},
            {"devices", std::move(devices)},
            {"landing_slots", rdma->landing_slots()},
            {"source_slots", rdma->source_slots()},
            {"links", {{"in", counters.links_in.load()}, {"out", counters.links_out.load()}}},
            {"fallbacks", mesh.rdma_fallbacks()}};
}

}  // namespace

void Admin::status(const OnAdminAnswer& answer) {
    const auto identity = core_.store().identity();
    const auto counts = core_.gossip().counts();
    const auto totals = core_.store().totals();
    Json warnings = Json::array();
    if (const auto n = core_.homes().under_replicated(); n > 0) {
        warnings.push_back(std::to_string(n) + " pushed blobs have fewer copies than --replicas " +
                           std::to_string(core_.options().replicas));
    }
    if (mesh_.rdma_off()) warnings.push_back("RDMA is off, chunks go by TCP: " + describe(*mesh_.rdma_off()));
    if (mesh_.rdma() != nullptr && !mesh_.rdma_up()) {
        const bool active = std::ranges::any_of(mesh_.rdma()->devices(), &transport::rdma::Device::active);
        warnings.push_back(active ? "peers are told no RDMA address of this node, and ask it by TCP: the configured "
                                    "one leads to a device that is down, or no device has one; give the port an "
                                    "address, or --rdma-advertise-addr"
                                  : "no RDMA device works, chunks go by TCP; see fastreg doctor, and restart the node "
                                    "when a device that was removed is back");
    }
    for (auto& warning : core_.warnings()) warnings.push_back(std::move(warning));
    Json json = {
        {"node_id", identity.node.str()},
        {"name", core_.options().name},
        {"cluster", facts_.cluster},
        {"version", FR_VERSION},
        {"state", facts_.state()},
        {"uptime_s", static_cast<std::int64_t>(seconds_of(core_.now() - started_))},
        {"members",
         {{"alive", counts.alive + 1},
          {"suspect", counts.suspect},
          {"stopping", counts.stopping},
          {"dead", counts.dead},
          {"left", counts.left}}},
        {"store",
         {{"blobs", totals.blobs},
          {"bytes", totals.used_bytes()},
          {"partial", totals.partials},
          {"limit_bytes", core_.store().capacity()},
          {"unsynced", totals.unsynced},
          {"under_replicated", core_.homes().under_replicated()}}},
        {"bytes",
         {{"in",
           {{"peer", {{"tcp", mesh_.bytes_in(Road::tcp)}, {"rdma", mesh_.bytes_in(Road::rdma)}}},
            {"upstream", 0}}},
          {"out",
           {{"peer", {{"tcp", mesh_.bytes_out(Road::tcp)}, {"rdma", mesh_.bytes_out(Road::rdma)}}},
            {"http", served_.local->value() + served_.peer->value() + served_.upstream->value()},
            {"source",
             {{"local", served_.local->value()},
              {"peer", served_.peer->value()},
              {"upstream", served_.upstream->value()}}}}}}},
        {"rdma", rdma_status(mesh_)},
        {"listen",
         {{"http", facts_.http_address},
          {"gossip", facts_.gossip_address},
          {"transfer", facts_.transfer_address},
          {"rdma", mesh_.rdma_address().str()},
          {"admin", facts_.admin_address}}},
        {"handoff", core_.handoff().begun() ? handoff_state(core_, facts_.state()) : Json()},
        {"warnings", std::move(warnings)},
    };
    answer(json_answer(json));
}

void Admin::peers(const OnAdminAnswer& answer) {
    std::map<NodeId, transfer::PeerTotals> totals;
    for (const auto& peer : core_.transfer().peers(core_.now())) totals[peer.node] = peer;
    Json list = Json::array();
    const auto add = [&](const Member& member, bool self) {
        const auto rtt = core_.gossip().rtt(member.id);
        const auto moved = totals.find(member.id);
        const bool known = moved != totals.end();
        list.push_back({
            {"node_id", member.id.str()},
            {"name", member.name},
            {"state", name_of(member.state)},
            {"zone", member.zone},
            {"gossip_addr", member.gossip.str()},
            {"transfer_addr", member.transfer.str()},
            {"rdma_addr", member.rdma.str()},
            {"http_addr", member.http.str()},
            {"rtt_ms", rtt && !self ? Json(rounded_ms(*rtt)) : Json()},
            {"transport", known && !self ? Json(name_of(mesh_.road_with(member.id))) : Json()},
            {"bytes_in", known ? moved->second.bytes_in : 0},
            {"bytes_out", known ? moved->second.bytes_out : 0},
            {"quarantined", known && moved->second.quarantined},
            {"self", self},
            {"state_since_s", static_cast<std::int64_t>(seconds_of(
                                  core_.now() - (self ? started_ : member.state_since)))},
        });
    };
    add(core_.gossip().self(), true);
    for (const Member& member : core_.gossip().members()) add(member, false);
    answer(json_answer(list));
}

AdminAnswer Admin::metrics_page() {
    const auto counts = core_.gossip().counts();
    const auto totals = core_.store().totals();
    const auto set = [](Gauge& gauge, std::uint64_t value) { gauge.set(static_cast<std::int64_t>(value)); };
    set(gauges_->alive, counts.alive + 1);
    set(gauges_->suspect, counts.suspect);
    set(gauges_->stopping, counts.stopping);
    set(gauges_->dead, counts.dead);
    set(gauges_->left, counts.left);
    set(gauges_->store_bytes, totals.used_bytes());
    set(gauges_->store_blobs, totals.blobs);
    set(gauges_->store_capacity, core_.store().capacity());
    set(gauges_->store_withdrawn, totals.withdrawn);
    set(gauges_->downloads, core_.downloads().active());
    set(gauges_->short_copies, core_.homes().under_replicated());
    set(gauges_->directory_entries, core_.directory().stats().entries);
    set(gauges_->repo_rows, core_.repo().stats().rows);
    set(gauges_->local_health, core_.gossip().local_health());
    const auto* rdma = mesh_.rdma();
    if (mesh_.rdma_off()) gauges_->rdma.set_off(mesh_.rdma_off()->code);
    gauges_->rdma.update(rdma != nullptr ? &rdma->counters() : nullptr, mesh_.rdma_up(),
                         {mesh_.rdma_fallbacks(), mesh_.rdma_slotless(), mesh_.rdma_stalls()});
    const auto peers = core_.transfer().peers(core_.now());
    const auto quarantined = std::ranges::count(peers, true, &transfer::PeerTotals::quarantined);
    gauges_->quarantined.set(quarantined);
    const auto uploads = core_.transfer().uploads();
    set(gauges_->uploads, uploads.active);
    set(gauges_->uploads_waiting, uploads.waiting);
    return {200, "text/plain; version=0.0.4; charset=utf-8", metrics_.render()};
}

}  // namespace fastreg::node
