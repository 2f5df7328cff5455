#include "transfer/chain_server.h"

#include <algorithm>

namespace fastreg::transfer {

void ChainServer::on_request(const NodeId& from, const wire::ChainRequest& message, Outbox& out) {
    const auto it = std::ranges::find(kept_, message.digest, &Entry::digest);
    if (it != kept_.end()) {
        kept_.splice(kept_.begin(), kept_, it);
        answer(from, message, &kept_.front().chain, out);
        return;
    }
    if (waiting_count_ >= kWaitingMax) {
        answer(from, message, nullptr, out);
        return;
    }
    auto& waiting = waiting_[message.digest];
    if (waiting.empty()) out.push_back(NeedChain{message.digest});
    waiting.push_back({from, message});
    ++waiting_count_;
}

void ChainServer::on_chain(const Digest& digest, const Result<Chain>& chain, Outbox& out) {
    if (chain) keep(digest, *chain);
    const auto node = waiting_.extract(digest);
    if (!node) return;
    waiting_count_ -= node.mapped().size();
    for (const Waiting& waiting : node.mapped()) {
        answer(waiting.from, waiting.ask, chain ? &*chain : nullptr, out);
    }
}

void ChainServer::keep(const Digest& digest, const Chain& chain) {
    forget(digest);
    kept_.push_front({digest, chain});
    while (kept_.size() > context_.options.chain_cache) kept_.pop_back();
}

void ChainServer::forget(const Digest& digest) {
    kept_.remove_if([&](const Entry& entry) { return entry.digest == digest; });
}

void ChainServer::answer(const NodeId& from, const wire::ChainRequest& message, const Chain* chain,
                         Outbox& out) const {
    wire::ChainPage page{message.digest, message.size, message.offset, {}};
    if (chain != nullptr) {
        const ByteView links = chain->bytes();
        if (message.offset < links.size() && message.offset % link_size(message.digest.alg) == 0) {
            const ByteView piece =
                links.subspan(message.offset, std::min(wire::kChainPageMax, links.size() - message.offset));
            page.links.assign(piece.begin(), piece.end());
        }
    }
    context_.send(out, from, std::move(page));
}

}  // namespace fastreg::transfer
