// Each promise as a loop over the nodes.
#include "tests/sim/invariants.h"

#include <algorithm>

#include "wire/gossip.h"

namespace fastreg::sim {

namespace {

constexpr std::size_t kOpenRequestsMax = 2'000;  // of so few clients: more means that some never end

std::string blob_path(const Digest& digest) {
    const std::string hex = digest.hex();
    return std::string(kDataDir) + "/blobs/" + std::string(name_of(digest.alg)) + "/" + hex.substr(0, 2) + "/" + hex;
}

}  // namespace

Invariants::Invariants(World& world, Network& network, Nodes& nodes, Clients& clients)
    : world_(world), network_(network), nodes_(nodes), clients_(clients) {
    network_.watch.sends = [this](std::size_t node, const wire::TransferMessage& message) {
        on_sent(node, message);
    };
    network_.watch.hears = [this](std::size_t node, const wire::Frame& frame, const std::function<void()>& hear) {
        on_heard(node, frame, hear);
    };
}

/// "A peer is never told of a chunk whose link was not checked."
void Invariants::on_sent(std::size_t node, const wire::TransferMessage& message) {
    const auto* have = std::get_if<wire::Have>(&message);
    if (have == nullptr) return;
    const auto status = nodes_[node]->core().transfer().status(have->digest);
    if (!status || nodes_[node]->store().find(have->digest)) return;
    for (const ChunkIndex chunk : have->chunks) {
        if (chunk < status->chunks.count() && status->chunks.has(chunk)) continue;
        world_.broken("node " + std::to_string(node) + " tells of chunk " + std::to_string(chunk) +
                      " before it is verified");
    }
}

/// "A death learned by comparing tables is a suspicion until the subject had its say."
void Invariants::on_heard(std::size_t node, const wire::Frame& frame, const std::function<void()>& hear) {
    std::vector<NodeId> alive;
    const auto sync_type = wire::encode(wire::GossipMessage{wire::SyncBuckets{}, {}}).type;
    if (frame.type == sync_type) {
        const auto message = wire::decode_gossip(frame);
        const auto* buckets = message ? std::get_if<wire::SyncBuckets>(&message->body) : nullptr;
        if (buckets != nullptr) {
            for (const auto& claim : buckets->claims) {
                const Member* member = nodes_[node]->core().gossip().find(claim.subject.id);
                const bool rides = std::ranges::any_of(message->updates, [&](const wire::Claim& update) {
                    return update.subject.id == claim.subject.id;
                });
                if (!rides && claim.subject.state == MemberState::dead && member != nullptr &&
                    member->state == MemberState::alive) {
                    alive.push_back(claim.subject.id);
                }
            }
        }
    }
    hear();
    for (const NodeId& id : alive) {
        const Member* member = nodes_[node]->core().gossip().find(id);
        if (member != nullptr && member->state == MemberState::dead) {
            world_.broken("node " + std::to_string(node) + " takes " + id.brief() +
                          " for dead without having suspected it");
        }
    }
}

void Invariants::check_step() {
    if (world_.touched == World::kNobody || world_.failure()) return;
    SimNode& node = *nodes_[world_.touched];
    if (!node.running()) return;
    check_view(node);
    check_queues(node);
    check_catalog(node);
}

void Invariants::check() {
    for (const auto& node : nodes_) {
        if (world_.failure()) return;
        if (node->running()) check_sums(*node);
    }
    if (const auto named = names_honest()) world_.broken("an honest node is named as the one to blame: " + *named);
    clients_.check_stuck();
}

void Invariants::check_queues(SimNode& node) {
    if (node.core().repo().stats().open_requests > kOpenRequestsMax ||
        node.core().directory().stats().lookups_open > kOpenRequestsMax) {
        world_.broken("node " + std::to_string(node.index()) + " has requests that never end");
    }
}

void Invariants::check_sums(SimNode& node) {
    if (const auto broken = node.core().gossip().broken_invariant()) {
        world_.broken("gossip of node " + std::to_string(node.index()) + ": " + *broken);
    }
}

void Invariants::check_view(SimNode& node) {
    const auto& gossip = node.core().gossip();
    for (const Member& member : gossip.members()) {
        Seen& seen = seen_[{node.index(), member.id}];
        if (seen.life == node.life() &&
            (member.boot_epoch < seen.epoch ||
             (member.boot_epoch == seen.epoch && member.incarnation < seen.incarnation))) {
            world_.broken("node " + std::to_string(node.index()) + " sees " + member.name +
                          " go back to epoch " + std::to_string(member.boot_epoch) + ", incarnation " +
                          std::to_string(member.incarnation));
        }
        seen = {node.life(), member.boot_epoch, member.incarnation};
        // What a member says of itself is the most that anybody may believe.
        for (const auto& subject : nodes_) {
            if (!subject->running() || subject->id() != member.id) continue;
            const Member& self = subject->core().gossip().self();
            if (member.boot_epoch == self.boot_epoch && member.incarnation > self.incarnation) {
                world_.broken("node " + std::to_string(node.index()) + " sees " + member.name +
                              " in an incarnation it never had");
            }
        }
    }
}

void Invariants::check_catalog(SimNode& node) {
    const auto& blobs = clients_.blobs();
    if (blobs.empty()) return;
    const BlobTruth& blob = blobs[world_.rng.below(blobs.size())];
    const auto info = node.store().find(blob.digest);
    if (!info) return;
    if (info->size != blob.bytes.size()) world_.broken("a blob is listed with another size");
    const auto file = node.fs().stat(blob_path(blob.digest));
    if (!file && file.error().code != Errc::not_found) return;
    if (!file || file->size != info->size) {
        world_.broken("node " + std::to_string(node.index()) + " lists " + blob.digest.brief() +
                      " and has no such file");
    }
}

void Invariants::check_durable(std::size_t index) {
    if (bad_disks_.contains(index)) return;
    SimNode& node = *nodes_[index];
    for (const BlobTruth& blob : clients_.blobs()) {
        const auto promised = blob.durable_at.find(index);
        if (promised == blob.durable_at.end() || promised->second != node.disk_life()) continue;
        const auto info = node.store().find(blob.digest);
        if (!info || info->size != blob.bytes.size()) {
            world_.broken("node " + std::to_string(index) + " acknowledged " + blob.digest.brief() +
                          " and came back without it");
            continue;
        }
        if (node.fs().contents(blob_path(blob.digest)) != blob.bytes) {
            world_.broken("node " + std::to_string(index) + " acknowledged " + blob.digest.brief() +
                          " and came back with other bytes");
        }
    }
}

std::string Invariants::disagreement() const {
    std::map<NodeId, const SimNode*> running;
    for (const auto& node : nodes_) {
        if (node->running()) running[node->id()] = node.get();
    }
    for (const auto& [viewer_id, viewer] : running) {
        std::size_t found = 0;
        for (const Member& member : viewer->core().gossip().members()) {
            const auto subject = running.find(member.id);
            if (subject == running.end()) {
                if (member.reachable()) return viewer_id.brief() + " still counts on " + member.id.brief();
                continue;
            }
            const Member& self = subject->second->core().gossip().self();
            if (member.state != MemberState::alive) {
                return viewer_id.brief() + " takes " + member.id.brief() + " for " +
                       std::string(name_of(member.state));
            }
            if (member.boot_epoch != self.boot_epoch || member.gossip != self.gossip) {
                return viewer_id.brief() + " knows an older " + member.id.brief();
            }
            ++found;
        }
        if (found + 1 == running.size()) continue;
        std::string known;
        for (const Member& member : viewer->core().gossip().members()) {
            known += " " + member.id.brief() + " at " + member.gossip.str() + " " + std::string(name_of(member.state));
        }
        return viewer_id.brief() + " does not know everybody:" + known;
    }
    return {};
}

std::optional<std::string> Invariants::honest_with(bool (*wrong)(const transfer::PeerTotals&)) const {
    for (const auto& node : nodes_) {
        if (!node->running()) continue;
        for (const auto& peer : node->core().transfer().peers(world_.now())) {
            if (!wrong(peer)) continue;
            for (const auto& accused : nodes_) {
                if (accused->id() != peer.node || liars_.contains(accused->index())) continue;
                return "node " + std::to_string(accused->index()) + " by node " + std::to_string(node->index());
            }
        }
    }
    return std::nullopt;
}

std::optional<std::string> Invariants::names_honest() const {
    return honest_with([](const transfer::PeerTotals& peer) { return peer.named > 0; });
}

std::optional<std::string> Invariants::shuns_honest() const {
    return honest_with([](const transfer::PeerTotals& peer) { return peer.quarantined; });
}

}  // namespace fastreg::sim
