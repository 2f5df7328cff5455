// Which links to hold open: the neighbours on a few rings, each ring an order of its own of all live
// members by hash. Two nodes with the same table agree on every link without a word, every ring is
// connected, and a few random rings together mix as fast as a random graph. Pure.
#pragma once

#include <vector>

#include "gossip/table.h"

namespace fastreg::gossip {

/// Two neighbours on each of `rings`, and two more on a ring of the own zone; sorted, without self.
[[nodiscard]] std::vector<NodeId> wanted_links(const Table& table, std::size_t rings);

}  // namespace fastreg::gossip
