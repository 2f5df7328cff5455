#include "node/admin.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "node/bench_admin.h"
#include "node/rdma_meters.h"
#include "uv/timer.h"

namespace fastreg::node {

using Json = nlohmann::json;
using transport::Road;

namespace {

std::string print(const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}
AdminAnswer ok(const Json& json, int status = 200) {
    return {status, "application/json", print(json)};
}
AdminAnswer error(int status, std::string_view code, std::string message) {
    return ok({{"error", {{"code", code}, {"message", std::move(message)}}}}, status);
}

constexpr Duration kJoinPatience = 8s;

/// What may be done at a path; "" for a path that is none of ours.
std::string methods_of(std::string_view path) {
    constexpr std::array<std::string_view, 5> kReads{"/metrics", "/v1/status", "/v1/peers", "/v1/blobs", "/v1/key"};
    if (path == "/v1/verify") return "GET, HEAD, POST";
    if (path == "/v1/join" || path == "/v1/leave" || path == "/v1/bench") return "POST";
    const bool reads = std::find(kReads.begin(), kReads.end(), path) != kReads.end();
    return reads || path.starts_with("/v1/blobs/") ? "GET, HEAD" : "";
}

/// In ms, to the microsecond.
double rounded_ms(Duration d) {
    return std::round(seconds_of(d) * 1e6) / 1e3;
}

/// The dial has ended: somebody refused it, or nobody is there. A link that broke may come up the next time.
bool is_definite(transport::SendFailure failure) {
    return failure != transport::SendFailure::overflow && failure != transport::SendFailure::link_lost;
}

/// Asking again would not help.
bool is_refusal(transport::SendFailure failure) {
    using F = transport::SendFailure;
    return failure == F::refused || failure == F::foreign || failure == F::itself;
}

std::string itself(const Endpoint& address) {
    return address.str() + " is this node itself: give the gossip address of another member";
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

/// What an earlier pull left of a blob that nobody fetches now.
std::optional<store::PartialInfo> partial_of(const store::Store& store, const Digest& digest) {
    for (const auto& partial : store.partials()) {
        if (partial.digest == digest) return partial;
    }
    return std::nullopt;
}

/// Who sent it: remembered in this run only.
Json sources_of(Core& core, const Mesh& mesh, const Digest& digest, const std::optional<store::BlobInfo>& info,
                const std::optional<transfer::BlobStatus>& live) {
    const auto* shares = core.downloads().sources(digest);
    if (live) shares = &live->sources;
    Json sources = Json::array();
    if (shares != nullptr) {
        for (const auto& share : *shares) {
            const Member* member = core.gossip().find(share.node);
            sources.push_back({{"node_id", share.node.str()},
                               {"name", member != nullptr ? member->name : std::string()},
                               {"transport", transport::name_of(mesh.road_with(share.node))},
                               {"chunks", share.chunks},
                               {"bytes", share.bytes}});
        }
    } else if (info) {
        const bool pushed = info->pushed;
        sources.push_back({{"node_id", pushed ? "client" : "unknown"},
                           {"transport", pushed ? Json("http") : Json()},
                           {"chunks", ChunkGrid(info->size).count()},
                           {"bytes", info->size}});
    }
    return sources;
}

}  // namespace

struct Admin::Verify {
    std::vector<store::BlobEntry> todo;
    std::size_t next = 0;
    std::uint64_t bytes = 0;
    std::uint64_t bytes_total = 0;
    Json bad = Json::array();
    bool running = true;
};

struct Admin::Gauges {
    explicit Gauges(Metrics& m)
        : alive(m.gauge("fastreg_members", "Members by state, this node included", R"(state="alive")")),
          suspect(m.gauge("fastreg_members", "", R"(state="suspect")")),
          stopping(m.gauge("fastreg_members", "", R"(state="stopping")")),
          dead(m.gauge("fastreg_members", "", R"(state="dead")")),
          left(m.gauge("fastreg_members", "", R"(state="left")")),
          store_bytes(m.gauge("fastreg_store_bytes", "Bytes kept, partial blobs and uploads included")),
          store_blobs(m.gauge("fastreg_store_blobs", "Complete blobs kept")),
          store_capacity(m.gauge("fastreg_store_capacity_bytes",
                                 "Bytes the store may come to use, by max-bytes and min-free")),
          store_withdrawn(m.gauge("fastreg_store_withdrawn_blobs", "Blobs found damaged since the start")),
          downloads(m.gauge("fastreg_downloads_inflight", "Blobs arriving from peers")),
          short_copies(m.gauge("fastreg_under_replicated_blobs", "Blobs pushed here with fewer copies than replicas")),
          directory_entries(m.gauge("fastreg_directory_entries", "Holders this node knows of as an owner")),
          repo_rows(m.gauge("fastreg_repository_rows", "Rows of repositories kept by this node")),
          local_health(m.gauge("fastreg_local_health_score", "0 is well; grows while probes are answered late")),
          quarantined(m.gauge("fastreg_peer_quarantined",
                              "Peers that are asked for nothing for a while, after bytes or links that did not hold")),
          uploads(m.gauge("fastreg_upload_slots_inflight", "Chunks being sent to peers")),
          uploads_waiting(m.gauge("fastreg_upload_queue_depth", "Chunks that peers asked for and wait for")),
          build(m.gauge("fastreg_build_info", "Always 1", R"(version=")" FR_VERSION R"(")")),
          rdma(m) {
        build.set(1);
    }
    Gauge &alive, &suspect, &stopping, &dead, &left, &store_bytes, &store_blobs, &store_capacity,
        &store_withdrawn, &downloads, &short_copies, &directory_entries, &repo_rows, &local_health, &quarantined,
        &uploads, &uploads_waiting, &build;
    RdmaMeters rdma;
};

Admin::Admin(Core& core, Mesh& mesh, Metrics& metrics, ServedBytes served, AdminFacts facts)
    : core_(core),
      mesh_(mesh),
      metrics_(metrics),
      served_(served),
      facts_(std::move(facts)),
      started_(core.now()),
      self_(std::make_shared<Admin*>(this)),
      gauges_(std::make_unique<Gauges>(metrics)) {}

Admin::~Admin() {
    *self_ = nullptr;
}

void Admin::handle(const http::Request& request, std::string body, bool local, OnAdminAnswer answer) {
    const bool get = request.method == http::Method::get || request.method == http::Method::head;
    const bool post = request.method == http::Method::post;
    const std::string& path = request.path;
    const std::string blobs_path = "/v1/blobs/";
    if (get && path == "/metrics") return answer(metrics_page());
    if (get && path == "/v1/status") return status(answer);
    if (get && path == "/v1/peers") return peers(answer);
    if (get && path == "/v1/blobs") return blobs(request, answer);
    if (get && path.starts_with(blobs_path)) {
        const auto digest = Digest::parse(path.substr(blobs_path.size()));
        if (!digest) return answer(error(400, "invalid_argument", digest.error().what));
        return blob(*digest, std::move(answer));
    }
    if (get && path == "/v1/verify") return answer(verify_state());
    if (get && path == "/v1/key") {
        if (!local) return answer(error(403, "permission_denied", "the key is given over the unix socket only"));
        return answer(ok({{"key", facts_.cluster_key}, {"file", facts_.cluster_key_file}}));
    }
    if (post && path == "/v1/join") return join(body, std::move(answer));
    if (post && path == "/v1/leave") return leave(answer);
    if (post && path == "/v1/verify") return verify(body, answer);
    if (post && path == "/v1/bench") return bench(body, answer);
    const std::string allowed = methods_of(path);
    if (allowed.empty()) return answer(error(404, "unknown_path", "this node has no " + path));
    auto refused = error(405, "wrong_method", request.method_name + " is not done here; allowed: " + allowed);
    refused.allow = allowed;
    answer(std::move(refused));
}

void Admin::status(const OnAdminAnswer& answer) {
    const auto identity = core_.store().identity();
    const auto counts = core_.gossip().counts();
    const auto totals = core_.store().totals();
    Json warnings = Json::array();
    if (const auto n = core_.homes().under_replicated(); n > 0) {
        warnings.push_back(std::to_string(n) + " pushed blobs have fewer copies than --replicas " +
                           std::to_string(core_.options().replicas));
    }
    if (!mesh_.rdma_off().empty()) warnings.push_back("RDMA is off, chunks go by TCP: " + mesh_.rdma_off());
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
        {"warnings", std::move(warnings)},
    };
    answer(ok(json));
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
            {"transport", known && !self ? Json(transport::name_of(mesh_.road_with(member.id))) : Json()},
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
    answer(ok(list));
}

void Admin::blobs(const http::Request& request, const OnAdminAnswer& answer) {
    std::size_t limit = 1000;
    if (const auto text = request.query_value("limit")) {
        const auto read = std::from_chars(text->data(), text->data() + text->size(), limit);
        const bool whole = read.ec == std::errc{} && read.ptr == text->data() + text->size();
        if (!whole || limit < 1 || limit > 1000) {
            return answer(error(400, "out_of_range", "limit must be a whole number from 1 to 1000"));
        }
    }
    const std::string after(request.query_value("after").value_or(""));
    if (!after.empty() && !Digest::parse(after)) {
        return answer(error(400, "invalid_argument", "after must be a digest, as \"next\" of the page before"));
    }
    struct Row {
        std::uint64_t size = 0, bytes = 0;
        bool complete = false, home = false;
    };
    std::map<std::string, Row> rows;
    for (const auto& entry : core_.store().list()) {
        rows[entry.digest.str()] = {entry.info.size, entry.info.size, true, entry.info.home};
    }
    for (const auto& partial : core_.store().partials()) {
        const ChunkGrid grid(partial.size);
        rows[partial.digest.str()] = {
            partial.size, std::min(partial.size, partial.map.set_count() * grid.chunk_size()), false, false};
    }
    Json list = Json::array();
    Json next;
    for (auto at = rows.upper_bound(after); at != rows.end(); ++at) {
        if (list.size() == limit) {
            next = list.back()["digest"];
            break;
        }
        list.push_back({{"digest", at->first},
                        {"size", at->second.size},
                        {"complete", at->second.complete},
                        {"bytes", at->second.bytes},
                        {"home", at->second.home}});
    }
    answer(ok({{"blobs", std::move(list)}, {"next", std::move(next)}}));
}

void Admin::blob(const Digest& digest, OnAdminAnswer answer) {
    core_.holders(digest, [this, digest, answer = std::move(answer)](std::optional<std::uint64_t> announced,
                                                                     std::vector<directory::Holder> holders) {
        const auto info = core_.store().find(digest);
        const auto live = core_.transfer().status(digest);
        const auto rest = info || live ? std::nullopt : partial_of(core_.store(), digest);
        if (!info && !live && !rest && holders.empty()) {
            return answer(error(404, "not_found", "this node does not have " + digest.str() +
                                                      ", and no member is known to have it"));
        }
        std::optional<std::uint64_t> size = announced;
        if (rest) size = rest->size;
        if (live && live->size) size = live->size;
        if (info) size = info->size;
        const auto whole = size ? Json(ChunkGrid(*size).count()) : Json();
        const ChunkMap none;
        const ChunkMap& part = live ? live->chunks : rest ? rest->map : none;
        const auto named = [this](const NodeId& id) {
            const Member* member = core_.gossip().find(id);
            return member != nullptr ? member->name : std::string();
        };
        Json who = Json::array();
        const NodeId self = core_.store().identity().node;
        if (info || live || rest) {
            who.push_back({{"node_id", self.str()},
                           {"name", core_.options().name},
                           {"complete", info.has_value()},
                           {"home", info && info->home},
                           {"chunks", info ? whole : Json(part.set_count())}});
        }
        for (const auto& holder : holders) {
            if (holder.node == self) continue;
            const bool complete = holder.kind != directory::HolderKind::partial;
            Json chunks = complete ? whole : Json();
            if (!complete && live) {
                const auto told = live->neighbours.find(holder.node);
                if (told != live->neighbours.end()) chunks = told->second;
            }
            who.push_back({{"node_id", holder.node.str()},
                           {"name", named(holder.node)},
                           {"complete", complete},
                           {"home", holder.kind == directory::HolderKind::home},
                           {"chunks", std::move(chunks)}});
        }
        const bool partly = !info && part.set_count() > 0;
        answer(ok({{"digest", digest.str()},
                   {"size", size ? Json(*size) : Json()},
                   {"chunk_size", size ? Json(ChunkGrid(*size).chunk_size()) : Json()},
                   {"chunks", whole},
                   {"complete", info.has_value()},
                   {"have", info ? whole : Json(part.set_count())},
                   {"map", partly ? Json(to_hex(part.to_bytes())) : Json()},
                   {"home", info && info->home},
                   {"holders", std::move(who)},
                   {"sources", sources_of(core_, mesh_, digest, info, live)}}));
    });
}

void Admin::join(const std::string& body, OnAdminAnswer answer) {
    const Json json = Json::parse(body, nullptr, false);
    if (!json.is_object() || !json.contains("address") || !json["address"].is_string()) {
        return answer(error(400, "invalid_argument", "send {\"address\": \"HOST:PORT\"}"));
    }
    const auto address = Endpoint::parse(json["address"].get<std::string>());
    if (!address) return answer(error(400, "invalid_argument", address.error().what));
    if (*address == core_.gossip().self().gossip) return answer(error(409, "itself", itself(*address)));
    mesh_.forget_failure(*address);
    // Looked at ten times a second until the seed is a member, or there is a reason why not.
    const auto wait = joins_.emplace(joins_.end());
    wait->end = core_.now() + kJoinPatience;
    wait->members_before = core_.gossip().members().size();
    wait->timer = mesh_.make_timer([this, wait, answer, address = *address] {
        const auto members = core_.gossip().members();
        bool met = members.size() > wait->members_before;
        for (const Member& member : members) met = met || (member.gossip == address && member.reachable());
        const auto failed = mesh_.last_failure(address);
        const bool refused = failed && is_refusal(failed->failure);
        const bool over = failed && is_definite(failed->failure);
        if (!met && !over && core_.now() < wait->end) {
            wait->timer->set(100ms);
            return;
        }
        if (met) {
            answer(ok({{"address", address.str()}, {"members", core_.gossip().counts().alive + 1}}));
        } else {
            core_.withdraw(address);
            if (failed && failed->failure == transport::SendFailure::itself) {
                answer(error(409, "itself", itself(address) + ", or runs with a copy of its data directory"));
            } else if (refused) {
                answer(error(409, "refused", failed->why));
            } else if (over) {
                answer(error(504, "unreachable", failed->why));
            } else {
                answer(error(504, "timeout", failed ? failed->why : "no answer from " + address.str() +
                                                        "; is it the gossip address of a member?"));
            }
        }
        joins_.erase(wait);  // a timer may be destroyed from its own callback
    });
    wait->timer->set(50ms);
    core_.join(*address);
}

void Admin::leave(const OnAdminAnswer& answer) {
    answer(ok({{"state", "leaving"}}, 202));
    facts_.leave();
}

void Admin::bench(const std::string& body, const OnAdminAnswer& answer) {
    const auto refuse = [answer](const Error& why) {
        const int status = why.code == Errc::not_found                                                  ? 404
                           : why.code == Errc::busy || why.code == Errc::unsupported                    ? 409
                           : why.code == Errc::invalid_argument || why.code == Errc::out_of_range ? 400
                           : why.code == Errc::timeout                                                  ? 504
                                                                                                        : 502;
        answer(error(status, name_of(why.code), describe(why)));
    };
    const auto order = read_bench_order(body, core_.gossip());
    if (!order) return refuse(order.error());
    const auto begun = mesh_.bench(*order, [answer, refuse, order = *order](const Result<BenchResult>& result) {
        if (!result) return refuse(result.error());
        answer({200, "application/json", print_bench_result(order, *result)});
    });
    if (!begun) refuse(begun.error());
}

void Admin::verify(const std::string& body, const OnAdminAnswer& answer) {
    if (verify_ && verify_->running) {
        return answer(error(409, "busy", "a verification is running; see its progress with fastreg verify"));
    }
    const Json json = Json::parse(body.empty() ? "{}" : body, nullptr, false);
    if (!json.is_object()) return answer(error(400, "invalid_argument", "send {\"digest\": \"sha256:...\"} or {}"));
    const Json which = json.value("digest", Json());
    if (!which.is_null() && !which.is_string()) {
        return answer(error(400, "invalid_argument", "digest must be a string, or null for every blob"));
    }
    auto verify = std::make_unique<Verify>();
    if (which.is_string()) {
        const auto digest = Digest::parse(which.get<std::string>());
        if (!digest) return answer(error(400, "invalid_argument", digest.error().what));
        const auto info = core_.store().find(*digest);
        if (!info) return answer(error(404, "not_found", "this node does not have " + digest->str()));
        verify->todo.push_back({*digest, *info});
    } else {
        verify->todo = core_.store().list();
    }
    for (const auto& entry : verify->todo) verify->bytes_total += entry.info.size;
    verify_ = std::move(verify);
    answer(AdminAnswer{202, "application/json", verify_state().body});
    verify_next();
}

void Admin::verify_next() {
    if (const std::string state = facts_.state(); state == "stopping" || state == "leaving") {
        verify_->running = false;
        return;
    }
    if (verify_->next == verify_->todo.size()) {
        verify_->running = false;
        log::info("store.verified", {{"blobs", verify_->todo.size()},
                                     {"bytes", verify_->bytes},
                                     {"bad", verify_->bad.size()}});
        return;
    }
    const auto entry = verify_->todo[verify_->next];
    core_.store().verify(entry.digest, [self = self_, entry](Result<store::VerifyReport> report) {
        if (*self == nullptr) return;
        Verify& verify = *(*self)->verify_;
        ++verify.next;
        verify.bytes += entry.info.size;
        if (report && !report->good) {
            verify.bad.push_back({{"digest", entry.digest.str()},
                                  {"problem", "its bytes hash to " + report->found.str()},
                                  {"healed", false}});
        } else if (!report && report.error().code != Errc::not_found) {
            verify.bad.push_back({{"digest", entry.digest.str()},
                                  {"problem", describe(report.error())},
                                  {"healed", false}});
        }
        (*self)->verify_next();
    });
}

AdminAnswer Admin::verify_state() const {
    if (!verify_) {
        return ok({{"state", "idle"}, {"checked", 0}, {"total", 0},
                   {"bytes", 0}, {"bytes_total", 0}, {"bad", Json::array()}});
    }
    Json bad = verify_->bad;
    for (auto& entry : bad) {
        const auto digest = Digest::parse(entry["digest"].get<std::string>());
        entry["healed"] = digest && core_.store().find(*digest).has_value();
    }
    return ok({{"state", verify_->running ? "running" : "done"},
               {"checked", verify_->next},
               {"total", verify_->todo.size()},
               {"bytes", verify_->bytes},
               {"bytes_total", verify_->bytes_total},
               {"bad", std::move(bad)}});
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
    gauges_->rdma.update(rdma != nullptr ? &rdma->counters() : nullptr, mesh_.rdma_fallbacks());
    const auto peers = core_.transfer().peers(core_.now());
    const auto quarantined = std::ranges::count(peers, true, &transfer::PeerTotals::quarantined);
    gauges_->quarantined.set(quarantined);
    const auto uploads = core_.transfer().uploads();
    set(gauges_->uploads, uploads.active);
    set(gauges_->uploads_waiting, uploads.waiting);
    return {200, "text/plain; version=0.0.4; charset=utf-8", metrics_.render()};
}

}  // namespace fastreg::node
