// The clocks of suspected members: the more independent accusers, the sooner a suspect is dead
// (Lifeguard, "dynamic suspicion timeouts"). A value inside the gossip core.
#pragma once

#include <map>
#include <set>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/instant.h"
#include "gossip/options.h"

namespace fastreg::gossip {

class Suspicions {
  public:
    explicit Suspicions(const Options& options) : options_(options) {}

    /// Restarts the clock of `subject`. `live`: members that could accuse, self counted.
    void start(Instant now, NodeId subject, NodeId accuser, std::size_t live);
    /// Another accuser. True when it is new and brings the end nearer: worth telling on.
    bool confirm(Instant now, NodeId subject, NodeId accuser);
    void cancel(NodeId subject);
    /// Takes out whose time is over, in order.
    [[nodiscard]] std::vector<NodeId> expired(Instant now);
    [[nodiscard]] Instant next_deadline() const;
    /// This node slept: nobody is to blame for that time.
    void postpone(Duration slept);
    [[nodiscard]] bool has(NodeId subject) const { return clocks_.contains(subject); }
    [[nodiscard]] std::size_t size() const { return clocks_.size(); }

    /// Shortest and longest time at `live` members.
    [[nodiscard]] static std::pair<Duration, Duration> range(const Options& options, std::size_t live);

  private:
    struct Clock {
        Instant begin;
        Instant end;
        Duration min{};
        Duration max{};
        unsigned wanted = 0;  // confirmations that bring the end down to min
        std::vector<NodeId> accusers;
    };
    Options options_;
    std::map<NodeId, Clock> clocks_;
    std::set<std::pair<Instant, NodeId>> order_;
};

}  // namespace fastreg::gossip
