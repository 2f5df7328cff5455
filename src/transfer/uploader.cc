#include "transfer/uploader.h"

#include <algorithm>

#include "base/grid.h"

namespace fastreg::transfer {

void Uploader::on_get_chunk(Instant now, const NodeId& from, const wire::GetChunk& message, bool offered,
                            const std::vector<NodeId>& instead, Outbox& out) {
    if (find(from, message.request) != serves_.end()) return;
    const auto of_asker = static_cast<std::size_t>(std::ranges::count(serves_, from, &Serve::to));
    const auto waits = static_cast<std::size_t>(std::ranges::count_if(
        serves_, [&](const Serve& s) { return s.to == from && !s.active; }));
    Serve serve{from, message, false, false, offered, now};
    const bool starts = may_start(serve);
    const bool may_wait = offered || (!crowded(from) && waits < context_.options.waiting_per_peer);
    if (of_asker >= context_.options.inbound_max || (!starts && !may_wait)) {
        wire::Busy busy{message.request, message.digest, instead};
        if (busy.try_instead.size() > wire::kTryMax) busy.try_instead.resize(wire::kTryMax);
        context_.send(out, from, std::move(busy));
        return;
    }
    serves_.push_back(std::move(serve));
    if (starts) start(now, serves_.back(), out);
}

bool Uploader::may_start(const Serve& serve) const {
    const auto writable = static_cast<std::size_t>(
        std::ranges::count_if(serves_, [](const Serve& s) { return s.active && !s.blocked; }));
    if (active() >= context_.options.upload_slots_max) return false;
    if (writable < context_.options.upload_slots) return true;
    // A reader's next chunk, or the first of a node that would wait behind one other node's queue.
    if (serve.ask.urgent) return true;
    const bool has_slot = std::ranges::any_of(
        serves_, [&](const Serve& s) { return s.active && s.to == serve.to; });
    return !has_slot && !crowded(serve.to);
}

bool Uploader::serving(const Digest& digest) const {
    return std::ranges::any_of(serves_, [&](const Serve& serve) { return serve.ask.digest == digest; });
}

bool Uploader::crowded(const NodeId& from) const {
    std::vector<NodeId> nodes{from};
    for (const Serve& serve : serves_) {
        if (std::ranges::find(nodes, serve.to) == nodes.end()) nodes.push_back(serve.to);
        if (nodes.size() > 2) return true;
    }
    return false;
}

void Uploader::start(Instant now, Serve& serve, Outbox& out) {
    serve.active = true;
    serve.started = now;
    const ChunkGrid grid(serve.ask.size);
    out.push_back(ServeChunk{serve.to, serve.ask.request, serve.ask.digest, serve.ask.size, serve.ask.chunk,
                             grid.offset_of(serve.ask.chunk), grid.size_of(serve.ask.chunk),
                             serve.ask.urgent});
}

void Uploader::start_waiting(Instant now, Outbox& out) {
    for (;;) {
        Serve* best = nullptr;
        std::size_t best_active = 0;
        for (Serve& serve : serves_) {
            if (serve.active) continue;
            const auto active_there = static_cast<std::size_t>(std::ranges::count_if(
                serves_, [&](const Serve& s) { return s.active && s.to == serve.to; }));
            const bool better = best == nullptr || (serve.ask.urgent && !best->ask.urgent) ||
                                (serve.ask.urgent == best->ask.urgent && active_there < best_active);
            if (!better) continue;
            best = &serve;
            best_active = active_there;
        }
        if (best == nullptr || !may_start(*best)) return;
        start(now, *best, out);
    }
}

void Uploader::on_cancel(Instant now, const NodeId& from, RequestId request, Outbox& out) {
    const auto it = find(from, request);
    if (it == serves_.end()) return;
    if (it->active) out.push_back(CancelServe{from, request});
    serves_.erase(it);
    start_waiting(now, out);
}

std::optional<Uploader::Served> Uploader::on_served(Instant now, const NodeId& to, RequestId request,
                                                    Outbox& out) {
    const auto it = find(to, request);
    if (it == serves_.end() || !it->active) return {};
    const Served served{it->ask.digest, it->ask.chunk, ChunkGrid(it->ask.size).size_of(it->ask.chunk)};
    // The active ones share the uplink.
    const auto sharing = static_cast<std::int64_t>(std::max<std::size_t>(active(), 1));
    const Duration took = (now - it->started) / sharing;
    chunk_time_ = chunk_time_.count() == 0 ? took : chunk_time_ + (took - chunk_time_) / 8;
    serves_.erase(it);
    start_waiting(now, out);
    return served;
}

void Uploader::on_blocked(Instant now, const NodeId& to, RequestId request, bool blocked, Outbox& out) {
    const auto it = find(to, request);
    if (it == serves_.end() || !it->active) return;
    it->blocked = blocked;
    if (blocked) start_waiting(now, out);
}

void Uploader::on_node_gone(Instant now, const NodeId& node, Outbox& out) {
    for (const Serve& serve : serves_) {
        if (serve.to == node && serve.active) out.push_back(CancelServe{node, serve.ask.request});
    }
    std::erase_if(serves_, [&](const Serve& serve) { return serve.to == node; });
    start_waiting(now, out);
}

void Uploader::on_blob_gone(Instant now, const Digest& digest, Outbox& out) {
    for (const Serve& serve : serves_) {
        if (serve.ask.digest != digest) continue;
        if (serve.active) out.push_back(CancelServe{serve.to, serve.ask.request});
        context_.send(out, serve.to, wire::NotHere{serve.ask.request, digest, true});
    }
    std::erase_if(serves_, [&](const Serve& serve) { return serve.ask.digest == digest; });
    start_waiting(now, out);
}

std::size_t Uploader::active() const {
    return static_cast<std::size_t>(std::ranges::count(serves_, true, &Serve::active));
}

std::vector<Uploader::Serve>::iterator Uploader::find(const NodeId& to, RequestId request) {
    return std::ranges::find_if(
        serves_, [&](const Serve& serve) { return serve.to == to && serve.ask.request == request; });
}

}  // namespace fastreg::transfer
