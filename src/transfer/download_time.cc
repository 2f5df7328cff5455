// What falls due with time alone, and when to wake next.
#include <algorithm>

#include "transfer/download.h"
#include "transfer/download_times.h"

namespace fastreg::transfer {
namespace {

constexpr Duration kAnswerWithin = 3s;      // an Interest
constexpr Duration kPoll = 100ms;  // nothing of a running download waits longer than this

}  // namespace

void Download::tick(Instant now, Outbox& out) {
    if (over_) return;
    const Duration batch = pacing_.measured() ? pacing_.tau() / 2 : Duration(5ms);
    if (!fresh_.empty() && now >= fresh_since_ + std::min(batch, context_.options.have_batch_max)) {
        flush_haves(out);
    }
    if (now >= next_lookup_) {
        if (few_sources()) {
            look_up(now, out);
        } else {
            next_lookup_ = now + context_.options.lookup_max;
        }
    }
    std::vector<NodeId> mute;
    for (const auto& [node, neighbour] : swarm_.all()) {
        if (!neighbour.answered && now >= neighbour.since + kAnswerWithin) mute.push_back(node);
    }
    for (const NodeId& node : mute) remove_neighbour(now, node, kRedial, out);
    dial(now, out);
    reconsider_chain(now, out);
    settle_limbo(out);
    if (over_) return;
    ask_for_chain(now, out);
    mark_stale(now);
    hedge(now, out);

    if (now >= alive_checked_ + 250ms) {
        alive_checked_ = now;
        if (has_source(now)) alive_at_ = now;
        if (now >= alive_at_ + context_.options.no_source_timeout) {
            fail_with(Errc::unavailable,
                      "downloading " + digest_.str() + ": no member that has the missing chunks answered for " +
                          std::to_string(millis_of(context_.options.no_source_timeout) / 1000) + " s",
                      out);
        }
    }
}

void Download::plan_wake(Instant now) {
    wake_ = Instant::never();
    if (over_) return;
    auto at = [&](Instant when) {
        if (when > now) wake_ = std::min(wake_, when);
    };
    const Duration batch = pacing_.measured() ? pacing_.tau() / 2 : Duration(5ms);
    if (!fresh_.empty()) at(fresh_since_ + std::min(batch, context_.options.have_batch_max));
    at(next_lookup_);
    at(swarm_.next_dial(context_.options));
    for (const auto& [node, neighbour] : swarm_.all()) {
        if (!neighbour.answered) at(neighbour.since + kAnswerWithin);
        if (!trust_.whole()) {
            if (neighbour.chain_asked != Instant::never()) at(neighbour.chain_asked + kChainWithin);
            at(neighbour.chain_retry);
        }
        if (const Peer* peer = context_.find_peer(node)) at(peer->usable_from());
    }
    for (const Request& request : requests_.all()) {
        if (!pacing_.measured() || !request.at_peer) continue;
        if (!request.stale) at(request.sent + pacing_.tau() * 4);
        if (picker_.open_count() == 0) at(request.sent + pacing_.tau() * 2);
    }
    for (const ChunkIndex head : heads()) {
        for (const Request& request : requests_.all()) {
            if (request.chunk == head && !request.extra) at(request.sent + hedge_after(request));
        }
    }
    at(now + kPoll);
}

Instant Download::next_deadline() const { return over_ ? Instant::never() : wake_; }

}  // namespace fastreg::transfer
