// What happens as a chunk arrives, from a peer or from upstream: measured, stored or refused.
#include <algorithm>

#include "base/mutant.h"
#include "transfer/download.h"

namespace fastreg::transfer {
namespace {

constexpr unsigned kDamagedMax = 3;

}  // namespace

bool Download::on_bytes(Instant now, const NodeId& from, RequestId id, std::uint64_t n) {
    Request* request = requests_.find(from, id);
    if (request == nullptr) return false;
    if (n == 0) {  // nothing came, and the peer is not to blame for it yet
        context_.peer(from).on_pause(now);
        return true;
    }
    request->got += n;
    context_.peer(from).on_byte(now);
    if (request->abandoned && picker_.is_open(request->chunk)) {
        request->abandoned = false;  // it moves again before another was asked
        picker_.close(request->chunk);
    }
    if (request->at_peer && request->got >= grid_.size_of(request->chunk)) {
        on_sample(now, *request);
        requests_.landed(context_, *request);
    }
    return true;
}

void Download::on_sample(Instant now, const Request& request) {
    const std::uint64_t bytes = grid_.size_of(request.chunk);
    if (bytes * 2 < grid_.chunk_size() && grid_.count() > 1) return;  // a short last chunk
    const Duration took = now - request.sent;
    context_.peer(request.from).on_chunk_arrived(took);
    pacing_.on_sample(took);
    if (bytes < kChunkSizeMin) return;
    const double per_byte = seconds_of(took) / static_cast<double>(bytes);
    double& average = context_.seconds_per_byte;
    average = average == 0 ? per_byte : average + (per_byte - average) / 16;
}

bool Download::on_chunk(Instant now, const NodeId& from, RequestId id, const ChunkEnd& end, Outbox& out) {
    Request* request = requests_.find(from, id);
    if (request == nullptr || over_) return false;
    const ChunkIndex chunk = request->chunk;
    Peer& peer = context_.peer(from);
    if (mutant(Mutant::have_before_verified)) fresh_since_ = std::min(fresh_since_, now), fresh_.push_back(chunk);
    switch (end.outcome) {
        case ChunkOutcome::stored: {
            peer.on_byte(now);
            if (request->at_peer) on_sample(now, *request);
            SourceShare& share = share_of(from, end.road);
            ++share.chunks;
            share.bytes += end.bytes;
            requests_.remove(context_, id);
            on_stored(now, from, chunk, out);
            break;
        }
        case ChunkOutcome::bad_checksum:
            peer.on_byte(now);
            end_request(id);
            peer.avoid(now + 1s);
            if (++damaged_[from] >= kDamagedMax) blame(now, from, "sends damaged chunks", out);
            break;
        case ChunkOutcome::bad_link:
            peer.on_byte(now);
            mutant(Mutant::bad_chunk_not_fetched_again) ? requests_.remove(context_, id) : end_request(id);
            on_bad_chunk(now, from, chunk, out);
            break;
        case ChunkOutcome::disk_full:
            end_request(id);
            fail_with(Errc::no_space, "storing a chunk of " + digest_.str() +
                                          ": the disk is full; free space or raise the quota", out);
            break;
        case ChunkOutcome::disk_error:
            end_request(id);
            fail_with(Errc::io, "storing a chunk of " + digest_.str() + ": the disk reports an error", out);
            break;
        case ChunkOutcome::link_lost:
        case ChunkOutcome::refused:
        case ChunkOutcome::cancelled:
            end_request(id);
            peer.avoid(now + std::clamp<Duration>(pacing_.tau() / 2, 5ms, 500ms));
            break;
    }
    return true;
}

void Download::on_first_hand(Instant now, ChunkIndex chunk, Bytes end_link, Outbox& out) {
    if (!size_ || !opened_ || over_ || chunk >= grid_.count()) return;
    const bool was_first_hand = first_hand();
    const Bytes old_links(trust_.links().begin(), trust_.links().end());
    if (!grid_.is_last(chunk) && !trust_.add_own(chunk, end_link)) {
        limbo_links_ = old_links;
        chain_dropped(out);
    }
    ++upstream_chunks_;
    if (!was_first_hand) {
        for (const auto& [node, neighbour] : swarm_.all()) send_map(node, out);
    }
    settle_limbo(out);
    if (!trust_.usable(chunk) || have_.has(chunk)) return;
    if (!grid_.is_last(chunk) && !std::ranges::equal(trust_.end_of(chunk), end_link)) return;
    SourceShare& share = share_of(context_.self, Road::tcp);
    ++share.chunks;
    share.bytes += grid_.size_of(chunk);
    on_stored(now, context_.self, chunk, out);
}

void Download::on_stored(Instant now, const NodeId& from, ChunkIndex chunk, Outbox& out) {
    stored_at_ = now;
    alive_at_ = now;
    if (!have_.set(chunk)) return;
    picker_.close(chunk);
    limbo_.clear(chunk);
    // It holds when it comes from somebody who did not make the chain: the others' copies were wrong.
    if (!trust_.givers().contains(from)) name_suspects(chunk, out);
    for (bool found = true; found;) {
        found = false;
        for (const Request& request : requests_.all()) {
            if (request.chunk != chunk) continue;
            cancel_request(request, out);
            found = true;
            break;
        }
    }
    if (fresh_.empty()) fresh_since_ = now;
    fresh_.push_back(chunk);
    out.push_back(Have{digest_, chunk});
    report_progress(out);
    finish_if_complete(out);
}

}  // namespace fastreg::transfer
