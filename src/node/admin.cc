#include "node/admin.h"

#include <algorithm>
#include <array>

#include "base/log.h"
#include "node/admin_parts.h"
#include "node/bench_admin.h"
#include "uv/timer.h"

namespace fastreg::node {
namespace {

constexpr Duration kJoinPatience = 8s;
constexpr std::uint64_t kLeaveSeconds = 600;
constexpr std::uint64_t kLeaveSecondsMax = 7 * 24 * 3600;

/// What may be done at a path; "" for a path that is none of ours.
std::string methods_of(std::string_view path) {
    constexpr std::array<std::string_view, 5> kReads{"/metrics", "/v1/status", "/v1/peers", "/v1/blobs", "/v1/key"};
    if (path == "/v1/verify") return "GET, HEAD, POST";
    constexpr std::array<std::string_view, 5> kWrites{"/v1/join", "/v1/drain", "/v1/bench", "/v1/pin", "/v1/unpin"};
    if (path == "/v1/leave") return "GET, HEAD, POST";
    if (std::ranges::find(kWrites, path) != kWrites.end()) return "POST";
    const bool reads = std::find(kReads.begin(), kReads.end(), path) != kReads.end();
    return reads || path.starts_with("/v1/blobs/") ? "GET, HEAD" : "";
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

}  // namespace

/// What a node that leaves has done so far.
Json handoff_state(const Core& core, const std::string& state) {
    const auto& handoff = core.handoff();
    const auto progress = handoff.progress();
    return {{"state", state},
            {"handed_off", handoff.done()},
            {"blobs", progress.blobs},
            {"blobs_left", progress.blobs_left},
            {"bytes", progress.bytes},
            {"bytes_left", progress.bytes_left},
            {"shards", progress.shards},
            {"shards_left", progress.shards_left},
            {"waits_for", progress.waits_for}};
}

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
        if (!digest) return answer(error_answer(400, "invalid_argument", digest.error().what));
        return blob(*digest, std::move(answer));
    }
    if (get && path == "/v1/verify") return answer(verify_state());
    if (get && path == "/v1/key") {
        if (!local) return answer(error_answer(403, "permission_denied", "the key is given over the unix socket only"));
        return answer(json_answer({{"key", facts_.cluster_key}, {"file", facts_.cluster_key_file}}));
    }
    if (post && path == "/v1/join") return join(body, std::move(answer));
    if (get && path == "/v1/leave") return answer(json_answer(handoff_state(core_, facts_.state())));
    if (post && path == "/v1/leave") return leave(body, answer);
    if (post && path == "/v1/drain") return drain(answer);
    if (post && path == "/v1/pin") return pin(body, true, answer);
    if (post && path == "/v1/unpin") return pin(body, false, answer);
    if (post && path == "/v1/verify") return verify(body, answer);
    if (post && path == "/v1/bench") return bench(body, answer);
    const std::string allowed = methods_of(path);
    if (allowed.empty()) return answer(error_answer(404, "unknown_path", "this node has no " + path));
    auto refused = error_answer(405, "wrong_method", request.method_name + " is not done here; allowed: " + allowed);
    refused.allow = allowed;
    answer(std::move(refused));
}

void Admin::join(const std::string& body, OnAdminAnswer answer) {
    const Json json = Json::parse(body, nullptr, false);
    if (!json.is_object() || !json.contains("address") || !json["address"].is_string()) {
        return answer(error_answer(400, "invalid_argument", "send {\"address\": \"HOST:PORT\"}"));
    }
    const auto address = Endpoint::parse(json["address"].get<std::string>());
    if (!address) return answer(error_answer(400, "invalid_argument", address.error().what));
    if (*address == core_.gossip().self().gossip) return answer(error_answer(409, "itself", itself(*address)));
    mesh_.forget_failure(*address);
    // Looked at ten times a second until the seed is a member, or there is a reason why not.
    const auto wait = joins_.emplace(joins_.end());
    wait->end = core_.now() + kJoinPatience;
    wait->timer = mesh_.make_timer([this, wait, answer, address = *address] {
        // Who answers there may be a member that the table knows by another address.
        const auto there = mesh_.answered_at(address);
        const bool met = std::ranges::any_of(core_.gossip().members(), [&](const Member& member) {
            return member.reachable() && (member.gossip == address || member.id == there);
        });
        const auto failed = mesh_.last_failure(address);
        const bool refused = failed && is_refusal(failed->failure);
        const bool over = failed && is_definite(failed->failure);
        if (!met && !over && core_.now() < wait->end) {
            wait->timer->set(100ms);
            return;
        }
        if (met) {
            answer(json_answer({{"address", address.str()}, {"members", core_.gossip().counts().alive + 1}}));
        } else {
            core_.withdraw(address);
            if (failed && failed->failure == transport::SendFailure::itself) {
                answer(error_answer(409, "itself", itself(address) + ", or runs with a copy of its data directory"));
            } else if (refused) {
                answer(error_answer(409, "refused", failed->why));
            } else if (over) {
                answer(error_answer(504, "unreachable", failed->why));
            } else {
                answer(error_answer(504, "timeout", failed ? failed->why : "no answer from " + address.str() +
                                                        "; is it the gossip address of a member?"));
            }
        }
        joins_.erase(wait);  // a timer may be destroyed from its own callback
    });
    wait->timer->set(50ms);
    core_.join(*address);
}

void Admin::leave(const std::string& body, const OnAdminAnswer& answer) {
    const Json json = Json::parse(body.empty() ? "{}" : body, nullptr, false);
    const Json seconds = json.is_object() ? json.value("timeout_s", Json(kLeaveSeconds)) : Json();
    if (!seconds.is_number_unsigned() || seconds.get<std::uint64_t>() > kLeaveSecondsMax) {
        return answer(error_answer(400, "invalid_argument",
                                   "send {\"timeout_s\": N}, N a whole number of seconds up to " +
                                       std::to_string(kLeaveSecondsMax) + ", or nothing"));
    }
    const auto begun = facts_.leave(std::chrono::seconds(seconds.get<std::uint64_t>()));
    if (!begun) return answer(error_answer(409, name_of(begun.error().code), describe(begun.error())));
    answer(json_answer(handoff_state(core_, facts_.state()), 202));
}

void Admin::drain(const OnAdminAnswer& answer) {
    const auto begun = facts_.leave(std::nullopt);
    if (!begun) return answer(error_answer(409, name_of(begun.error().code), describe(begun.error())));
    answer(json_answer(handoff_state(core_, facts_.state()), 202));
}

void Admin::bench(const std::string& body, const OnAdminAnswer& answer) {
    const auto refuse = [answer](const Error& why) {
        const int status = why.code == Errc::not_found                                                  ? 404
                           : why.code == Errc::busy || why.code == Errc::unsupported                    ? 409
                           : why.code == Errc::invalid_argument || why.code == Errc::out_of_range ||
                                   why.code == Errc::too_large
                               ? 400
                           : why.code == Errc::timeout                                                  ? 504
                                                                                                        : 502;
        answer(error_answer(status, name_of(why.code), describe(why)));
    };
    const auto order = read_bench_order(body, core_.gossip());
    if (!order) return refuse(order.error());
    const auto begun = mesh_.bench(*order, [answer, refuse, order = *order](const Result<BenchResult>& result) {
        if (!result) return refuse(result.error());
        answer({200, "application/json", print_bench_result(order, *result)});
    });
    if (!begun) refuse(begun.error());
}

}  // namespace fastreg::node
