#include "repo/readiness.h"

#include <algorithm>

#include "base/mutant.h"

namespace fastreg::repo {

namespace {

constexpr std::size_t kVoicesNeeded = 2;  // of three owners; any two hold every acknowledged row
constexpr std::size_t kVoicesAsked = 5;   // next in rank; one more for each that knows nothing itself,
constexpr std::size_t kVoicesMax = 12;    // having joined together with this node
constexpr std::size_t kSmallMesh = 2;     // others: nobody else could have the rows

}  // namespace

void Readiness::begin(const Mesh& mesh, ShardId shard, const std::vector<NodeId>& before) {
    ready_ = firm_ = remembered_ = false;
    heard_.clear();
    stood_.clear();
    for (const auto& node : before) {
        if (node != mesh.self && std::ranges::find(voices_, node) == voices_.end()) voices_.push_back(node);
    }
    look_again(mesh, shard);
}

void Readiness::look_again(const Mesh& mesh, ShardId shard) {
    std::erase_if(voices_, [&](const NodeId& node) { return mesh.table.find(node) == nullptr; });
    const auto add = [&](const NodeId& node) {
        if (node != mesh.self && std::ranges::find(voices_, node) == voices_.end()) voices_.push_back(node);
    };
    const auto empty = std::ranges::count_if(heard_, [](const auto& heard) { return heard.second == Voice::none; });
    const auto limit = std::min(kVoicesAsked + static_cast<std::size_t>(empty), kVoicesMax) + 1;
    if (mesh.table.candidates().size() <= limit) {  // no need to weigh them
        for (const auto& node : mesh.table.candidates()) add(node);
    } else {
        for (const auto& node : mesh.table.ranked(shard, limit)) add(node);
    }
}

void Readiness::hear(const NodeId& node, Voice voice) {
    if (firm_) return;
    auto& heard = heard_[node];
    heard = std::max(heard, voice);
}

bool Readiness::lacks(const NodeId& node) const {
    return !firm_ && !heard_.contains(node) && std::ranges::find(voices_, node) != voices_.end();
}

std::vector<NodeId> Readiness::to_ask(const Mesh& mesh) const {
    std::vector<NodeId> nodes;
    if (firm_) return nodes;
    for (const auto& node : voices_) {
        const auto heard = heard_.find(node);
        const bool enough = heard != heard_.end() && (ready_ || heard->second == Voice::vouched);
        if (!enough && mesh.table.reachable(node)) nodes.push_back(node);
    }
    return nodes;
}

bool Readiness::back_together(const Mesh& mesh, ShardId shard) const {
    const auto missing = std::ranges::count_if(voices_, [&](const NodeId& node) {
        return !heard_.contains(node) && mesh.table.find(node) != nullptr;
    });
    const bool two = std::ranges::any_of(stood_, [&](const NodeId& node) {
        return heard_.contains(node) && mesh.table.owns(shard, node);
    });
    return two && (missing <= 1 || mutant(Mutant::two_owners_ask_nobody_else));
}

void Readiness::settle(const Mesh& mesh, ShardId shard) {
    if (firm_) return;
    if (!ready_) look_again(mesh, shard);
    const auto count = [&](Voice at_least) {
        return static_cast<std::size_t>(std::ranges::count_if(
            heard_, [&](const auto& heard) { return heard.second >= at_least; }));
    };
    const bool nobody_missing = std::ranges::all_of(voices_, [&](const NodeId& node) {
        return heard_.contains(node) || mesh.table.find(node) == nullptr;
    });
    const std::size_t needed = mutant(Mutant::new_owner_asks_one) ? 1 : kVoicesNeeded;
    firm_ = count(Voice::vouched) + (remembered_ ? 1 : 0) >= needed ||
            (nobody_missing && heard_.size() >= kVoicesNeeded);
    // Of a small mesh all but one may be dead: the word of the one that is left is taken until they are
    // back. Nodes with new disks know nothing together.
    const auto others = mesh.table.candidates().size() - mesh.table.candidates().count(mesh.self);
    const bool survivor = others <= kSmallMesh && !heard_.empty() && (served_ || count(Voice::served) > 0);
    ready_ = firm_ || nobody_missing || survivor || kept_ || back_together(mesh, shard);
    if (firm_ || (ready_ && count(Voice::served) > 0)) served_ = true;
    if (!firm_) return;
    voices_.clear();
    heard_.clear();
    stood_.clear();
}

}  // namespace fastreg::repo
