#include "directory/mesh.h"

#include <algorithm>

#include "base/hash.h"

namespace fastreg::directory {

namespace {
constexpr std::size_t kWholeForSure = 8;
}

std::string_view Mesh::zone_of(const NodeId& node) const {
    const Member* member = table.find(node);
    return member == nullptr ? std::string_view{} : std::string_view(member->zone);
}

std::vector<Holder> Mesh::choose(std::vector<Holder> holders, const NodeId& asker, Intent intent,
                                 std::size_t limit) {
    std::erase_if(holders, [&](const Holder& h) {
        return h.node == asker || !table.reachable(h.node);
    });
    rng.shuffle(holders);
    const auto zone = zone_of(asker);
    const auto far = [&](const Holder& h) { return zone_of(h.node) != zone; };
    const auto near_first = [&](const Holder& a, const Holder& b) { return far(a) < far(b); };
    std::ranges::stable_sort(holders, near_first);
    if (intent == Intent::ask) {
        std::ranges::stable_partition(holders, [](const Holder& h) { return h.kind == HolderKind::home; });
        holders.resize(std::min(holders.size(), limit));
        return holders;
    }
    if (holders.size() > limit) {
        // A swarm of beginners without anybody who has the whole blob could not finish.
        const auto end = std::stable_partition(holders.begin(), holders.end(), [&](const Holder& h) {
            return h.kind >= HolderKind::cache;
        });
        const auto whole = static_cast<std::size_t>(end - holders.begin());
        const auto kept = std::min({whole, kWholeForSure, limit});
        const auto split = holders.begin() + static_cast<std::ptrdiff_t>(kept);
        std::vector<Holder> rest(split, holders.end());
        holders.erase(split, holders.end());
        rng.shuffle(rest);
        std::ranges::stable_sort(rest, near_first);
        rest.resize(limit - kept);
        holders.insert(holders.end(), rest.begin(), rest.end());
        std::ranges::stable_sort(holders, near_first);
    }
    return holders;
}

std::uint64_t entry_hash(const Digest& digest, HolderKind kind) {
    const auto seed = static_cast<std::uint64_t>(digest.alg) << 8U | static_cast<std::uint64_t>(kind);
    return xxh3_64(digest.bytes(), seed);
}

}  // namespace fastreg::directory
