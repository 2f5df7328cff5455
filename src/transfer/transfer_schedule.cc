// How the downloads of a node share its pipeline, and what follows every event: due work, requests, the end.
#include <algorithm>

#include "transfer/transfer_impl.h"

namespace fastreg::transfer {
namespace {

/// Every download may have so many requests outstanding, whatever the others hold.
constexpr std::size_t kEachDownload = 2;

}  // namespace

Download* Transfer::Impl::find(const Digest& digest) {
    const auto it = downloads.find(digest);
    return it == downloads.end() ? nullptr : it->second.get();
}

const Download* Transfer::Impl::find(const Digest& digest) const {
    const auto it = downloads.find(digest);
    return it == downloads.end() ? nullptr : it->second.get();
}

std::optional<std::uint64_t> Transfer::Impl::whole_size(const Digest& digest) const {
    if (auto size = context.blobs.complete_size(digest)) return size;
    return seeder.size_of(digest);  // completed here, not yet in the store's index
}

void Transfer::Impl::settle(Instant now, Download& download, Outbox& out) {
    download.idle = false;
    download.tick(now, out);
    fill(now, out);
    download.plan_wake(now);
    reap(now, out);
}

void Transfer::Impl::settle_all(Instant now, Outbox& out) {
    for (auto& [digest, download] : downloads) {
        download->idle = false;
        download->tick(now, out);
    }
    fill(now, out);
    for (auto& [digest, download] : downloads) download->plan_wake(now);
    reap(now, out);
}

void Transfer::Impl::wake_all() {
    for (auto& [digest, download] : downloads) download->idle = false;
}

void Transfer::Impl::fill(Instant now, Outbox& out) {
    std::vector<Download*> waiting;
    for (auto& [digest, download] : downloads) {
        if (!download->idle && !download->over()) waiting.push_back(download.get());
    }
    if (waiting.empty()) return;
    std::rotate(waiting.begin(), waiting.begin() + static_cast<std::ptrdiff_t>(turn++ % waiting.size()),
                waiting.end());
    // The one with the least under way goes first: a place that comes free changes hands.
    std::ranges::stable_sort(waiting, {}, [](const Download* d) { return d->counted(); });
    for (bool sent = true; sent;) {
        sent = false;
        for (Download* download : waiting) {
            if (download->idle || !has_room(*download)) continue;
            if (download->request_one(now, out)) {
                download->plan_wake(now);
                sent = true;
            } else {
                download->idle = true;
            }
        }
    }
}

bool Transfer::Impl::has_room(const Download& download) const {
    if (context.in_flight >= context.options.outstanding_max) return false;
    if (context.in_flight < download.outstanding_limit()) return true;
    return download.counted() < kEachDownload;
}

void Transfer::Impl::reap(Instant now, Outbox& out) {
    for (auto it = downloads.begin(); it != downloads.end();) {
        if (!it->second->over()) {
            ++it;
            continue;
        }
        const Download& download = *it->second;
        if (download.complete()) {
            seeder.adopt(now, it->first, *download.size(), download.swarm());
            announce_whole(download, *download.size(), out);
        }
        it = downloads.erase(it);
        wake_all();
    }
}

void Transfer::Impl::announce_whole(const Download& download, std::uint64_t size, Outbox& out) {
    wire::Map map;
    map.digest = download.digest();
    map.size = size;
    map.complete = true;
    map.chunks = ChunkMap(ChunkGrid(size).count(), true);
    for (const auto& [node, neighbour] : download.swarm().all()) context.send(out, node, map);
}

void Transfer::Impl::keep_chains(const Outbox& out, std::size_t from) {
    for (std::size_t i = from; i < out.size(); ++i) {
        if (const auto* done = std::get_if<Completed>(&out[i])) chains.keep(done->digest, done->chain);
    }
}

void Transfer::Impl::node_gone(Instant now, const NodeId& node, Outbox& out) {
    for (auto& [digest, download] : downloads) download->on_node_gone(now, node, out);
    uploader.on_node_gone(now, node, out);
    seeder.on_node_gone(now, node, out);
    if (context.peers.contains(node)) context.peer(node).on_link_down();
    settle_all(now, out);
}

}  // namespace fastreg::transfer
