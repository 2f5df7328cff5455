// Whose business a peer's message is: the download of that blob, the seeder, the uploader, or nobody's.
#include "transfer/transfer_impl.h"

namespace fastreg::transfer {

void Transfer::Impl::on_get_chunk(Instant now, const NodeId& from, const wire::GetChunk& m, Outbox& out) {
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

void Transfer::Impl::on_interest(Instant now, const NodeId& from, const wire::Interest& m, Outbox& out) {
    if (Download* download = find(m.digest)) {
        download->on_interest(now, from, m, out);
    } else if (const auto size = whole_size(m.digest)) {
        seeder.on_interest(now, from, m, *size, out);
    } else {
        context.send(out, from, wire::NotHere{0, m.digest, true});
    }
}

void Transfer::Impl::on_chain_request(const NodeId& from, const wire::ChainRequest& m, Outbox& out) {
    if (const Download* download = find(m.digest)) {
        download->on_chain_request(from, m, out);
    } else if (whole_size(m.digest) == m.size) {
        chains.on_request(from, m, out);
    } else {
        context.send(out, from, wire::ChainPage{m.digest, m.size, m.offset, {}});
    }
}

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
    if (const auto* m = std::get_if<wire::Doubt>(&message)) {
        if (context.blobs.complete_size(m->digest)) out.push_back(Doubted{from, m->digest});
        return nullptr;
    }
    return nullptr;  // Data is the driver's
}

}  // namespace fastreg::transfer
