// What the stories of lost rows share: a mesh where one owner of a repository missed the last write.
#pragma once

#include <array>
#include <string>

#include "net.h"

namespace fastreg::repo::test {

inline constexpr const char* kKey = "t/v";

/// A row that only two of its three owners have: old everywhere, new where `misses` does not hear.
struct Story {
    Net net;
    std::uint64_t count;
    std::string repository = "app";
    std::array<std::uint64_t, 3> owners{};  // numbers, in the order that the story wants them
    std::uint64_t misses = 0;

    Story(std::uint64_t seed, std::uint64_t nodes) : net(seed), count(nodes) {
        for (std::uint64_t n = 0; n < count; ++n) net.start(n);
        net.run_for(40s);  // owners have compared since
        repository = "app" + std::to_string(seed);
        std::size_t rank = seed % 3;
        for (auto& owner : owners) owner = number(net.at(0).core->owners(repository).at(rank++ % 3));
        misses = owners[1];
    }
    std::uint64_t number(const NodeId& id) const {
        for (std::uint64_t n = 0; n < 100; ++n) {
            if (node_id(n) == id) return n;
        }
        FAIL("no such node");
        return 0;
    }
    void write() {
        REQUIRE(net.put(owners[0], repository, {set(kKey, "old")}).has_value());
        for (std::uint64_t n = 0; n < count; ++n) {
            if (n != misses) net.cut.insert({node_id(n), node_id(misses)});
        }
        REQUIRE(net.put(owners[0], repository, {set(kKey, "new")}).has_value());
        CHECK(as_text(net.at(misses).disk.at({repository, kKey}).value) == "old");
    }
    /// Killed, and everybody has noticed: `left` is said of a node whose disk is lost.
    void lose(std::uint64_t n, MemberState state = MemberState::dead) {
        net.kill(n);
        net.declare(n, state);
    }
    /// Another disk at the same address.
    void replace(std::uint64_t n, std::uint64_t by) {
        lose(n, MemberState::left);
        net.start(by);
    }
    /// The owner that was down is there again, with what only it knows.
    void all_is_well_again() {
        net.start(owners[0]);
        net.run_for(3s);
        all_say("new");
    }
    void nobody_says(const std::string& wrong) {
        for (const auto& [id, node] : net.nodes) {
            if (!node.up) continue;
            const auto value = net.value(number(id), repository, kKey);
            CAPTURE(value);
            CHECK(value != wrong);
            CHECK_FALSE(value.empty());
        }
    }
    void all_say(const std::string& right) {
        for (const auto& [id, node] : net.nodes) {
            if (node.up) CHECK(net.value(number(id), repository, kKey) == right);
        }
    }
};

}  // namespace fastreg::repo::test
