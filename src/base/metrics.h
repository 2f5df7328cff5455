// Counters, gauges and histograms in the Prometheus text format (names fastreg_*, base units, never
// a peer or a digest as a label). Created once at start, updated from any thread without a lock.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/instant.h"

namespace fastreg {

class Counter {
  public:
    void add(std::uint64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
    [[nodiscard]] std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }

  private:
    std::atomic<std::uint64_t> value_{0};
};

/// A counter of time: counts nanoseconds, is shown in seconds.
class SecondsCounter {
  public:
    /// `span` is not negative.
    void add(Duration span) {
        ns_.fetch_add(static_cast<std::uint64_t>(span.count()), std::memory_order_relaxed);
    }
    [[nodiscard]] double value() const {
        return static_cast<double>(ns_.load(std::memory_order_relaxed)) / 1e9;
    }

  private:
    std::atomic<std::uint64_t> ns_{0};
};

class Gauge {
  public:
    void set(std::int64_t n) { value_.store(n, std::memory_order_relaxed); }
    void add(std::int64_t n) { value_.fetch_add(n, std::memory_order_relaxed); }
    [[nodiscard]] std::int64_t value() const { return value_.load(std::memory_order_relaxed); }

  private:
    std::atomic<std::int64_t> value_{0};
};

/// Fixed upper bounds in the metric's base unit, ascending; +Inf is implied.
class Histogram {
  public:
    explicit Histogram(std::vector<double> bounds);
    void observe(double value);

  private:
    friend class Metrics;
    std::vector<double> bounds_;
    std::unique_ptr<std::atomic<std::uint64_t>[]> counts_;
    std::atomic<double> sum_{0};
};

/// The registry of one node. Registering is for start-up (one thread); references stay valid.
class Metrics {
  public:
    Metrics();
    ~Metrics();
    /// `labels` is ready to print: `source="peer",transport="tcp"`, or empty.
    Counter& counter(std::string_view name, std::string_view help, std::string_view labels = {});
    SecondsCounter& seconds(std::string_view name, std::string_view help,
                            std::string_view labels = {});
    Gauge& gauge(std::string_view name, std::string_view help, std::string_view labels = {});
    Histogram& histogram(std::string_view name, std::string_view help, std::vector<double> bounds,
                         std::string_view labels = {});
    /// The whole page, families in the order they were registered.
    [[nodiscard]] std::string render() const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

/// 1 ms .. 60 s, for durations in seconds.
[[nodiscard]] std::vector<double> duration_bounds();
/// 0.1 ms .. 1 s, for round trips in seconds.
[[nodiscard]] std::vector<double> round_trip_bounds();

}  // namespace fastreg
