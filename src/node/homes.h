// Copies of pushed blobs: which nodes keep them, asking them to, and replacing homes that are gone
// (docs/PROTOCOL.md, "Homes"). A home keeps a durable, verified copy and says so in its own meta.db and in
// the directory; only homes count as copies. Loop thread only.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "node/downloads.h"
#include "node/parts.h"
#include "wire/node.h"

namespace fastreg::node {

struct Copies {
    std::size_t kept = 0;    // homes, this node included when it is one
    std::size_t wanted = 0;  // `replicas`, or fewer when there are fewer members alive
    std::vector<std::string> missing;  // names of the members that did not answer
    [[nodiscard]] bool enough() const { return kept >= wanted; }
};

class Homes {
  public:
    using Done = std::function<void(Copies)>;

    Homes(Parts& parts, Downloads& downloads)
        : parts_(parts), downloads_(downloads), next_request_(first_request(parts.epoch)) {}

    /// Calls `done` when the blob is on as many homes as wanted, or at `deadline` with what there is.
    /// Asking again is harmless. This node becomes a home when it has the blob.
    void ensure(const Digest& digest, std::uint64_t size, Instant deadline, Done done);

    /// Calls `done` when as many others as wanted have acknowledged that they are homes of it, this node not counted.
    /// Not while placing(digest).
    void release(const Digest& digest, std::uint64_t size, Instant deadline, Done done);
    [[nodiscard]] bool placing(const Digest& digest) const { return placings_.contains(digest); }
    /// Members that its copies wait for, with what they said; by name.
    [[nodiscard]] std::vector<std::string> waits_for(const Digest& digest) const;
    /// Copies are being made, for this node or for others.
    [[nodiscard]] bool busy() const { return !placings_.empty() || !keeping_.empty(); }
    /// This node leaves: who asks it to be a home is refused, and it looks over nothing more.
    void take_no_more() { leaving_ = true; }

    /// A home that lost its bytes fetches them from another one, however long that takes.
    void restore(const Digest& digest, std::uint64_t size);

    /// What an earlier run pushed or kept may have too few copies: it counts as such until it was looked over.
    void on_start();
    void on_message(NodeId from, const wire::NodeMessage& message);
    void on_member(const Member& member);
    void on_found(const directory::Found& found);
    void on_lookup_failed(const directory::LookupFailed& failed);
    void on_deadline(Instant now);
    [[nodiscard]] Instant next_deadline() const;

    /// Blobs pushed here, or kept here as a home, with fewer copies than `replicas` as far as this run knows.
    /// After a start, and after a leave, they all count until they were looked over; one that lost its bytes here
    /// until it has them again and was looked over.
    [[nodiscard]] std::size_t under_replicated() const { return short_.size(); }
    /// A copy here is being made one that counts, or looked for.
    [[nodiscard]] bool wants(const Digest& digest) const;

  private:
    struct Asked {
        RequestId request = 0;
        Instant again;  // when an answer is overdue
    };
    struct Placing {
        std::uint64_t size = 0;
        bool here = false;         // this node is a home
        bool here_asked = false;
        bool looked_up = false;
        bool look_first = false;   // others may be homes already, though this node has the blob
        bool looked_over = false;  // the first to wait is the look-over
        bool release = false;      // this node is to be no home any more
        std::set<NodeId> homes;    // others
        std::map<NodeId, Asked> asked;
        std::set<NodeId> refused;  // not asked again before `again`
        std::map<NodeId, std::string> refusals;  // what those who have not kept it said last
        Instant again = Instant::never();  // what failed is tried anew
        std::vector<std::pair<Instant, Done>> waiters;
    };

    /// An answer to an earlier run of this node is none to this one.
    [[nodiscard]] static RequestId first_request(BootEpoch epoch) { return (epoch & 0xffff) << 32U; }
    void advance(const Digest& digest, Placing& placing);
    void ask(const Digest& digest, Placing& placing, const NodeId& node);
    [[nodiscard]] std::vector<std::string> missing(const Placing& placing) const;
    [[nodiscard]] bool may_ask(const Placing& placing, const NodeId& node) const;
    /// `holder`: who is known to have it, besides whom the directory knows.
    void become_home(const Digest& digest, std::uint64_t size, std::optional<NodeId> holder,
                     std::function<void(Status)> done);
    void finish(std::map<Digest, Placing>::iterator at, bool late);
    void on_gone(const Member& member);
    /// There is reason to look these over, once it is quiet in the mesh.
    void doubt(const std::set<Digest>& digests);
    void doubt_own();
    void settle_doubts(Instant now);
    [[nodiscard]] bool anybody_away() const;
    void enqueue(const Digest& digest, Instant due);
    void look_over_some(Instant now);
    void look_over(const Digest& digest, std::uint64_t size);
    /// Homes there should be; `elsewhere`: beside this node.
    [[nodiscard]] std::size_t wanted(bool elsewhere = false) const;

    Parts& parts_;
    Downloads& downloads_;
    std::map<Digest, Placing> placings_;
    std::map<directory::LookupId, Digest> lookups_;
    bool leaving_ = false;
    std::map<NodeId, Instant> leavers_;  // members that said that they leave, and until when that is believed
    std::set<Digest> short_;
    std::map<NodeId, Instant> gone_;  // when the copies of a member that is away are to be replaced
    std::set<NodeId> met_;            // reachable
    std::set<Digest> unsure_;         // to be looked over when nobody is away for a moment only
    Instant unsure_since_ = Instant::never();  // the first of them
    Instant settle_at_ = Instant::never();
    std::set<std::pair<Instant, Digest>> queue_;  // to be looked over, a few at a time, in the order they are due
    std::map<Digest, Instant> queued_;            // the same
    std::size_t looking_over_ = 0;
    std::map<Digest, std::pair<std::uint64_t, Instant>> lost_;  // size, when to try again
    std::map<std::pair<NodeId, Digest>, RequestId> keeping_;  // who waits for these copies
    RequestId next_request_;
};

}  // namespace fastreg::node
