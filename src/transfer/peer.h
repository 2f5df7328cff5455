// What is known of one node as a source, across all blobs: how fast it answers, what is outstanding
// there, and whether it may be asked now. A value inside the core.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "base/ids.h"
#include "base/instant.h"
#include "transfer/options.h"

namespace fastreg::transfer {

class Peer {
  public:
    explicit Peer(NodeId id) : id_(id) {}

    [[nodiscard]] const NodeId& id() const { return id_; }

    // Measurements.
    void on_round_trip(Duration took);
    /// A whole chunk arrived `took` after it was asked for.
    void on_chunk_arrived(Duration took);
    /// The least round trip seen; zero before the first.
    [[nodiscard]] Duration rtt() const { return rtt_; }
    /// EWMA of request-to-complete; zero before the first.
    [[nodiscard]] Duration service() const { return service_; }
    /// Of the last 16 chunks; zero before the first.
    [[nodiscard]] Duration p90() const;

    // Requests that are on the wire, stale ones included.
    void on_request(Instant now);
    void on_request_ended();
    [[nodiscard]] std::size_t outstanding() const { return outstanding_; }
    /// Any byte of a chunk; ends a probation.
    void on_byte(Instant now);
    /// Nothing came, and it is not to blame for that: its silence begins anew, a probation goes on.
    void on_pause(Instant now);
    /// Since when nothing came although something is outstanding; never() when nothing is.
    [[nodiscard]] Instant silent_since() const;
    /// Silent: until the next byte, one trial at a time, the first after `until_next_trial`.
    void put_on_probation(Instant now, Duration until_next_trial);
    /// What was outstanding when the silence began was moved elsewhere already.
    [[nodiscard]] bool moved() const { return moved_; }
    [[nodiscard]] bool on_probation() const { return probation_; }

    /// BUSY, a damaged chunk, a refused request: soft, and it expires.
    void avoid(Instant until) { avoid_until_ = std::max(avoid_until_, until); }
    /// Lied: 30 s, doubling to 10 min with every lie.
    void quarantine(Instant now, const Options& options);
    /// The lie was another's.
    void absolve();
    [[nodiscard]] bool quarantined(Instant now) const { return now < quarantine_until_; }
    /// May be sent a new request; one trial at a time on probation.
    [[nodiscard]] bool usable(Instant now) const;
    /// When usable() may turn true by itself.
    [[nodiscard]] Instant usable_from() const { return std::max(avoid_until_, quarantine_until_); }

    /// (own outstanding + 1) * max(1, service / tau): less is better.
    [[nodiscard]] double cost(Duration tau) const;
    void on_link_down();

    std::uint64_t bytes_in = 0;
    std::uint64_t bytes_out = 0;
    std::uint64_t named = 0;  // as the one to blame

  private:
    static constexpr std::size_t kSamples = 16;

    NodeId id_;
    Duration rtt_{};
    Duration service_{};
    std::array<Duration, kSamples> samples_{};
    std::size_t sample_count_ = 0;
    std::size_t outstanding_ = 0;
    Instant quiet_since_{};
    bool probation_ = false;
    bool moved_ = false;
    Instant avoid_until_{};
    Instant quarantine_until_{};
    Duration quarantine_span_{};
};

}  // namespace fastreg::transfer
