// Virtual time: a queue of events, a seeded source of chance, a hash of all that happened, and the first
// promise that was broken. Nothing else drives time in the simulator; one seed is one run.
#pragma once

#include <array>
#include <cstdio>
#include <functional>
#include <map>
#include <optional>
#include <queue>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "base/instant.h"
#include "base/random.h"

namespace fastreg::sim {

/// How often each fault and each message happened, over many seeds.
using Counts = std::map<std::string, std::uint64_t>;

class World {
  public:
    World(std::uint64_t seed, Counts& counts, bool print)
        : rng(seed * 0x9e3779b97f4a7c15ULL + 1), counts_(counts), print_(print) {}

    Rng rng;
    static constexpr std::size_t kNobody = ~std::size_t{0};

    [[nodiscard]] Instant now() const { return now_; }
    [[nodiscard]] std::uint64_t wall_ms() const {
        return 1'700'000'000'000ULL + static_cast<std::uint64_t>(millis_of(Duration{now_.ns}));
    }
    void at(Instant when, std::function<void()> job) {
        queue_.push({std::max(when, now_), next_++, std::move(job)});
    }
    void after(Duration span, std::function<void()> job) { at(now_ + span, std::move(job)); }

    /// Runs events until `end`, until nothing is left, or until a promise is broken.
    void run_until(Instant end) {
        while (!failure_ && !queue_.empty() && queue_.top().at <= end) {
            now_ = queue_.top().at;
            const auto job = std::move(const_cast<Event&>(queue_.top()).job);
            queue_.pop();
            ++events_;
            touched = kNobody;
            job();
            if (after_step) after_step();
        }
        if (!failure_) now_ = end;
    }
    void run_for(Duration span) { run_until(now_ + span); }

    void count(const std::string& what) { ++counts_[what]; }
    /// Goes into the hash of the run, and is printed when the run is replayed.
    void note(std::string_view what) {
        const std::string line = std::to_string(now_.ns) + " " + std::string(what);
        hash_ = xxh3_64(as_bytes(line), hash_);
        if (print_) std::printf("%10.4f %s\n", seconds_of(Duration{now_.ns}), std::string(what).c_str());
    }
    void mix(std::uint64_t number) {
        hash_ = (hash_ ^ number ^ static_cast<std::uint64_t>(now_.ns)) * 0x9e3779b97f4a7c15ULL;
    }
    /// The first one ends the run.
    void broken(std::string promise) {
        if (failure_) return;
        note("BROKEN " + promise);
        failure_ = std::move(promise);
    }
    [[nodiscard]] const std::optional<std::string>& failure() const { return failure_; }
    [[nodiscard]] std::uint64_t hash() const { return hash_; }
    [[nodiscard]] std::uint64_t events() const { return events_; }
    [[nodiscard]] bool printing() const { return print_; }

  private:
    struct Event {
        Instant at;
        std::uint64_t order = 0;
        std::function<void()> job;
        bool operator<(const Event& other) const {
            return at != other.at ? at > other.at : order > other.order;
        }
    };

    Instant now_{1'000'000'000};
    std::priority_queue<Event> queue_;
    std::uint64_t next_ = 0;
    std::uint64_t events_ = 0;
    std::uint64_t hash_ = 0;
    Counts& counts_;
    bool print_;
    std::optional<std::string> failure_;

  public:
    std::array<std::uint64_t, 256> frames{};  // delivered, by type
    std::function<void()> after_step;         // looks at what the event that just ran has changed
    std::size_t touched = kNobody;            // the node that it spoke to
};

}  // namespace fastreg::sim
