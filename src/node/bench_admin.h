// `POST /v1/bench` as JSON and back: one measurement between this node and a member. Pure; loop thread.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "gossip/gossip.h"
#include "node/bench.h"

namespace fastreg::node {

/// {"peer":NODE_ID,"transport":"tcp"|"rdma","chunk_bytes":N,"depth":N,"seconds":S}. Errc::not_found when that
/// node is no member that can be asked; invalid_argument and out_of_range name the field.
[[nodiscard]] Result<BenchOrder> read_bench_order(std::string_view body, const gossip::Gossip& members);
[[nodiscard]] std::string print_bench_result(const BenchOrder& order, const BenchResult& result);

}  // namespace fastreg::node
