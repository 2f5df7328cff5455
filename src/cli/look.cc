// The commands that only look: status, peers, blobs, blob.
#include <fmt/format.h>

#include <algorithm>
#include <ostream>

#include "base/bytes.h"
#include "base/digest.h"
#include "cli/commands.h"
#include "cli/format.h"
#include "cli/json_view.h"
#include "cli/table.h"

namespace fastreg::cli {
namespace {

constexpr std::uint64_t kBlobsPage = 1000;
constexpr std::size_t kMapColumns = 64;

Style style_of_state(std::string_view state) {
    if (state == "alive") return Style::good;
    if (state == "suspect" || state == "stopping" || state == "starting" || state == "leaving") {
        return Style::warning;
    }
    return state == "dead" ? Style::bad : Style::dim;
}

std::string or_dash(std::string text) { return text.empty() ? "-" : text; }

std::string kind_of(const Json& blob) {
    return std::string(flag_at(blob, {"home"}) ? "home" : "cache") + (flag_at(blob, {"pinned"}) ? ", pinned" : "");
}

std::string bytes_at(const Json& json, Path path) { return human_bytes(number_at(json, path)); }

/// What is piped somewhere stays one line; `indent` columns stand before each.
std::vector<std::string> fit_terminal(const std::string& text, int indent, const Console& console) {
    if (!console.terminal) return {text};
    return wrapped(text, static_cast<std::size_t>(std::max(console.width - indent, 8)));
}

void print_status(const Json& status, const Console& console) {
    const auto line = [&](std::string_view name, const std::string& text) {
        for (const std::string& part : fit_terminal(text, 9, console)) {
            console.out << console.paint(fmt::format("{:<9}", name), Style::dim) << part << '\n';
            name = "";
        }
    };
    const std::string state = text_at(status, {"state"});
    const Json& members = at(status, {"members"});
    const Json& bytes = at(status, {"bytes"});
    line("node", console.paint(or_dash(text_at(status, {"name"})), Style::bold) + "  " +
                     text_at(status, {"node_id"}) + "  cluster " + text_at(status, {"cluster"}));
    line("state", console.paint(or_dash(state), style_of_state(state)) + ", up " +
                      human_span(number_at(status, {"uptime_s"})) +
                      (text_at(status, {"version"}).empty()
                           ? ""
                           : ", version " + text_at(status, {"version"})));
    std::string seen;
    for (const auto& [name, style] : {std::pair{"alive", Style::good},
                                      std::pair{"suspect", Style::warning},
                                      std::pair{"stopping", Style::warning},
                                      std::pair{"dead", Style::bad},
                                      std::pair{"left", Style::dim}}) {
        const std::uint64_t count = number_at(members, {name});
        seen += (seen.empty() ? "" : ", ") +
                console.paint(grouped(count) + " " + name, count > 0 ? style : Style::plain);
    }
    line("members", seen);
    const std::uint64_t used = number_at(status, {"store", "bytes"});
    const std::uint64_t limit = number_at(status, {"store", "limit_bytes"});
    line("store", counted(number_at(status, {"store", "blobs"}), "blob") + ", " +
                      human_bytes(used) +
                      (limit == 0 ? "" : " of " + human_bytes(limit) + " (" +
                                             human_share(used, limit) + ")") +
                      ", " + grouped(number_at(status, {"store", "partial"})) + " partial");
    line("in", "peers: tcp " + bytes_at(bytes, {"in", "peer", "tcp"}) + ", rdma " +
                   bytes_at(bytes, {"in", "peer", "rdma"}) + "; upstream: " +
                   bytes_at(bytes, {"in", "upstream"}));
    line("out", "peers: tcp " + bytes_at(bytes, {"out", "peer", "tcp"}) + ", rdma " +
                    bytes_at(bytes, {"out", "peer", "rdma"}) + "; clients: " +
                    bytes_at(bytes, {"out", "http"}));
    if (at(bytes, {"out", "source"}).is_object()) {  // an older node does not say
        line("", "to clients from: local " + bytes_at(bytes, {"out", "source", "local"}) + ", peer " +
                     bytes_at(bytes, {"out", "source", "peer"}) + ", upstream " +
                     bytes_at(bytes, {"out", "source", "upstream"}));
    }
    std::string devices;
    for (const Json& device : at(status, {"rdma", "devices"})) {
        const std::string name = device.is_string() ? safe(device.get<std::string>())
                                                    : text_at(device, {"name"});
        devices += (devices.empty() ? "" : ", ") + or_dash(name);
    }
    line("rdma", flag_at(status, {"rdma", "enabled"}) ? "on: " + or_dash(devices) : "off");
    for (const char* name : {"http", "gossip", "transfer", "rdma", "admin"}) {
        const std::string address = text_at(status, {"listen", name});
        if (!address.empty()) line("", fmt::format("{:<9} {}", name, address));
    }
    for (const Json& warning : at(status, {"warnings"})) {
        if (!warning.is_string()) continue;
        line("warning", console.paint(safe(warning.get<std::string>()), Style::warning));
    }
}

void print_peers(const Json& peers, const Console& console) {
    Table table({{"NAME", false, 8, 0},
                 {"ID", false, 0, 4},
                 {"STATE", false, 0, 0},
                 {"ZONE", false, 4, 5},
                 {"ADDRESS", false, 12, 3},
                 {"RTT", true, 0, 6},
                 {"VIA", false, 0, 7},
                 {"FROM IT", true, 0, 1},
                 {"TO IT", true, 0, 2},
                 {"SINCE", true, 0, 8}});
    for (const Json& peer : peers) {
        const std::string state = text_at(peer, {"state"});
        const bool self = flag_at(peer, {"self"});
        const Json& rtt = at(peer, {"rtt_ms"});
        const bool since = at(peer, {"state_since_s"}).is_number();
        table.add({{or_dash(text_at(peer, {"name"})) + (self ? " *" : ""),
                    self ? Style::bold : Style::plain},
                   {text_at(peer, {"node_id"}).substr(0, 8), Style::dim},
                   {or_dash(state), style_of_state(state)},
                   {or_dash(text_at(peer, {"zone"}))},
                   {or_dash(text_at(peer, {"gossip_addr"}))},
                   {rtt.is_number() ? human_millis(rtt.get<double>()) : "-"},
                   {or_dash(text_at(peer, {"transport"}))},
                   {self ? "-" : bytes_at(peer, {"bytes_in"})},
                   {self ? "-" : bytes_at(peer, {"bytes_out"})},
                   {since ? human_span(number_at(peer, {"state_since_s"})) : "-"}});
    }
    table.print(console);
}

// {"sha256:..." of every page}, or the answer that went wrong.
Answer all_blobs(const AdminClient& node, std::uint64_t limit) {
    Answer all;
    all.json = Json::array();
    std::string after;
    for (;;) {
        const std::uint64_t left = limit == 0 ? kBlobsPage : limit - all.json.size();
        const std::uint64_t page = std::min(left, kBlobsPage);
        Answer answer = ask(node, "GET",
                            fmt::format("/v1/blobs?limit={}{}{}", page,
                                        after.empty() ? "" : "&after=", after));
        if (!answer.ok()) return answer;
        for (const Json& blob : at(answer.json, {"blobs"})) all.json.push_back(blob);
        const std::string next = text_at(answer.json, {"next"});
        if (next.empty() || (limit != 0 && all.json.size() >= limit)) return all;
        // A node that repeats itself would keep us here for ever.
        if (next <= after || !Digest::parse(next)) {
            answer.exit = Exit::failed;
            answer.complaint = "the node's list of blobs does not end";
            return answer;
        }
        after = next;
    }
}

}  // namespace

Exit show_status(const Invocation& invocation, const AdminClient& node, const Console& console) {
    const Answer answer = ask(node, "GET", "/v1/status");
    if (!answer.ok()) return refuse(answer, console);
    if (invocation.json) {
        console.out << pretty(answer.json) << '\n';
    } else {
        print_status(answer.json, console);
    }
    return Exit::done;
}

Exit show_peers(const Invocation& invocation, const AdminClient& node, const Console& console,
                const Pace& pace) {
    for (std::uint64_t round = 1;; ++round) {
        const Answer answer = ask(node, "GET", "/v1/peers");
        if (!answer.ok()) return refuse(answer, console);
        if (invocation.json) {
            console.out << (invocation.watch ? compact(answer.json) : pretty(answer.json)) << '\n';
        } else {
            // Home and clear to the end: no flicker, and the scroll-back stays as it was.
            if (invocation.watch && console.terminal) console.out << "\033[H\033[J";
            if (invocation.watch && !console.terminal && round > 1) console.out << '\n';
            print_peers(answer.json, console);
        }
        console.out.flush();
        if (!invocation.watch || round == invocation.times || !console.out) return Exit::done;
        pause_for(pace.watch);
    }
}

Exit show_blobs(const Invocation& invocation, const AdminClient& node, const Console& console) {
    const Answer answer = all_blobs(node, invocation.limit);
    if (!answer.ok()) return refuse(answer, console);
    if (invocation.json) {
        console.out << pretty(answer.json) << '\n';
        return Exit::done;
    }
    Table table({{"DIGEST", false, 9, 0},
                 {"SIZE", true, 0, 0},
                 {"HERE", false, 0, 1},
                 {"KIND", false, 0, 2}});
    for (const Json& blob : answer.json) {
        const bool complete = flag_at(blob, {"complete"});
        const std::uint64_t size = number_at(blob, {"size"});
        table.add({{or_dash(text_at(blob, {"digest"}))},
                   {human_bytes(size)},
                   {complete ? "complete" : human_share(number_at(blob, {"bytes"}), size),
                    complete ? Style::good : Style::warning},
                   {at(blob, {"home"}).is_boolean() ? kind_of(blob) : "-"}});
    }
    if (table.empty()) {
        console.out << "no blobs here\n";
    } else {
        table.print(console);
    }
    return Exit::done;
}

Exit show_blob(const Invocation& invocation, const AdminClient& node, const Console& console) {
    if (!Digest::parse(invocation.argument)) {
        console.complain("'" + safe(invocation.argument) +
                         "' is not a digest; write it whole, sha256: and 64 hexadecimal digits "
                         "(`fastreg blobs --json` lists them)");
        return Exit::usage;
    }
    const Answer answer = ask(node, "GET", "/v1/blobs/" + invocation.argument);
    if (!answer.ok()) return refuse(answer, console);
    const Json& blob = answer.json;
    if (invocation.json) {
        console.out << pretty(blob) << '\n';
        return Exit::done;
    }
    const std::uint64_t chunks = number_at(blob, {"chunks"});
    const bool complete = flag_at(blob, {"complete"});
    const bool size_known = at(blob, {"size"}).is_number();
    const std::uint64_t have = complete ? chunks : number_at(blob, {"have"});
    const std::string of_all = size_known ? grouped(have) + " of " + counted(chunks, "chunk") : counted(have, "chunk");
    const std::string what = size_known ? human_bytes(number_at(blob, {"size"})) + ", " + counted(chunks, "chunk") +
                                               " of " + bytes_at(blob, {"chunk_size"})
                                         : std::string("size not known");
    const std::string here = complete ? console.paint("complete", Style::good) : console.paint(of_all, Style::warning);
    for (const std::string& text : {console.paint(text_at(blob, {"digest"}), Style::bold), what + "; here: " + here}) {
        for (const std::string& line : fit_terminal(text, 0, console)) console.out << line << '\n';
    }
    const std::size_t room = static_cast<std::size_t>(std::max(console.width - 2, 1));  // beside the brackets
    const std::string map =
        chunk_line(text_at(blob, {"map"}), chunks, console.terminal ? std::min(kMapColumns, room) : kMapColumns);
    if (!map.empty()) console.out << '[' << map << "]\n";
    const auto name_of_node = [](const Json& row) {
        const std::string name = text_at(row, {"name"});
        const std::string id = text_at(row, {"node_id"});
        if (id == "unknown") return std::string("not known");
        if (id == "upstream" || id == "client") return id;
        return name.empty() ? id.substr(0, 8) : name + " (" + id.substr(0, 8) + ")";
    };
    Table holders({{"HOLDER", false, 8, 0}, {"CHUNKS", true, 0, 1}, {"STATE", false, 0, 0}});
    for (const Json& row : at(blob, {"holders"})) {
        const bool whole = flag_at(row, {"complete"});
        holders.add({{or_dash(name_of_node(row))},
                     {at(row, {"chunks"}).is_number() ? grouped(number_at(row, {"chunks"})) : "-"},
                     {whole ? "complete" : "partial", whole ? Style::good : Style::warning}});
    }
    Table sources({{"CAME FROM", false, 8, 0},
                   {"VIA", false, 0, 2},
                   {"CHUNKS", true, 0, 1},
                   {"BYTES", true, 0, 0}});
    for (const Json& row : at(blob, {"sources"})) {
        sources.add({{or_dash(name_of_node(row))},
                     {or_dash(text_at(row, {"transport"}))},
                     {grouped(number_at(row, {"chunks"}))},
                     {bytes_at(row, {"bytes"})}});
    }
    for (const Table* table : {&holders, &sources}) {
        if (table->empty()) continue;
        console.out << '\n';
        table->print(console);
    }
    return Exit::done;
}

}  // namespace fastreg::cli
