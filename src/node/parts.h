// The cores of one node and their outboxes, shared by the files that connect them. Loop thread only.
#pragma once

#include <functional>
#include <string>

#include "base/owners.h"
#include "directory/directory.h"
#include "gossip/gossip.h"
#include "node/meters.h"
#include "node/net.h"
#include "repo/repo.h"
#include "store/store.h"
#include "transfer/transfer.h"

namespace fastreg::node {

struct CoreOptions {
    std::string name;
    std::string zone;
    Endpoint gossip;    // as others reach them
    Endpoint transfer;
    Endpoint rdma;
    Endpoint http;
    std::size_t replicas = 2;
    std::size_t open_blobs = 1024;  // files kept open for peers
    Meters* meters = nullptr;  // none in the simulator
    gossip::Options gossip_options;
    directory::Options directory_options;
    repo::Options repo_options;
    transfer::Options transfer_options;
};

struct Parts {
    Net& net;
    store::Store& store;
    const NodeId self;
    const BootEpoch epoch;
    const CoreOptions options;

    Owners owners;  // of homes: every member, by the shard of a digest
    gossip::Gossip gossip;
    directory::Directory directory;
    repo::Repo repo;
    transfer::Transfer transfer;

    gossip::Outbox gossip_out;
    directory::Outbox directory_out;
    repo::Outbox repo_out;
    transfer::Outbox transfer_out;

    /// Carries out what is in the outboxes; to be called after every event that came from outside.
    std::function<void()> drain;

    [[nodiscard]] Instant now() const { return net.now(); }
    /// nullptr for an unknown node.
    [[nodiscard]] const Member* member(NodeId id) const { return gossip.find(id); }
    [[nodiscard]] Endpoint transfer_address(NodeId id) const {
        const Member* found = member(id);
        return found == nullptr ? Endpoint{} : found->transfer;
    }
    /// A frame on a link of purpose `directory`; false for an unknown node.
    bool send_directory(NodeId to, wire::Frame frame) {
        const Member* found = member(to);
        if (found == nullptr) return false;
        net.send_control(to, found->gossip, wire::Purpose::directory, std::move(frame));
        return true;
    }
};

}  // namespace fastreg::node
