// Blobs: who holds them, which chunk comes and goes, and what the mesh is told when one arrives or is lost.
#include "base/log.h"
#include "node/core.h"
#include "wire/directory.h"

namespace fastreg::node {

void Core::act(directory::Action& action) {
    if (auto* send = std::get_if<directory::Send>(&action)) {
        if (!parts_.send_directory(send->to, wire::encode(send->message))) {
            parts_.directory.on_unreachable(parts_.now(), send->to, parts_.directory_out);
        }
    } else if (const auto* found = std::get_if<directory::Found>(&action)) {
        if (const auto ask = asks_.find(found->id); ask != asks_.end()) {
            const auto answer = std::move(ask->second);
            asks_.erase(ask);
            answer(found->size, found->holders);
            return;
        }
        downloads_.on_found(*found);
        homes_.on_found(*found);
    } else if (const auto* failed = std::get_if<directory::LookupFailed>(&action)) {
        if (const auto ask = asks_.find(failed->id); ask != asks_.end()) {
            const auto answer = std::move(ask->second);
            asks_.erase(ask);
            answer({}, {});
            return;
        }
        downloads_.on_lookup_failed(*failed);
        homes_.on_lookup_failed(*failed);
    }
}

void Core::act(transfer::Action& action) {
    namespace t = transfer;
    if (auto* send = std::get_if<t::Send>(&action)) {
        const Endpoint address = parts_.transfer_address(send->to);
        if (address.empty()) {
            parts_.transfer.on_link_down(parts_.now(), send->to, parts_.transfer_out);
        } else {
            parts_.net.send_data(send->to, address, std::move(send->message));
        }
    } else if (const auto* fetch = std::get_if<t::FetchChunk>(&action)) {
        downloads_.fetch(*fetch);
    } else if (const auto* cancel = std::get_if<t::CancelFetch>(&action)) {
        parts_.net.cancel_fetch(cancel->from, cancel->request);
    } else if (const auto* serve = std::get_if<t::ServeChunk>(&action)) {
        downloads_.serve(*serve);
    } else if (const auto* stop = std::get_if<t::CancelServe>(&action)) {
        parts_.net.cancel_serve(stop->to, stop->request);
    } else if (const auto* ask = std::get_if<t::LookUp>(&action)) {
        downloads_.look_up(*ask);
    } else if (const auto* open = std::get_if<t::OpenPartial>(&action)) {
        downloads_.open_partial(*open);
    } else if (const auto* chain = std::get_if<t::NeedChain>(&action)) {
        downloads_.need_chain(*chain);
    } else if (const auto* have = std::get_if<t::Have>(&action)) {
        downloads_.have(have->digest);
    } else if (const auto* wrong = std::get_if<t::Unverify>(&action)) {
        downloads_.unverify(*wrong);
    } else if (const auto* progress = std::get_if<t::Progress>(&action)) {
        downloads_.have(progress->digest);
    } else if (const auto* completed = std::get_if<t::Completed>(&action)) {
        downloads_.completed(*completed);
    } else if (const auto* failed = std::get_if<t::Failed>(&action)) {
        downloads_.failed(*failed);
    } else if (const auto* blame = std::get_if<t::Blame>(&action)) {
        if (Meters* meters = parts_.options.meters) meters->peers_blamed.add();
        log::warn("peer.blamed", {{"peer", blame->node.brief()},
                                  {"digest", blame->digest.brief()},
                                  {"why", blame->why}});
    } else if (const auto* hint = std::get_if<t::WrongHint>(&action)) {
        parts_.directory.on_wrong_hint(parts_.now(), hint->digest, hint->node, parts_.directory_out);
    } else if (const auto* doubted = std::get_if<t::Doubted>(&action)) {
        downloads_.doubted(doubted->digest, doubted->by);
    } else if (const auto* drop = std::get_if<t::DropLink>(&action)) {
        parts_.net.drop_data(drop->node, drop->why);
    }
}

void Core::on_pushed(const Digest& digest, std::uint64_t size) {
    const auto info = parts_.store.find(digest);  // pushed before, it may be a home already
    const auto kind = info && info->home ? directory::HolderKind::home : directory::HolderKind::cache;
    parts_.directory.on_have(parts_.now(), digest, size, kind, parts_.directory_out);
    parts_.transfer.on_complete_blob(parts_.now(), digest, size, parts_.transfer_out);
    downloads_.came_whole(digest);
    // Copying starts now; the manifest's push waits for the end of it.
    homes_.ensure(digest, size, parts_.now() + 600s, [](const Copies&) {});
    drain();
}

void Core::holders(const Digest& digest, HoldersAnswer answer) {
    const directory::LookupId id = next_ask_++;
    asks_.emplace(id, std::move(answer));
    parts_.directory.look_up(parts_.now(), id, digest, directory::Intent::ask, parts_.directory_out);
    drain();
}

void Core::remove_blob(const Digest& digest, std::function<void(Status)> done) {
    parts_.directory.on_gone(parts_.now(), digest, parts_.directory_out);
    parts_.transfer.on_blob_gone(parts_.now(), digest, parts_.transfer_out);
    downloads_.on_withdrawn(digest);
    parts_.store.remove(digest, std::move(done));
    drain();
}

void Core::on_withdrawn(const Digest& digest, const store::BlobInfo& info, store::WithdrawReason reason) {
    if (reason == store::WithdrawReason::evicted) {
        if (Meters* meters = parts_.options.meters) meters->evicted(info.size);
    } else {
        log::error("blob.withdrawn", {{"digest", digest.brief()},
                                      {"why", name_of(reason)},
                                      {"bytes", info.size},
                                      {"do", info.home ? "a copy is fetched from a peer" : "none"}});
    }
    downloads_.on_withdrawn(digest);
    parts_.directory.on_gone(parts_.now(), digest, parts_.directory_out);
    parts_.transfer.on_blob_gone(parts_.now(), digest, parts_.transfer_out);
    if (info.home) homes_.restore(digest, info.size);
    drain();
}

/// Not while a peer is sent chunks of it, or it is about to become a home here.
bool Core::may_evict(const Digest& digest) {
    if (parts_.transfer.serving(digest) || homes_.wants(digest)) return false;
    downloads_.on_withdrawn(digest);  // a file that is kept open for the next peer
    return true;
}

std::optional<std::uint64_t> Core::complete_size(const Digest& digest) const {
    const auto info = parts_.store.find(digest);
    if (!info || !info->verified) return std::nullopt;
    return info->size;
}

}  // namespace fastreg::node
