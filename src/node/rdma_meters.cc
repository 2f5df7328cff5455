#include "node/rdma_meters.h"

namespace fastreg::node {

using transport::rdma::Counters;

RdmaMeters::RdmaMeters(Metrics& m)
    : up_(m.gauge("fastreg_rdma_up", "1 while an RDMA device works and peers are told its address, else 0")),
      no_device_(m.gauge("fastreg_rdma_off", "1 where RDMA was asked for and could not be had, and what lacked",
                         R"(reason="device")")),
      no_memory_(m.gauge("fastreg_rdma_off", "", R"(reason="memory")")),
      no_other_(m.gauge("fastreg_rdma_off", "", R"(reason="other")")),
      fallbacks_(m.counter("fastreg_rdma_fallbacks_total", "Chunks that RDMA failed and TCP was asked for")),
      slotless_(m.counter("fastreg_rdma_slotless_total",
                          "Urgent chunks that went by TCP, since no landing slot was free")),
      stalls_(m.counter("fastreg_rdma_failures_total", "What RDMA failed by; the chunks went by TCP",
                        R"(reason="stall")")) {
    constexpr std::string_view kChunks = "fastreg_rdma_chunks_total";
    constexpr std::string_view kFailures = "fastreg_rdma_failures_total";
    constexpr std::string_view kReads = "fastreg_rdma_source_reads_total";
    constexpr std::string_view kLinks = "fastreg_rdma_links";
    constexpr std::string_view kSlots = "fastreg_rdma_landing_slots";
    const auto grown = [&](std::string_view name, std::string_view help, std::string_view labels, Number from) {
        grown_.push_back({m.counter(name, help, labels), from});
    };
    const auto now = [&](std::string_view name, std::string_view help, std::string_view labels, Number from) {
        now_.push_back({m.gauge(name, help, labels), from});
    };
    grown(kChunks, "Chunks by RDMA Write: landed here, or written into a peer's slot", R"(direction="in")",
          &Counters::chunks_in);
    grown(kChunks, "", R"(direction="out")", &Counters::chunks_out);
    grown(kFailures, "", R"(reason="connect")", &Counters::connects_failed);
    grown(kFailures, "", R"(reason="link")", &Counters::links_broken);
    grown(kFailures, "", R"(reason="timeout")", &Counters::timeouts);
    grown(kFailures, "", R"(reason="protocol")", &Counters::protocol_errors);
    grown("fastreg_rdma_greetings_refused_total", "Connect requests of strangers that were turned away", "",
          &Counters::greetings_refused);
    grown("fastreg_rdma_late_ends_total", "Ends of requests given up before: their slots had waited for them", "",
          &Counters::late_ends);
    grown(kReads, "Chunks asked for by RDMA: read from a file, or found in a source slot", R"(result="read")",
          &Counters::reads);
    grown(kReads, "", R"(result="hit")", &Counters::read_hits);
    now(kLinks, "RDMA connections that are up: this node asks over out, and answers over in", R"(direction="out")",
        &Counters::links_out);
    now(kLinks, "", R"(direction="in")", &Counters::links_in);
    now(kSlots, "Landing slots that are free, or wait for a broken queue pair to be destroyed", R"(state="free")",
        &Counters::slots_free);
    now(kSlots, "", R"(state="quarantined")", &Counters::slots_quarantined);
    now("fastreg_rdma_source_slots_in_use", "Source slots that are being filled or sent from", "",
        &Counters::sources_in_use);
}

void RdmaMeters::raise(Counter& counter, std::uint64_t to) {
    if (to > counter.value()) counter.add(to - counter.value());
}

void RdmaMeters::set_off(Errc why) {
    (why == Errc::unsupported ? no_device_ : why == Errc::permission_denied ? no_memory_ : no_other_).set(1);
}

void RdmaMeters::update(const Counters* counters, bool up, Routed routed) {
    up_.set(up ? 1 : 0);
    raise(fallbacks_, routed.fallbacks);
    raise(slotless_, routed.slotless);
    raise(stalls_, routed.stalls);
    if (counters == nullptr) return;
    for (const Grown& each : grown_) raise(each.shown, (counters->*each.from).load());
    for (const Now& each : now_) each.shown.set(static_cast<std::int64_t>((counters->*each.from).load()));
}

}  // namespace fastreg::node
