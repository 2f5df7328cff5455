// The core's parts and what joins them. Inside the core only; the facade (transfer.h) documents the events.
#pragma once

#include <map>
#include <memory>
#include <optional>

#include "transfer/chain_server.h"
#include "transfer/context.h"
#include "transfer/download.h"
#include "transfer/seeder.h"
#include "transfer/transfer.h"
#include "transfer/uploader.h"

namespace fastreg::transfer {

struct Transfer::Impl {
    Context context;
    ChainServer chains;
    Uploader uploader;
    Seeder seeder;
    std::map<Digest, std::unique_ptr<Download>> downloads;
    std::size_t turn = 0;
    Instant ran{};

    Impl(NodeId self, std::string zone, Options options, const LocalBlobs& blobs, Rng rng);

    // transfer_schedule.cc
    Download* find(const Digest& digest);
    const Download* find(const Digest& digest) const;
    /// Of a blob that is whole here.
    std::optional<std::uint64_t> whole_size(const Digest& digest) const;
    /// What follows every event that touched `download`; it may be gone afterwards.
    void settle(Instant now, Download& download, Outbox& out);
    void settle_all(Instant now, Outbox& out);
    /// Something changed that may let any download ask for more.
    void wake_all();
    /// Shares the free places of the pipeline among the downloads.
    void fill(Instant now, Outbox& out);
    bool has_room(const Download& download) const;
    /// Takes away what ended; a blob that came whole is served from now on.
    void reap(Instant now, Outbox& out);
    /// Tells the download's neighbours that the blob is whole here.
    void announce_whole(const Download& download, std::uint64_t size, Outbox& out);
    /// Chains of what completed since action `from` are kept to be given to others.
    void keep_chains(const Outbox& out, std::size_t from);
    void node_gone(Instant now, const NodeId& node, Outbox& out);

    // transfer_messages.cc
    void on_get_chunk(Instant now, const NodeId& from, const wire::GetChunk& m, Outbox& out);
    void on_interest(Instant now, const NodeId& from, const wire::Interest& m, Outbox& out);
    void on_chain_request(const NodeId& from, const wire::ChainRequest& m, Outbox& out);
    /// The digest whose download was touched, if any.
    const Digest* dispatch(Instant now, const NodeId& from, const wire::TransferMessage& message, Outbox& out);
};

}  // namespace fastreg::transfer
