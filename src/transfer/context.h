// What the parts of the transfer core share: who we are, the numbers, and what is known of every peer.
// Inside the core only.
#pragma once

#include <map>
#include <set>
#include <string>

#include "base/ids.h"
#include "base/random.h"
#include "transfer/actions.h"
#include "transfer/local_blobs.h"
#include "transfer/options.h"
#include "transfer/peer.h"

namespace fastreg::transfer {

struct Context {
    NodeId self;
    std::string zone;
    Options options;
    const LocalBlobs& blobs;
    Rng rng;
    std::map<NodeId, Peer> peers{};  // ordered: the order reaches the actions
    std::map<NodeId, std::string> zones{};
    RequestId last_request = 0;
    std::size_t in_flight = 0;     // requests that count in O
    double seconds_per_byte = 0;   // of recent chunks; the first guess of a new download's tau

    [[nodiscard]] Peer& peer(const NodeId& id) { return peers.try_emplace(id, id).first->second; }
    [[nodiscard]] const Peer* find_peer(const NodeId& id) const {
        const auto it = peers.find(id);
        return it == peers.end() ? nullptr : &it->second;
    }
    /// Unknown zones count as near: a cluster without zones is one zone.
    [[nodiscard]] bool near(const NodeId& id) const {
        const auto it = zones.find(id);
        return it == zones.end() || it->second == zone;
    }
    void send(Outbox& out, const NodeId& to, wire::TransferMessage message) const {
        out.push_back(Send{to, std::move(message)});
    }
};

}  // namespace fastreg::transfer
