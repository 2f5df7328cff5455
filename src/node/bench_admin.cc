#include "node/bench_admin.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "node/bench_blob.h"

namespace fastreg::node {
namespace {

Result<std::uint64_t> whole_number(const nlohmann::json& json, const char* field, std::uint64_t otherwise) {
    if (!json.contains(field)) return otherwise;
    if (!json[field].is_number_unsigned()) {
        return fail(Errc::invalid_argument, std::string(field) + " must be a whole number");
    }
    return json[field].get<std::uint64_t>();
}

std::string text(const nlohmann::json& json, const char* field, const char* otherwise) {
    const auto found = json.find(field);
    return found != json.end() && found->is_string() ? found->get<std::string>() : otherwise;
}

double microseconds(Duration span) {
    return std::round(seconds_of(span) * 1e7) / 10;
}

}  // namespace

Result<BenchOrder> read_bench_order(std::string_view body, const gossip::Gossip& members) {
    const nlohmann::json json = nlohmann::json::parse(body, nullptr, false);
    if (!json.is_object()) return fail(Errc::invalid_argument, R"(send {"peer": NODE_ID, "transport": "tcp"})");
    BenchOrder order;
    const auto peer = NodeId::parse(text(json, "peer", ""));
    if (!peer) return fail(Errc::invalid_argument, "peer must be a node id, 32 hexadecimal digits");
    const Member* member = members.find(*peer);
    if (member == nullptr || !member->reachable()) {
        return fail(Errc::not_found, "no member " + peer->brief() + " that is alive; `fastreg peers` lists them");
    }
    order.peer = *peer;
    order.transfer = member->transfer;
    order.rdma = member->rdma;
    const std::string transport = text(json, "transport", "tcp");
    if (transport != "tcp" && transport != "rdma") return fail(Errc::invalid_argument, "transport is tcp or rdma");
    order.road = transport == "tcp" ? Road::tcp : Road::rdma;
    FR_TRY_ASSIGN(order.chunk_bytes, whole_number(json, "chunk_bytes", 1U << 20U));
    if (!is_bench_chunk(order.chunk_bytes)) {
        return fail(Errc::out_of_range, "chunk_bytes is a power of two from 65536 to 4194304");
    }
    FR_TRY_ASSIGN(order.depth, whole_number(json, "depth", 1));
    if (order.depth < 1 || order.depth > BenchOrder::kDepthMax) {
        return fail(Errc::out_of_range, "depth is 1 to " + std::to_string(BenchOrder::kDepthMax));
    }
    const double seconds = json.contains("seconds") && json["seconds"].is_number() ? json["seconds"].get<double>() : 1;
    if (!(seconds > 0) || seconds > seconds_of(BenchOrder::kSpanMax)) {
        return fail(Errc::out_of_range, "seconds is more than 0 and at most 10");
    }
    order.span = Duration(static_cast<std::int64_t>(seconds * 1e9));
    return order;
}

std::string print_bench_result(const BenchOrder& order, const BenchResult& result) {
    const std::uint64_t bytes = result.chunks * order.chunk_bytes;
    const double seconds = seconds_of(result.took);
    const double gib = static_cast<double>(bytes) / static_cast<double>(1ULL << 30U);
    const nlohmann::json json = {
        {"peer", order.peer.str()},
        {"transport", name_of(order.road)},
        {"chunk_bytes", order.chunk_bytes},
        {"depth", order.depth},
        {"chunks", result.chunks},
        {"bytes", bytes},
        {"seconds", seconds},
        {"bytes_per_second", seconds > 0 ? std::round(static_cast<double>(bytes) / seconds) : 0},
        {"p50_us", microseconds(result.p50)},
        {"p99_us", microseconds(result.p99)},
        {"cpu_s_per_gib", {{"here", seconds_of(result.cpu_here) / gib}, {"there", seconds_of(result.cpu_there) / gib}}},
    };
    return json.dump() + "\n";
}

}  // namespace fastreg::node
