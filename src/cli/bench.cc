// bench: one measurement after the other, and the table of them.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <ostream>

#include "base/bytes.h"
#include "cli/commands.h"
#include "cli/format.h"
#include "cli/json_view.h"
#include "cli/table.h"
#include "config/units.h"
#include "node/bench_blob.h"

namespace fastreg::cli {
namespace {

constexpr double kMiB = 1 << 20;
constexpr std::uint64_t kLatencyChunk = 64U << 10U;

/// What is to be measured; each list in the order it was given.
struct Plan {
    std::vector<std::string> roads;
    std::vector<std::uint64_t> sizes{64U << 10U, 256U << 10U, 1U << 20U, 4U << 20U};
    std::vector<std::uint64_t> depths{1, 4, 8};
    double seconds = 1;
    std::string peer_id;
    std::string peer_name;
    bool rdma_there = false;
};

/// One row: what a chunk size and a depth gave on each road; null where it was not measured.
struct Row {
    std::uint64_t chunk = 0;
    std::uint64_t depth = 0;
    Json tcp;
    Json rdma;
};

std::vector<std::string> words_of(std::string_view list) {
    std::vector<std::string> words;
    while (!list.empty()) {
        const auto comma = list.find(',');
        words.emplace_back(list.substr(0, comma));
        list = comma == std::string_view::npos ? std::string_view{} : list.substr(comma + 1);
    }
    return words;
}

Status read_lists(const Invocation& invocation, Plan& plan) {
    plan.roads = words_of(invocation.transports);
    for (const std::string& road : plan.roads) {
        if (road != "tcp" && road != "rdma") {
            return fail(Errc::invalid_argument, "--transport takes tcp, rdma or tcp,rdma, not '" + road + "'");
        }
    }
    if (!invocation.sizes.empty()) plan.sizes.clear();
    for (const std::string& word : words_of(invocation.sizes)) {
        const auto size = config::parse_size(word);
        if (!size) return fail(Errc::invalid_argument, "--size: " + size.error().what);
        if (!node::is_bench_chunk(*size)) {
            return fail(Errc::out_of_range, "--size takes powers of two from 64KiB to 4MiB, not '" + word + "'");
        }
        plan.sizes.push_back(*size);
    }
    if (!invocation.depths.empty()) plan.depths.clear();
    for (const std::string& word : words_of(invocation.depths)) {
        std::uint64_t depth = 0;
        const auto read = std::from_chars(word.data(), word.data() + word.size(), depth);
        const bool whole = read.ec == std::errc{} && read.ptr == word.data() + word.size();
        if (!whole || depth < 1 || depth > node::kBenchDepthMax) {
            return fail(Errc::invalid_argument,
                        "--depth takes whole numbers from 1 to 32, as 1,4,8, not '" + word + "'");
        }
        plan.depths.push_back(depth);
    }
    if (invocation.seconds > 0) plan.seconds = invocation.seconds;
    return {};
}

/// By name, or by the beginning of an id that only one member has.
Status find_peer(const Json& peers, const std::string& wanted, Plan& plan) {
    std::size_t found = 0;
    for (const Json& peer : peers) {
        const std::string id = text_at(peer, {"node_id"});
        const bool named = text_at(peer, {"name"}) == wanted;
        if (flag_at(peer, {"self"}) || !(named || id.starts_with(wanted))) continue;
        const std::string state = text_at(peer, {"state"});
        if (state != "alive" && state != "suspect") continue;
        ++found;
        plan.peer_id = id;
        plan.peer_name = text_at(peer, {"name"});
        plan.rdma_there = !text_at(peer, {"rdma_addr"}).empty();
    }
    if (found == 1) return {};
    return fail(Errc::not_found,
                found == 0 ? "no other member is called '" + safe(wanted) + "'; `fastreg peers` lists them"
                           : "several members are called '" + safe(wanted) +
                                 "'; give the beginning of an id, as `fastreg peers` shows it");
}

double double_at(const Json& json, Path path) {
    const Json& value = at(json, path);
    return value.is_number() ? value.get<double>() : 0;
}

std::string rate_of(const Json& cell) {
    return cell.is_null() ? "-" : fmt::format("{:.0f}", double_at(cell, {"bytes_per_second"}) / kMiB);
}

/// Three figures or so: a column holds a pair of them.
std::string short_number(double value) {
    return fmt::format("{:.{}f}", value, value < 10 ? 2 : value < 100 ? 1 : 0);
}

std::string pair_of(double first, double second) {
    return short_number(first) + "/" + short_number(second);
}

std::string latency_of(const Json& cell) {
    if (cell.is_null()) return "-";
    return pair_of(double_at(cell, {"p50_us"}) / 1000, double_at(cell, {"p99_us"}) / 1000);
}

std::string cpu_of(const Json& cell) {
    if (cell.is_null()) return "-";
    return pair_of(double_at(cell, {"cpu_s_per_gib", "here"}), double_at(cell, {"cpu_s_per_gib", "there"}));
}

/// RDMA over TCP; 0 where one of them is not there.
double ratio_of(const Row& row) {
    const double tcp = row.tcp.is_null() ? 0 : double_at(row.tcp, {"bytes_per_second"});
    return tcp > 0 && !row.rdma.is_null() ? double_at(row.rdma, {"bytes_per_second"}) / tcp : 0;
}

void print_table(const std::vector<Row>& rows, const Console& console) {
    Table table({{"CHUNK", true, 0, 0},
                 {"DEPTH", true, 0, 0},
                 {"TCP", true, 0, 0},
                 {"RDMA", true, 0, 0},
                 {"RATIO", true, 0, 0},
                 {"TCP ms", true, 0, 3},
                 {"RDMA ms", true, 0, 2},
                 {"TCP CPU", true, 0, 5},
                 {"RDMA CPU", true, 0, 4}});
    for (const Row& row : rows) {
        const double ratio = ratio_of(row);
        table.add({{human_bytes(row.chunk)},
                   {std::to_string(row.depth)},
                   {rate_of(row.tcp)},
                   {rate_of(row.rdma)},
                   {ratio > 0 ? fmt::format("{:.2f}", ratio) : "-", ratio >= 1 ? Style::good : Style::plain},
                   {latency_of(row.tcp)},
                   {latency_of(row.rdma)},
                   {cpu_of(row.tcp)},
                   {cpu_of(row.rdma)}});
    }
    table.print(console);
    for (const Row& row : rows) {
        if (row.chunk != kLatencyChunk || row.depth != 1 || row.tcp.is_null() || row.rdma.is_null()) continue;
        const double tcp = double_at(row.tcp, {"p50_us"});
        const double rdma = double_at(row.rdma, {"p50_us"});
        console.out << fmt::format("latency of a 64 KiB chunk, p50: tcp {:.0f} us, rdma {:.0f} us ({:+.0f} %)\n",
                                   tcp,
                                   rdma,
                                   tcp > 0 ? (rdma / tcp - 1) * 100 : 0);
    }
    console.out << "TCP, RDMA: MiB/s; ms: p50/p99 of one chunk; CPU: s/GiB here/there, of the whole process.\n"
                   "Every byte was compared. Software RDMA (rxe, siw) proves correctness, not speed.\n";
}

Json as_json(const std::vector<Row>& rows, const Plan& plan) {
    Json list = Json::array();
    for (const Row& row : rows) {
        const double ratio = ratio_of(row);
        list.push_back({{"chunk_bytes", row.chunk},
                        {"depth", row.depth},
                        {"tcp", row.tcp},
                        {"rdma", row.rdma},
                        {"ratio", ratio > 0 ? Json(ratio) : Json()}});
    }
    return {{"peer", {{"node_id", plan.peer_id}, {"name", plan.peer_name}}}, {"rows", std::move(list)}};
}

}  // namespace

Exit bench_peer(const Invocation& invocation, const AdminClient& node, const Console& console) {
    Plan plan;
    if (const auto read = read_lists(invocation, plan); !read) {
        console.complain(read.error().what);
        return Exit::usage;
    }
    const Answer peers = ask(node, "GET", "/v1/peers");
    if (!peers.ok()) return refuse(peers, console);
    if (const auto found = find_peer(peers.json, invocation.argument, plan); !found) {
        console.complain(found.error().what);
        return Exit::not_found;
    }
    if (plan.roads.empty()) {
        const bool rdma_here = std::ranges::any_of(peers.json, [](const Json& peer) {
            return flag_at(peer, {"self"}) && !text_at(peer, {"rdma_addr"}).empty();
        });
        plan.roads = {"tcp"};
        if (rdma_here && plan.rdma_there) plan.roads.emplace_back("rdma");
    }
    std::vector<Row> rows;
    Answer broken;
    Answer too_deep;  // for what one peer may have under way by RDMA: left out, the rest is measured
    for (const std::uint64_t size : plan.sizes) {
        for (const std::uint64_t depth : plan.depths) {
            Row row{size, depth, nullptr, nullptr};
            // One road right after the other: what else the machines do changes both alike.
            for (const std::string& road : plan.roads) {
                if (!broken.ok()) break;
                if (console.terminal) {
                    console.err << "\r\033[K" << road << ", " << human_bytes(size) << ", depth " << depth << std::flush;
                }
                Answer cell = ask(node,
                                  "POST",
                                  "/v1/bench",
                                  {{"peer", plan.peer_id},
                                   {"transport", road},
                                   {"chunk_bytes", size},
                                   {"depth", depth},
                                   {"seconds", plan.seconds}});
                if (!cell.ok() && text_at(cell.json, {"error", "code"}) == "too_large") {
                    too_deep = std::move(cell);
                } else if (!cell.ok()) {
                    broken = std::move(cell);
                } else {
                    (road == "tcp" ? row.tcp : row.rdma) = std::move(cell.json);
                }
            }
            if (!row.tcp.is_null() || !row.rdma.is_null()) rows.push_back(std::move(row));
        }
    }
    if (console.terminal) console.err << "\r\033[K" << std::flush;
    if (rows.empty()) return refuse(broken.ok() ? too_deep : broken, console);
    if (invocation.json) {
        console.out << pretty(as_json(rows, plan)) << '\n';
    } else {
        console.out << plan.peer_name << " (" << plan.peer_id.substr(0, 8) << "), " << plan.seconds
                    << " s a measurement\n";
        print_table(rows, console);
    }
    if (broken.ok() && too_deep.ok()) return Exit::done;
    (void)refuse(broken.ok() ? too_deep : broken, console);
    return Exit::partly;
}

}  // namespace fastreg::cli
