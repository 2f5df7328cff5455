#include "base/metrics.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <deque>

#include "base/result.h"

namespace fastreg {

Histogram::Histogram(std::vector<double> bounds)
    : bounds_(std::move(bounds)),
      counts_(std::make_unique<std::atomic<std::uint64_t>[]>(bounds_.size() + 1)) {
    FR_ASSERT(std::ranges::is_sorted(bounds_));
}

void Histogram::observe(double value) {
    if (std::isnan(value)) return;
    const auto bucket = std::ranges::lower_bound(bounds_, value) - bounds_.begin();
    counts_[static_cast<std::size_t>(bucket)].fetch_add(1, std::memory_order_relaxed);
    sum_.fetch_add(value, std::memory_order_relaxed);
}

namespace {

enum class Type { counter, gauge, histogram };

constexpr std::array<std::string_view, 3> kTypeNames = {"counter", "gauge", "histogram"};

struct Series {
    std::string labels;
    std::unique_ptr<Counter> counter;
    std::unique_ptr<SecondsCounter> seconds;  // instead of `counter`
    std::unique_ptr<Gauge> gauge;
    std::unique_ptr<Histogram> histogram;
};

struct Family {
    std::string name;
    std::string help;
    Type type;
    std::deque<Series> series;
};

std::string number(double value) {
    std::array<char, 32> text{};
    // 0.0001 and not 1e-04: a label like le="0.0001" is compared as text.
    const bool plain = value == 0 || (std::abs(value) >= 1e-6 && std::abs(value) < 1e15);
    const auto format = plain ? std::chars_format::fixed : std::chars_format::scientific;
    const auto end = std::to_chars(text.data(), text.data() + text.size(), value, format).ptr;
    return {text.data(), end};
}

void append_sample(std::string& page, std::string_view name, std::string_view suffix,
                   std::string_view labels, std::string_view more_labels, std::string_view value) {
    page.append(name).append(suffix);
    if (!labels.empty() || !more_labels.empty()) {
        page.append("{").append(labels);
        if (!labels.empty() && !more_labels.empty()) page.append(",");
        page.append(more_labels).append("}");
    }
    page.append(" ").append(value).append("\n");
}

}  // namespace

struct Metrics::Impl {
    std::deque<Family> families;  // references to series stay valid as it grows

    Series& series(std::string_view name, std::string_view help, Type type,
                   std::string_view labels) {
        auto family = std::ranges::find(families, name, &Family::name);
        if (family == families.end()) {
            families.push_back({std::string(name), std::string(help), type, {}});
            family = std::prev(families.end());
        }
        FR_ASSERT(family->type == type);
        const auto known = std::ranges::find(family->series, labels, &Series::labels);
        if (known != family->series.end()) return *known;
        family->series.push_back({std::string(labels), nullptr, nullptr, nullptr, nullptr});
        return family->series.back();
    }
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {}
Metrics::~Metrics() = default;

Counter& Metrics::counter(std::string_view name, std::string_view help, std::string_view labels) {
    auto& series = impl_->series(name, help, Type::counter, labels);
    if (!series.counter) series.counter = std::make_unique<Counter>();
    return *series.counter;
}

SecondsCounter& Metrics::seconds(std::string_view name, std::string_view help,
                                 std::string_view labels) {
    auto& series = impl_->series(name, help, Type::counter, labels);
    if (!series.seconds) series.seconds = std::make_unique<SecondsCounter>();
    return *series.seconds;
}

Gauge& Metrics::gauge(std::string_view name, std::string_view help, std::string_view labels) {
    auto& series = impl_->series(name, help, Type::gauge, labels);
    if (!series.gauge) series.gauge = std::make_unique<Gauge>();
    return *series.gauge;
}

Histogram& Metrics::histogram(std::string_view name, std::string_view help,
                              std::vector<double> bounds, std::string_view labels) {
    auto& series = impl_->series(name, help, Type::histogram, labels);
    if (!series.histogram) series.histogram = std::make_unique<Histogram>(std::move(bounds));
    return *series.histogram;
}

std::string Metrics::render() const {
    std::string page;
    const auto append_histogram = [&page](const Family& family, const Series& series) {
        const Histogram& histogram = *series.histogram;
        std::uint64_t total = 0;
        for (std::size_t i = 0; i <= histogram.bounds_.size(); ++i) {
            total += histogram.counts_[i].load(std::memory_order_relaxed);
            const bool last = i == histogram.bounds_.size();
            const std::string bound = last ? "+Inf" : number(histogram.bounds_[i]);
            append_sample(page, family.name, "_bucket", series.labels, "le=\"" + bound + "\"",
                          std::to_string(total));
        }
        append_sample(page, family.name, "_sum", series.labels, "",
                      number(histogram.sum_.load(std::memory_order_relaxed)));
        append_sample(page, family.name, "_count", series.labels, "", std::to_string(total));
    };
    for (const Family& family : impl_->families) {
        page.append("# HELP ").append(family.name).append(" ").append(family.help).append("\n");
        page.append("# TYPE ").append(family.name).append(" ");
        page.append(kTypeNames[static_cast<std::size_t>(family.type)]).append("\n");
        for (const Series& series : family.series) {
            switch (family.type) {
                case Type::counter:
                    append_sample(page, family.name, "", series.labels, "",
                                  series.seconds ? number(series.seconds->value())
                                                 : std::to_string(series.counter->value()));
                    break;
                case Type::gauge:
                    append_sample(page, family.name, "", series.labels, "",
                                  std::to_string(series.gauge->value()));
                    break;
                case Type::histogram: append_histogram(family, series); break;
            }
        }
    }
    return page;
}

std::vector<double> duration_bounds() {
    return {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};
}

std::vector<double> round_trip_bounds() {
    return {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1};
}

}  // namespace fastreg
