// What must hold whatever happens: the cheap promises after every message, the others now and then, and
// those about the end once the faults have stopped.
#pragma once

#include <map>

#include "tests/sim/clients.h"

namespace fastreg::sim {

class Invariants {
  public:
    Invariants(World& world, Network& network, Nodes& nodes, Clients& clients);

    /// The view, the queues and the catalog of the node that an event just spoke to; after every event.
    void check_step();
    /// What costs more, of all nodes: sums recounted, who was named, pulls that hang. A few times a second.
    void check();
    /// The node has just started again on the disk it had.
    void check_durable(std::size_t node);
    /// Everybody who runs sees everybody who runs, and nobody else; else who does not.
    [[nodiscard]] std::string disagreement() const;

    /// Its disk failed, filled up or flipped: what it acknowledged alone may be gone.
    void distrust_disk(std::size_t node) { bad_disks_.insert(node); }
    [[nodiscard]] bool trusts_disk(std::size_t node) const { return !bad_disks_.contains(node); }
    /// Peers may blame it and be right.
    void expect_blame(std::size_t node) { liars_.insert(node); }
    /// Who says of whom that it lied, and it did not. At no time.
    [[nodiscard]] std::optional<std::string> names_honest() const;
    /// Who deals no more with whom that did nothing wrong. Only while a chain is in doubt.
    [[nodiscard]] std::optional<std::string> shuns_honest() const;

  private:
    struct Seen {
        std::uint64_t life = 0;
        BootEpoch epoch = 0;
        std::uint64_t incarnation = 0;
    };
    void on_sent(std::size_t node, const wire::TransferMessage& message);
    void on_heard(std::size_t node, const wire::Frame& frame, const std::function<void()>& hear);
    [[nodiscard]] std::optional<std::string> honest_with(bool (*wrong)(const transfer::PeerTotals&)) const;
    void check_sums(SimNode& node);
    void check_view(SimNode& node);
    void check_queues(SimNode& node);
    void check_catalog(SimNode& node);

    World& world_;
    Network& network_;
    Nodes& nodes_;
    Clients& clients_;
    std::map<std::pair<std::size_t, NodeId>, Seen> seen_;
    std::set<std::size_t> bad_disks_;
    std::set<std::size_t> liars_;
};

}  // namespace fastreg::sim
