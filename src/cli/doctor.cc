#include "cli/doctor.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <ostream>

#include "base/clock.h"
#include "cli/format.h"
#include "cli/json_view.h"
#include "cli/sources.h"

namespace fastreg::cli {
namespace {

using node::Finding;
using node::Verdict;

/// Of one node asked: it is on this machine, or near.
constexpr Duration kConnectPatience = 1s;
constexpr Duration kReplyPatience = 3s;
/// Members whose clocks are compared.
constexpr std::size_t kClocksMax = 8;
/// The seconds of a date are cut, not rounded.
constexpr std::int64_t kHalfSecond = 500;

Style style_of(Verdict verdict) {
    return verdict == Verdict::ok ? Style::good : verdict == Verdict::warn ? Style::warning : Style::bad;
}

Exit show(const std::vector<Finding>& all, bool json, const Console& console) {
    const auto count = [&](Verdict verdict) {
        return static_cast<std::uint64_t>(std::ranges::count(all, verdict, &Finding::verdict));
    };
    const std::uint64_t failed = count(Verdict::fail);
    const std::uint64_t warnings = count(Verdict::warn);
    const Verdict worst = failed > 0 ? Verdict::fail : warnings > 0 ? Verdict::warn : Verdict::ok;
    if (json) {
        Json checks = Json::array();
        for (const Finding& each : all) {
            checks.push_back(
                {{"verdict", name_of(each.verdict)}, {"check", each.what}, {"seen", each.seen}, {"do", each.advice}});
        }
        console.out << pretty(Json{{"verdict", name_of(worst)}, {"checks", std::move(checks)}}) << '\n';
    } else {
        for (const Finding& each : all) {
            console.out << console.paint(fmt::format("{:<4}", name_of(each.verdict)), style_of(each.verdict)) << "  "
                        << safe(each.what) << " - " << safe(each.seen)
                        << (each.advice.empty() ? "" : " - " + safe(each.advice)) << '\n';
        }
        console.out << console.paint(worst == Verdict::ok
                                         ? "all is well"
                                         : fmt::format("{} failed, {}", failed, counted(warnings, "warning")),
                                     style_of(worst))
                    << '\n';
    }
    return worst == Verdict::fail ? Exit::failed : worst == Verdict::warn ? Exit::partly : Exit::done;
}

std::vector<Finding> unreadable(std::string_view problems) {
    std::vector<Finding> all;
    while (!problems.empty()) {
        const auto end = problems.find('\n');
        all.push_back({Verdict::fail,
                       "configuration",
                       std::string(problems.substr(0, end)),
                       "mend it; `fastreg config check` says the same"});
        problems = end == std::string_view::npos ? std::string_view{} : problems.substr(end + 1);
    }
    return all;
}

/// What the node of this data directory says of itself, if one runs.
node::Running ask_node(const AdminClient& client, std::vector<Finding>& all) {
    const Answer answer = ask(client, "GET", "/v1/status");
    if (!answer.ok()) {
        if (client.listens()) {
            all.push_back({Verdict::warn, "node", answer.complaint, "run this as the user of the node"});
        } else {
            all.push_back({Verdict::ok, "node", "none runs on this data directory", ""});
        }
        return std::nullopt;
    }
    all.push_back({Verdict::ok,
                   "node",
                   text_at(answer.json, {"name"}) + " runs here, " + text_at(answer.json, {"state"}) + ", with " +
                       counted(number_at(answer.json, {"members", "alive"}), "member") + " alive",
                   ""});
    for (const Json& warning : at(answer.json, {"warnings"})) {
        if (warning.is_string()) {
            all.push_back({Verdict::warn, "node", warning.get<std::string>(), "see `fastreg status`"});
        }
    }
    std::vector<Endpoint> listens;
    for (const char* name : {"http", "gossip", "transfer", "rdma", "admin"}) {
        if (const auto at = Endpoint::parse(text_at(answer.json, {"listen", name}))) listens.push_back(*at);
    }
    return listens;
}

/// By the dates that other members put into their answers.
std::vector<node::PeerClock> ask_clocks(const AdminClient& client) {
    std::vector<node::PeerClock> clocks;
    const Answer answer = ask(client, "GET", "/v1/peers");
    for (const Json& peer : answer.json) {
        if (clocks.size() == kClocksMax) break;
        const auto http = Endpoint::parse(text_at(peer, {"http_addr"}));
        if (flag_at(peer, {"self"}) || text_at(peer, {"state"}) != "alive" || !http) continue;
        const auto before = static_cast<std::int64_t>(wall_clock_ms());
        const auto reply = AdminClient({"", *http}, kConnectPatience, kReplyPatience).ask("GET", "/livez");
        const auto after = static_cast<std::int64_t>(wall_clock_ms());
        const auto date = reply ? parse_http_date(reply->date) : std::nullopt;
        if (!date) continue;
        clocks.push_back({text_at(peer, {"name"}), *date + kHalfSecond - (before + after) / 2});
    }
    return clocks;
}

}  // namespace

std::optional<std::int64_t> parse_http_date(std::string_view text) {
    std::tm parts{};
    const std::string date(text);
    const char* end = ::strptime(date.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
    if (end == nullptr || *end != '\0') return std::nullopt;
    return std::int64_t{::timegm(&parts)} * 1000;
}

Exit examine_machine(const Invocation& invocation, const Console& console, const Examine& examine) {
    const auto sources = gather(invocation);
    if (!sources) return show(unreadable(describe(sources.error())), invocation.json, console);
    const auto config = config::load(*sources);
    if (!config) return show(unreadable(config.error().what), invocation.json, console);
    std::vector<Finding> all{{Verdict::ok,
                              "configuration",
                              sources->file_text ? sources->file_name + " is fine" : "fine; no file was read",
                              ""}};
    const AdminClient client({config->admin_socket(), {}}, kConnectPatience, kReplyPatience);
    const node::Running running = ask_node(client, all);
    std::vector<Finding> machine = examine(*config, running);
    std::move(machine.begin(), machine.end(), std::back_inserter(all));
    if (running) all.push_back(node::judge_peer_clocks(ask_clocks(client)));
    return show(all, invocation.json, console);
}

}  // namespace fastreg::cli
