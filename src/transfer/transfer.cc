#include "transfer/transfer.h"

#include <algorithm>
#include <map>

#include "transfer/chain_server.h"
#include "transfer/context.h"
#include "transfer/download.h"
#include "transfer/seeder.h"
#include "transfer/uploader.h"

namespace fastreg::transfer {
namespace {

/// Two deadlines are never closer than this: a missed case must not spin the loop.
constexpr Duration kDeadlineStep = 200us;
/// Every download may have so many requests outstanding, whatever the others hold.
constexpr std::size_t kEachDownload = 2;
constexpr Duration kNextTrial = 1s;

}  // namespace

struct Transfer::Impl {
    Context context;
    ChainServer chains;
    Uploader uploader;
    Seeder seeder;
    std::map<Digest, std::unique_ptr<Download>> downloads;
    std::size_t turn = 0;
    Instant ran{};

    Impl(NodeId self, std::string zone, Options options, const LocalBlobs& blobs, Rng rng)
        : context{self, std::move(zone), options, blobs, rng},
          chains(context), uploader(context), seeder(context) {}

    Download* find(const Digest& digest) {
        const auto it = downloads.find(digest);
        return it == downloads.end() ? nullptr : it->second.get();
    }
    const Download* find(const Digest& digest) const {
        const auto it = downloads.find(digest);
        return it == downloads.end() ? nullptr : it->second.get();
    }

    std::optional<std::uint64_t> whole_size(const Digest& digest) const {
        if (auto size = context.blobs.complete_size(digest)) return size;
        return seeder.size_of(digest);  // completed here, not yet in the store's index
    }

    /// What follows every event that touched `download`; it may be gone afterwards.
    void settle(Instant now, Download& download, Outbox& out) {
        download.idle = false;
        download.tick(now, out);
        fill(now, out);
        download.plan_wake(now);
        reap(now, out);
    }

    void settle_all(Instant now, Outbox& out) {
        for (auto& [digest, download] : downloads) {
            download->idle = false;
            download->tick(now, out);
        }
        fill(now, out);
        for (auto& [digest, download] : downloads) download->plan_wake(now);
        reap(now, out);
    }

    void fill(Instant now, Outbox& out) {
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

    bool has_room(const Download& download) const {
        if (context.in_flight >= context.options.outstanding_max) return false;
        if (context.in_flight < download.outstanding_limit()) return true;
        return download.counted() < kEachDownload;
    }

    /// Takes away what ended; a blob that came whole is served from now on.
    void reap(Instant now, Outbox& out) {
        for (auto it = downloads.begin(); it != downloads.end();) {
            if (!it->second->over()) {
                ++it;
                continue;
            }
            const Download& download = *it->second;
            if (download.complete()) {
                seeder.adopt(now, it->first, *download.size(), download.swarm());
                wire::Map map;
                map.digest = it->first;
                map.size = *download.size();
                map.complete = true;
                map.chunks = ChunkMap(ChunkGrid(map.size).count(), true);
                for (const auto& [node, neighbour] : download.swarm().all()) context.send(out, node, map);
            }
            it = downloads.erase(it);
            for (auto& [digest, other] : downloads) other->idle = false;
        }
    }

    void keep_chains(const Outbox& out, std::size_t from) {
        for (std::size_t i = from; i < out.size(); ++i) {
            if (const auto* done = std::get_if<Completed>(&out[i])) chains.keep(done->digest, done->chain);
        }
    }

    void node_gone(Instant now, const NodeId& node, Outbox& out) {
        for (auto& [digest, download] : downloads) download->on_node_gone(now, node, out);
        uploader.on_node_gone(now, node, out);
        seeder.on_node_gone(now, node, out);
        if (context.peers.contains(node)) context.peer(node).on_link_down();
        settle_all(now, out);
    }

    void on_get_chunk(Instant now, const NodeId& from, const wire::GetChunk& m, Outbox& out) {
        Download* download = find(m.digest);
        const bool in_grid = m.size <= kBlobSizeMax && m.chunk < ChunkGrid(m.size).count();
        if (download != nullptr && download->size() == m.size && in_grid && download->has(m.chunk)) {
            uploader.on_get_chunk(now, from, m, false, download->others_with(m.chunk, from), out);
        } else if (download == nullptr && in_grid && whole_size(m.digest) == m.size) {
            const bool offered = seeder.on_asked(from, m.digest, m.chunk);
            uploader.on_get_chunk(now, from, m, offered, seeder.others_with(m.digest, m.chunk, from), out);
        } else {
            context.send(out, from, wire::NotHere{m.request, m.digest, download == nullptr});
        }
    }

    void on_interest(Instant now, const NodeId& from, const wire::Interest& m, Outbox& out) {
        if (Download* download = find(m.digest)) {
            download->on_interest(now, from, m, out);
        } else if (const auto size = whole_size(m.digest)) {
            seeder.on_interest(now, from, m, *size, out);
        } else {
            context.send(out, from, wire::NotHere{0, m.digest, true});
        }
    }

    void on_chain_request(const NodeId& from, const wire::ChainRequest& m, Outbox& out) {
        if (const Download* download = find(m.digest)) {
            download->on_chain_request(from, m, out);
        } else if (whole_size(m.digest) == m.size) {
            chains.on_request(from, m, out);
        } else {
            context.send(out, from, wire::ChainPage{m.digest, m.size, m.offset, {}});
        }
    }

    const Digest* dispatch(Instant now, const NodeId& from, const wire::TransferMessage& message, Outbox& out);
};

/// The digest whose download was touched, if any.
const Digest* Transfer::Impl::dispatch(Instant now, const NodeId& from, const wire::TransferMessage& message,
                                       Outbox& out) {
    if (const auto* m = std::get_if<wire::GetChunk>(&message)) {
        on_get_chunk(now, from, *m, out);
        return nullptr;
    }
    if (const auto* m = std::get_if<wire::Cancel>(&message)) {
        uploader.on_cancel(now, from, m->request, out);
        return nullptr;
    }
    if (const auto* m = std::get_if<wire::Busy>(&message)) {
        if (Download* d = find(m->digest)) d->on_busy(now, from, *m, out);
        return &m->digest;
    }
    if (const auto* m = std::get_if<wire::NotHere>(&message)) {
        if (Download* d = find(m->digest)) d->on_not_here(now, from, *m, out);
        return &m->digest;
    }
    if (const auto* m = std::get_if<wire::Interest>(&message)) {
        on_interest(now, from, *m, out);
        return &m->digest;
    }
    if (const auto* m = std::get_if<wire::Map>(&message)) {
        if (Download* d = find(m->digest)) {
            d->on_map(now, from, *m, out);
        } else {
            seeder.on_map(now, from, *m, out);
        }
        return &m->digest;
    }
    if (const auto* m = std::get_if<wire::Have>(&message)) {
        if (Download* d = find(m->digest)) {
            d->on_have(now, from, *m, out);
        } else {
            seeder.on_have(now, from, *m, out);
        }
        return &m->digest;
    }
    if (const auto* m = std::get_if<wire::ChainRequest>(&message)) {
        on_chain_request(from, *m, out);
        return nullptr;
    }
    if (const auto* m = std::get_if<wire::ChainPage>(&message)) {
        if (Download* d = find(m->digest)) d->on_chain_page(now, from, *m, out);
        return &m->digest;
    }
    if (const auto* m = std::get_if<wire::Offer>(&message)) {
        if (Download* d = find(m->digest)) {
            d->on_offer(now, from, *m, out);
        } else {
            context.send(out, from, wire::Done{m->digest});
        }
        return &m->digest;
    }
    if (const auto* m = std::get_if<wire::Done>(&message)) {
        if (Download* d = find(m->digest)) {
            d->on_done(now, from, out);
        } else {
            seeder.on_done(now, from, m->digest, out);
        }
        return &m->digest;
    }
    return nullptr;  // Data is the driver's
}

Transfer::Transfer(NodeId self, std::string zone, Options options, const LocalBlobs& blobs, Rng rng)
    : impl_(std::make_unique<Impl>(self, std::move(zone), options, blobs, rng)) {}
Transfer::~Transfer() = default;
Transfer::Transfer(Transfer&&) noexcept = default;

void Transfer::on_member(Instant now, const Member& member, Outbox& out) {
    if (member.id == impl_->context.self) return;
    if (member.state == MemberState::dead || member.state == MemberState::left) {
        impl_->node_gone(now, member.id, out);
        impl_->context.zones.erase(member.id);
        if (member.state == MemberState::left) impl_->context.peers.erase(member.id);
        return;
    }
    impl_->context.zones[member.id] = member.zone;
}

void Transfer::want(Instant now, const Digest& digest, std::optional<std::uint64_t> size,
                    ChunkMap already_have, std::optional<Chain> chain, Outbox& out) {
    const std::size_t begin = out.size();
    Download* download = impl_->find(digest);
    if (download == nullptr) {
        if (impl_->downloads.size() >= impl_->context.options.downloads_max) {
            out.push_back(Failed{digest, Error{Errc::busy, 0,
                                               "downloading " + digest.str() + ": " +
                                                   std::to_string(impl_->downloads.size()) +
                                                   " downloads are running; try again later"}});
            return;
        }
        auto& slot = impl_->downloads[digest];
        slot = std::make_unique<Download>(now, digest, impl_->context);
        download = slot.get();
        download->set_chain(std::move(chain));
        download->start(now, out);
    }
    if (size) download->set_size(now, *size, out);
    download->set_have(std::move(already_have));
    impl_->settle(now, *download, out);
    impl_->keep_chains(out, begin);
}

void Transfer::on_opened(Instant now, const Digest& digest, const Status& status, ChunkMap have, Outbox& out) {
    const std::size_t begin = out.size();
    Download* download = impl_->find(digest);
    if (download == nullptr) return;
    download->on_opened(now, status, std::move(have), out);
    impl_->settle(now, *download, out);
    impl_->keep_chains(out, begin);
}

void Transfer::on_holders(Instant now, const Digest& digest, std::optional<std::uint64_t> size,
                          const std::vector<Holder>& holders, Outbox& out) {
    Download* download = impl_->find(digest);
    if (download == nullptr) return;
    download->on_holders(now, size, holders, out);
    impl_->settle(now, *download, out);
}

void Transfer::on_lookup_failed(Instant now, const Digest& digest, Outbox& out) {
    Download* download = impl_->find(digest);
    if (download == nullptr) return;
    download->on_lookup_failed(now);
    impl_->settle(now, *download, out);
}

void Transfer::on_first_hand(Instant now, const Digest& digest, ChunkIndex chunk, Bytes end_link, Outbox& out) {
    const std::size_t begin = out.size();
    Download* download = impl_->find(digest);
    if (download == nullptr) return;
    download->on_first_hand(now, chunk, std::move(end_link), out);
    impl_->settle(now, *download, out);
    impl_->keep_chains(out, begin);
}

void Transfer::on_upstream_bytes(Instant now, const Digest& digest) {
    if (Download* download = impl_->find(digest)) download->on_upstream_bytes(now);
}

void Transfer::cancel(Instant now, const Digest& digest, Outbox& out) {
    const auto it = impl_->downloads.find(digest);
    if (it == impl_->downloads.end()) return;
    it->second->stop(out);
    impl_->downloads.erase(it);
    for (auto& [other, download] : impl_->downloads) download->idle = false;
    impl_->fill(now, out);
}

void Transfer::add_reader(Instant now, const Digest& digest, ReaderId reader, std::uint64_t offset,
                          std::uint64_t end, Outbox& out) {
    Download* download = impl_->find(digest);
    if (download == nullptr) return;
    download->add_reader(reader, offset, end);
    impl_->settle(now, *download, out);
}

void Transfer::move_reader(Instant now, const Digest& digest, ReaderId reader, std::uint64_t offset,
                           Outbox& out) {
    Download* download = impl_->find(digest);
    if (download == nullptr) return;
    download->move_reader(reader, offset);
    impl_->settle(now, *download, out);
}

void Transfer::drop_reader(Instant now, const Digest& digest, ReaderId reader, Outbox& out) {
    Download* download = impl_->find(digest);
    if (download == nullptr) return;
    download->drop_reader(reader);
    impl_->settle(now, *download, out);
}

void Transfer::on_message(Instant now, NodeId from, const wire::TransferMessage& message, Outbox& out) {
    const std::size_t begin = out.size();
    if (from == impl_->context.self) return;
    const Digest* touched = impl_->dispatch(now, from, message, out);
    if (touched == nullptr) return;
    if (Download* download = impl_->find(*touched)) impl_->settle(now, *download, out);
    impl_->keep_chains(out, begin);
}

void Transfer::on_link_down(Instant now, NodeId node, Outbox& out) { impl_->node_gone(now, node, out); }

void Transfer::on_chunk(Instant now, NodeId from, RequestId request, const Digest& digest, ChunkIndex,
                        ChunkOutcome outcome, std::uint64_t bytes, Outbox& out) {
    const std::size_t begin = out.size();
    impl_->context.peer(from).bytes_in += bytes;
    Download* download = impl_->find(digest);
    if (download == nullptr) return;
    download->on_chunk(now, from, request, outcome, bytes, out);
    // A place came free that any download may take.
    for (auto& [other, waiting] : impl_->downloads) waiting->idle = false;
    impl_->settle(now, *download, out);
    impl_->keep_chains(out, begin);
}

void Transfer::on_bytes(Instant now, NodeId from, RequestId request, std::uint64_t n) {
    for (auto& [digest, download] : impl_->downloads) {
        if (!download->on_bytes(now, from, request, n)) continue;
        download->idle = false;
        return;
    }
}

void Transfer::on_complete_blob(Instant now, const Digest& digest, std::uint64_t size, Outbox& out) {
    Download* download = impl_->find(digest);
    if (download == nullptr) return;
    // Whole by another way: neighbours learn it as from a download that ended well.
    if (!download->size() || *download->size() == size) impl_->seeder.adopt(now, digest, size, download->swarm());
    for (const auto& [node, neighbour] : download->swarm().all()) {
        wire::Map map;
        map.digest = digest;
        map.size = size;
        map.complete = true;
        map.chunks = ChunkMap(ChunkGrid(size).count(), true);
        impl_->context.send(out, node, std::move(map));
    }
    download->stop_quietly(out);
    impl_->downloads.erase(digest);
    for (auto& [other, waiting] : impl_->downloads) waiting->idle = false;
    impl_->fill(now, out);
}

void Transfer::on_blob_gone(Instant now, const Digest& digest, Outbox& out) {
    impl_->uploader.on_blob_gone(now, digest, out);
    impl_->seeder.on_blob_gone(digest, out);
    impl_->chains.forget(digest);
}

void Transfer::on_chain(Instant, const Digest& digest, Result<Chain> chain, Outbox& out) {
    impl_->chains.on_chain(digest, chain, out);
}

void Transfer::on_served(Instant now, NodeId to, RequestId request, bool ok, Outbox& out) {
    const auto served = impl_->uploader.on_served(now, to, request, out);
    if (!served) return;
    if (ok) impl_->context.peer(to).bytes_out += served->bytes;
    impl_->seeder.on_served(now, to, served->digest, served->chunk, ok, impl_->uploader.chunk_time(), out);
}

void Transfer::on_serve_blocked(Instant now, NodeId to, RequestId request, bool blocked, Outbox& out) {
    impl_->uploader.on_blocked(now, to, request, blocked, out);
}

void Transfer::on_deadline(Instant now, Outbox& out) {
    const std::size_t begin = out.size();
    impl_->ran = now;
    std::vector<NodeId> gone;
    for (auto& [node, peer] : impl_->context.peers) {
        const Instant since = peer.silent_since();
        if (since == Instant::never()) continue;
        if (now >= since + impl_->context.options.drop_after) {
            gone.push_back(node);
        } else if (!peer.moved() && now >= since + impl_->context.options.silent_after) {
            peer.put_on_probation(now, kNextTrial);
            for (auto& [digest, download] : impl_->downloads) download->on_node_silent(now, node, out);
        }
    }
    for (const NodeId& node : gone) {
        out.push_back(DropLink{node, "no byte for 2 s on outstanding chunks"});
        impl_->node_gone(now, node, out);
    }
    impl_->seeder.on_deadline(now, out);
    impl_->settle_all(now, out);
    impl_->keep_chains(out, begin);
}

Instant Transfer::next_deadline() const {
    Instant next = impl_->seeder.next_deadline();
    for (const auto& [digest, download] : impl_->downloads) next = std::min(next, download->next_deadline());
    for (const auto& [node, peer] : impl_->context.peers) {
        const Instant since = peer.silent_since();
        if (since == Instant::never()) continue;
        const Options& options = impl_->context.options;
        next = std::min(next, since + (peer.moved() ? options.drop_after : options.silent_after));
    }
    return next == Instant::never() ? next : std::max(next, impl_->ran + kDeadlineStep);
}

bool Transfer::downloading(const Digest& digest) const { return impl_->find(digest) != nullptr; }

std::size_t Transfer::active_downloads() const { return impl_->downloads.size(); }

std::uint64_t Transfer::progress(const Digest& digest) const { return verified_run(digest, 0); }

std::uint64_t Transfer::verified_run(const Digest& digest, std::uint64_t offset) const {
    const Download* download = impl_->find(digest);
    return download == nullptr ? offset : download->verified_run(offset);
}

std::optional<BlobStatus> Transfer::status(const Digest& digest) const {
    const Download* download = impl_->find(digest);
    if (download == nullptr) return {};
    return download->status();
}

std::vector<BlobStatus> Transfer::downloads() const {
    std::vector<BlobStatus> all;
    for (const auto& [digest, download] : impl_->downloads) all.push_back(download->status());
    return all;
}

std::vector<PeerTotals> Transfer::peers(Instant now) const {
    std::vector<PeerTotals> all;
    for (const auto& [node, peer] : impl_->context.peers) {
        all.push_back({node, peer.bytes_in, peer.bytes_out, peer.rtt(), peer.quarantined(now)});
    }
    return all;
}

}  // namespace fastreg::transfer
