#include "gossip/links.h"

#include <algorithm>
#include <optional>

#include "base/hash.h"

namespace fastreg::gossip {

namespace {

using Place = std::pair<std::uint64_t, NodeId>;

Place place_of(NodeId id, std::uint64_t ring) { return {xxh3_64(id.bytes, ring), id}; }

/// The nearest before and after one place of a ring, round the end.
struct Neighbours {
    Place own;
    std::optional<Place> first, last, before, after;

    void see(const Place& place) {
        if (!first || place < *first) first = place;
        if (!last || place > *last) last = place;
        if (place < own && (!before || place > *before)) before = place;
        if (place > own && (!after || place < *after)) after = place;
    }
    void collect(std::vector<NodeId>& ids) const {
        if (!first) return;
        ids.push_back((after ? after : first)->second);
        ids.push_back((before ? before : last)->second);
    }
};

}  // namespace

std::vector<NodeId> wanted_links(const Table& table, std::size_t rings) {
    const Member& self = table.self();
    std::vector<NodeId> ids;
    if (table.reachable().size() <= 2 * (rings + 1)) {
        ids = table.reachable().ids();
        std::sort(ids.begin(), ids.end());
        return ids;
    }
    // Ring `rings` is the zone's own.
    std::vector<Neighbours> all(rings + 1);
    for (std::size_t ring = 0; ring < all.size(); ++ring) all[ring].own = place_of(self.id, ring);
    for (const NodeId& id : table.reachable().ids()) {
        for (std::size_t ring = 0; ring < rings; ++ring) all[ring].see(place_of(id, ring));
        if (!self.zone.empty() && table.find(id)->zone == self.zone) {
            all[rings].see(place_of(id, rings));
        }
    }
    for (const Neighbours& neighbours : all) neighbours.collect(ids);
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    return ids;
}

}  // namespace fastreg::gossip
