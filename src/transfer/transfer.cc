// The facade: every event of transfer.h, told to the parts it concerns.
#include "transfer/transfer.h"

#include <algorithm>

#include "transfer/transfer_impl.h"

namespace fastreg::transfer {
namespace {

/// Two deadlines are never closer than this: a missed case must not spin the loop.
constexpr Duration kDeadlineStep = 200us;
constexpr Duration kNextTrial = 1s;

}  // namespace

Transfer::Impl::Impl(NodeId self, std::string zone, Options options, const LocalBlobs& blobs, Rng rng)
    : context{self, std::move(zone), options, blobs, rng},
      chains(context), uploader(context), seeder(context) {}

Transfer::Transfer(NodeId self, std::string zone, Options options, const LocalBlobs& blobs, Rng rng)
    : impl_(std::make_unique<Impl>(self, std::move(zone), options, blobs, rng)) {}
Transfer::~Transfer() = default;
Transfer::Transfer(Transfer&&) noexcept = default;

void Transfer::on_member(Instant now, const Member& member, Outbox& out) {
    if (member.id == impl_->context.self) return;
    if (member.state == MemberState::dead || member.state == MemberState::left) {
        impl_->node_gone(now, member.id, out);
        impl_->context.zones.erase(member.id);
        if (member.state == MemberState::left) on_forgotten(member.id);
        return;
    }
    impl_->context.zones[member.id] = member.zone;
}

void Transfer::on_forgotten(const NodeId& id) {
    impl_->context.peers.erase(id);
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

void Transfer::on_holder(Instant now, const Digest& digest, const Holder& holder, Outbox& out) {
    Download* download = impl_->find(digest);
    if (download == nullptr) return;
    download->on_holder(holder);
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
    impl_->wake_all();
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

bool Transfer::on_chunk(Instant now, NodeId from, RequestId request, const Digest& digest, ChunkIndex,
                        const ChunkEnd& end, Outbox& out) {
    const std::size_t begin = out.size();
    impl_->context.peer(from).bytes_in += end.bytes;
    Download* download = impl_->find(digest);
    if (download == nullptr) return false;
    const bool awaited = download->on_chunk(now, from, request, end, out);
    // A place came free that any download may take.
    impl_->wake_all();
    impl_->settle(now, *download, out);
    impl_->keep_chains(out, begin);
    return awaited;
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
    impl_->announce_whole(*download, size, out);
    download->stop_quietly(out);
    impl_->downloads.erase(digest);
    impl_->wake_all();
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
        all.push_back({node, peer.bytes_in, peer.bytes_out, peer.rtt(), peer.quarantined(now), peer.named});
    }
    return all;
}

bool Transfer::serving(const Digest& digest) const {
    return impl_->uploader.serving(digest);
}

UploadCounts Transfer::uploads() const {
    return {impl_->uploader.active(), impl_->uploader.waiting()};
}

}  // namespace fastreg::transfer
