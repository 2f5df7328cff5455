// Who is to blame for what does not hold: the sender of a chunk or the giver of the chain.
#include <utility>

#include "transfer/download.h"
#include "transfer/download_times.h"

namespace fastreg::transfer {

void Download::on_bad_chunk(Instant now, const NodeId& from, ChunkIndex chunk, Outbox& out) {
    auto& senders = bad_[chunk];
    senders.insert(from);
    const bool again = senders.size() >= 2;
    const auto giver = trust_.givers().find(from);
    const bool gave_chain = giver != trust_.givers().end();
    if (trust_.givers().empty() || (gave_chain && giver->second)) {
        // Our own links, or those that the sender had to make itself: no doubt. One that passed links on
        // may have been deceived and know better by now.
        blame(now, from, "chunk " + std::to_string(chunk) + " does not have the links of the chain", out);
        senders.erase(from);
    } else {
        shun(now, from, out);  // named once the chain is known to be right
    }
    if (again) {  // two that cannot both be wrong: so is the chain
        blame_chain(now, trust_.givers(), out);
    } else if (gave_chain) {  // no longer believed; others may give the same chain and be right
        blame_chain(now, {*giver}, out);
    }
}

void Download::name_suspects(ChunkIndex chunk, Outbox& out) {
    const auto bad = bad_.extract(chunk);
    if (!bad) return;
    for (const NodeId& sender : bad.mapped()) {
        name(sender, "chunk " + std::to_string(chunk) + " does not have the links of the chain", out);
    }
}

/// Who is named is told: it may not know that its disk has failed it.
void Download::name(const NodeId& node, std::string why, Outbox& out) {
    ++context_.peer(node).named;
    out.push_back(Blame{node, digest_, std::move(why)});
    context_.send(out, node, wire::Doubt{digest_});
}

void Download::blame(Instant now, const NodeId& node, std::string why, Outbox& out) {
    name(node, std::move(why), out);
    shun(now, node, out);
}

void Download::shun(Instant now, const NodeId& node, Outbox& out) {
    context_.peer(node).quarantine(now, context_.options);
    remove_neighbour(now, node, kRedialNotHere, out);
    swarm_.ban(node);
}

void Download::absolve_suspects() {
    for (const auto& [chunk, senders] : bad_) {
        for (const NodeId& sender : senders) {
            context_.peer(sender).absolve();
            swarm_.forgive(sender);
        }
    }
    bad_.clear();
}

void Download::blame_chain(Instant now, std::map<NodeId, bool> givers, Outbox& out) {
    if (trust_.givers().empty()) return;  // our own
    limbo_links_.assign(trust_.links().begin(), trust_.links().end());
    trust_.drop(givers);
    chain_dropped(out);
    // One that only passed the links on may have been deceived itself; its word on chains is not taken.
    for (const auto& [giver, authority] : givers) {
        if (authority && !swarm_.banned(giver)) {
            blame(now, giver, "gave a chain that does not lead to the digest", out);
        }
    }
}

}  // namespace fastreg::transfer
