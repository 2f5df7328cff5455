// Whom to probe next, and the probes in flight, own ones and those done for others. Bookkeeping only:
// the core sends and judges. A value inside the gossip core.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <vector>

#include "base/ids.h"
#include "base/instant.h"
#include "base/random.h"

namespace fastreg::gossip {

/// A shuffled round: everyone is probed once before anyone is probed twice. A new member enters at a
/// random place, so that the time to its first probe is bounded and members do not march in step.
class ProbeRing {
  public:
    void add(NodeId id, Rng& rng);
    void remove(NodeId id);
    /// The next one; shuffles at the end of a round.
    [[nodiscard]] std::optional<NodeId> next(Rng& rng);
    [[nodiscard]] std::size_t size() const { return known_.size(); }

  private:
    std::vector<NodeId> round_;  // removed ones stay until they are met or the round ends
    std::size_t at_ = 0;
    std::set<NodeId> known_;
};

struct Probe {
    NodeId target;
    Instant sent;
    Instant deadline;
    bool warm = false;      // a link was up: the round trip may be measured
    bool indirect = false;  // the helpers were asked
    std::vector<NodeId> helpers;
    std::set<NodeId> nacks;
    NodeId replaced_by;  // known: without an answer the target is `left`, not suspect
};

/// A probe on behalf of `origin`.
struct Forward {
    NodeId origin;
    RequestId origin_sequence = 0;
    NodeId target;
    Instant nack_at;  // never() once said
    Instant end;
};

class Prober {
  public:
    ProbeRing ring;
    std::map<RequestId, Probe> probes;
    std::map<RequestId, Forward> forwards;

    [[nodiscard]] RequestId next_sequence() { return ++sequence_; }
    [[nodiscard]] bool probing(NodeId target) const;
    [[nodiscard]] Instant next_deadline() const;
    /// This node slept: answers may be waiting unread.
    void postpone(Duration slept);

  private:
    RequestId sequence_ = 0;
};

}  // namespace fastreg::gossip
