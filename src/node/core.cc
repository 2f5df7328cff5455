// Life of the core: built, stopped, woken at deadlines, and the draining of the outboxes. What the cores
// want done is in core_members.cc, core_rows.cc and core_blobs.cc; what links bring in core_inbound.cc.
#include "node/core.h"

#include <algorithm>

namespace fastreg::node {

Core::Core(Net& net, store::Store& store, CoreOptions options, Rng rng)
    : parts_{net,
             store,
             store.identity().node,
             store.identity().boot_epoch,
             options,
             {},
             gossip::Gossip(self_of(store, options), options.gossip_options, rng.fork()),
             {store.identity().node, store.identity().boot_epoch, options.directory_options, rng.fork()},
             {store.identity().node, store.identity().boot_epoch, options.repo_options, rng.fork()},
             transfer::Transfer(store.identity().node, gossip::zone_as_seen(options.zone), options.transfer_options,
                                *this, rng.fork()),
             {},
             {},
             {},
             {},
             [this] { drain(); }},
      downloads_(parts_),
      homes_(parts_, downloads_),
      handoff_(parts_, homes_) {
    load_rows();
    store.observe({[this](const Digest& digest, const store::BlobInfo& info, store::WithdrawReason why) {
        on_withdrawn(digest, info, why);
    },
    [this] {
        if (Meters* meters = parts_.options.meters) meters->disk_full.add();
    },
    [this](const Digest& digest) { return may_evict(digest); }});
}

Core::~Core() {
    parts_.store.observe({});
}

void Core::stop() {
    save_peers();
    parts_.gossip.stop(parts_.now(), parts_.gossip_out);
    drain();
}

Status Core::hand_off(std::function<bool()> busy) {
    return handoff_.begin(std::move(busy));
}

void Core::leave() {
    parts_.gossip.leave(parts_.now(), parts_.gossip_out);
    drain();
}

void Core::on_deadline() {
    const Instant now = parts_.now();
    if (parts_.gossip.next_deadline() <= now) parts_.gossip.on_deadline(now, parts_.gossip_out);
    if (parts_.directory.next_deadline() <= now) parts_.directory.on_deadline(now, parts_.directory_out);
    if (parts_.repo.next_deadline() <= now) {
        parts_.repo.on_deadline(now, parts_.net.wall_ms(), parts_.repo_out);
    }
    if (parts_.transfer.next_deadline() <= now) parts_.transfer.on_deadline(now, parts_.transfer_out);
    if (parts_.owners.next_deadline() <= now) parts_.owners.on_deadline(now);
    if (homes_.next_deadline() <= now) homes_.on_deadline(now);
    if (handoff_.next_deadline() <= now) handoff_.on_deadline(now);
    if (parts_.store.next_deadline() <= now) parts_.store.tick(now);
    if (save_peers_at_ <= now) save_peers();
    drain();
}

void Core::drain() {
    if (draining_) return;
    draining_ = true;
    const auto run = [this](auto& box) {
        if (box.empty()) return false;
        auto batch = std::exchange(box, {});
        for (auto& action : batch) act(action);
        return true;
    };
    while (run(parts_.gossip_out) || run(parts_.directory_out) || run(parts_.repo_out) ||
           run(parts_.transfer_out)) {
    }
    draining_ = false;
    note_caught_up();
    note_whole();
    arm();
}

void Core::arm() {
    Instant next = std::min({parts_.gossip.next_deadline(), parts_.directory.next_deadline(),
                             parts_.repo.next_deadline(), parts_.transfer.next_deadline(),
                             parts_.owners.next_deadline(), homes_.next_deadline()});
    next = std::min({next, parts_.store.next_deadline(), save_peers_at_, handoff_.next_deadline()});
    parts_.net.set_deadline(next);
}

}  // namespace fastreg::node
