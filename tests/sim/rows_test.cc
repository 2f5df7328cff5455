// Rows of a repository through a loss that chance meets too rarely: an owner that missed a write, one that
// is away, and one whose disk is lost, in a mesh where a fourth node takes part.
#include <doctest/doctest.h>

#include <algorithm>

#include "base/log.h"
#include "base/mutant.h"
#include "tests/sim/rows_story.h"

namespace fastreg::sim {

std::optional<std::string> lost_disk_while_another_is_away(std::uint64_t seed) {
    log::set_level(log::Level::off);
    constexpr std::size_t kNodes = 4;
    const std::string repo = "team/app0";
    Counts counts;
    World world(seed, counts, false);
    Network network(world, NetOptions{}, kNodes);
    Nodes nodes;
    Clients clients(world, nodes, 100'000);
    for (std::size_t i = 0; i < kNodes; ++i) {
        node::CoreOptions options;
        options.name = "node" + std::to_string(i);
        nodes.push_back(std::make_unique<SimNode>(world, network, i, options));
    }
    const auto run = [&]() -> std::optional<std::string> {
        for (auto& node : nodes) {
            if (!node->start({nodes[0]->gossip()})) return "a node does not start";
        }
        world.run_for(20s);
        std::vector<std::size_t> owners;
        for (const NodeId& id : nodes[0]->core().repo().owners(repo)) {
            const auto at = std::ranges::find_if(nodes, [&](const auto& node) { return node->id() == id; });
            owners.push_back(static_cast<std::size_t>(at - nodes.begin()));
        }
        std::rotate(owners.begin(), owners.begin() + static_cast<std::ptrdiff_t>(seed % 3), owners.end());
        const std::size_t away = owners[0], missed = owners[1], lost = owners[2];
        const std::size_t fourth = 6 - away - missed - lost;
        const auto cut = [&](bool is_cut) {
            for (const std::size_t other : {away, lost, fourth}) {
                network.block(missed, other, is_cut);
                network.block(other, missed, is_cut);
            }
        };
        clients.set_tag(away, repo, "v1", false);
        world.run_for(1s);
        cut(true);
        clients.set_tag(away, repo, "v1", false);
        world.run_for(1s);
        const auto& writes = clients.keys().at({repo, "v1"});
        for (const auto& write : writes) {
            if (write.end == Instant::never()) return "a write was not acknowledged by two of three owners";
        }
        nodes[away]->power_cut();
        nodes[lost]->power_cut();
        nodes[lost]->wipe();
        cut(false);
        world.run_for(500ms);
        if (!nodes[lost]->start({nodes[missed]->gossip(), nodes[fourth]->gossip()})) return "a new disk does not start";
        // Clients::check_read() holds each answer against what was acknowledged.
        for (int second = 0; second < 20; ++second) {
            for (const auto& node : nodes) {
                if (node->running()) clients.read_tag(node->index(), repo, "v1", [](const auto&) {});
            }
            world.run_for(1s);
        }
        if (!nodes[away]->start({nodes[missed]->gossip()})) return "who was away does not start";
        world.run_for(20s);
        std::size_t seen = 0;
        for (const auto& node : nodes) {
            clients.read_tag(node->index(), repo, "v1", [&](const Result<std::optional<Digest>>& got) {
                if (got && *got == writes.back().value) ++seen;
            });
        }
        world.run_for(5s);
        if (!world.failure() && seen != kNodes) return "an acknowledged tag is not seen when all are back";
        return world.failure();
    };
    auto broken = run();
    nodes.clear();  // before the network and the clients they speak to
    return broken;
}

TEST_CASE("one owner missed a tag, one is away, one has a new disk: the tag is seen or nothing is said") {
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
        const auto broken = lost_disk_while_another_is_away(seed);
        INFO(seed);
        INFO((broken ? *broken : std::string()));
        CHECK_FALSE(broken);
    }
}

}  // namespace fastreg::sim
