// A node that leaves for good hands off first: every blob that it keeps for the mesh to as many others as there are
// copies wanted, and its rows to their other owners (docs/PROTOCOL.md, "Leaving"). Nothing is given up here before
// its copies elsewhere are acknowledged, so a stop in the middle loses nothing, and the next attempt goes on from
// there. Loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>

#include "node/homes.h"
#include "node/parts.h"

namespace fastreg::node {

class Handoff {
  public:
    struct Progress {
        std::size_t blobs = 0;  // to be handed off since the beginning, those that came since included
        std::size_t blobs_left = 0;
        std::uint64_t bytes = 0;
        std::uint64_t bytes_left = 0;
        std::size_t shards = 0;  // of rows
        std::size_t shards_left = 0;
        std::string waits_for;  // members that did not take a copy, or why nobody did
    };

    Handoff(Parts& parts, Homes& homes) : parts_(parts), homes_(homes) {}

    /// From now on this node takes no copy for others. It is not done while `busy` says that changes are in hand.
    /// Errc::unavailable: no other member is known that could take anything.
    [[nodiscard]] Status begin(std::function<bool()> busy);
    [[nodiscard]] bool begun() const { return begun_; }
    /// Everything is elsewhere, as far as it was looked at last.
    [[nodiscard]] bool done() const { return done_; }
    [[nodiscard]] Progress progress() const;

    void on_deadline(Instant now);
    [[nodiscard]] Instant next_deadline() const { return due_; }

  private:
    void collect();
    void go_on();
    void let_go(const Digest& digest, std::uint64_t size);
    void on_copied(const Digest& digest, std::uint64_t size, const Copies& copies);

    Parts& parts_;
    Homes& homes_;
    std::function<bool()> busy_;
    bool begun_ = false;
    bool done_ = false;
    Instant due_ = Instant::never();
    Instant rows_due_{};
    std::map<Digest, std::uint64_t> left_;  // size
    std::set<Digest> open_;                 // of those: being copied
    std::map<Digest, Instant> later_;       // of those: that nobody took, until when they wait
    std::set<Digest> handed_;
    std::uint64_t handed_bytes_ = 0;
    std::size_t shards_ = 0;
    std::string waits_for_;
};

}  // namespace fastreg::node
