// The claims that ride on every message until they were sent often enough. A newer claim about a member
// replaces the older one. A value inside the gossip core.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <tuple>
#include <vector>

#include "base/ids.h"
#include "wire/gossip.h"

namespace fastreg::gossip {

class Broadcasts {
  public:
    void add(wire::Claim claim);
    void forget(NodeId subject);
    void clear();
    /// The claims least often sent, newest first, within `bytes`; each counts as sent once more and is
    /// dropped after `transmits` times. Claims about `not_about` stay for others.
    [[nodiscard]] std::vector<wire::Claim> take(std::size_t bytes, unsigned transmits,
                                                NodeId not_about = {});
    [[nodiscard]] bool empty() const { return queue_.empty(); }
    [[nodiscard]] std::size_t size() const { return queue_.size(); }
    [[nodiscard]] bool has(NodeId subject) const { return queue_.contains(subject); }

  private:
    struct Entry {
        wire::Claim claim;
        std::size_t size = 0;
        unsigned sent = 0;
        std::uint64_t number = 0;
    };
    using Order = std::tuple<unsigned, std::uint64_t, NodeId>;  // sent, newest first, subject
    [[nodiscard]] static Order order_of(const Entry& entry);

    std::map<NodeId, Entry> queue_;
    std::set<Order> order_;
    std::uint64_t number_ = 0;
};

/// How often each claim is sent: mult * ceil(log10(live + 1)).
[[nodiscard]] unsigned transmit_limit(unsigned mult, std::size_t live);

}  // namespace fastreg::gossip
