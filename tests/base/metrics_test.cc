// The metrics page is read by Prometheus, which drops a page with one wrong line.
#include "base/metrics.h"

#include <doctest/doctest.h>

#include "base/worker.h"

using namespace fastreg;

TEST_CASE("the page is the Prometheus text format") {
    // Families in the order they were registered, buckets cumulative, +Inf equal to the count.
    Metrics metrics;
    auto& peer = metrics.counter("fastreg_bytes_total", "Bytes received.", "source=\"peer\"");
    auto& members = metrics.gauge("fastreg_members", "Members known.");
    auto& origin = metrics.counter("fastreg_bytes_total", "Bytes received.", "source=\"origin\"");
    auto& wait = metrics.histogram("fastreg_wait_seconds", "Waiting.", {0.5, 2}, "op=\"get\"");
    peer.add(3);
    peer.add();
    origin.add(1'000'000'000'000);
    members.set(5);
    members.add(-7);
    for (const double value : {0.5, 0.25, 1.0, 3.0}) wait.observe(value);
    CHECK(metrics.render() ==
          "# HELP fastreg_bytes_total Bytes received.\n"
          "# TYPE fastreg_bytes_total counter\n"
          "fastreg_bytes_total{source=\"peer\"} 4\n"
          "fastreg_bytes_total{source=\"origin\"} 1000000000000\n"
          "# HELP fastreg_members Members known.\n"
          "# TYPE fastreg_members gauge\n"
          "fastreg_members -2\n"
          "# HELP fastreg_wait_seconds Waiting.\n"
          "# TYPE fastreg_wait_seconds histogram\n"
          "fastreg_wait_seconds_bucket{op=\"get\",le=\"0.5\"} 2\n"
          "fastreg_wait_seconds_bucket{op=\"get\",le=\"2\"} 3\n"
          "fastreg_wait_seconds_bucket{op=\"get\",le=\"+Inf\"} 4\n"
          "fastreg_wait_seconds_sum{op=\"get\"} 4.75\n"
          "fastreg_wait_seconds_count{op=\"get\"} 4\n");
}

TEST_CASE("times are counted in full and shown in seconds, small numbers without an exponent") {
    // A counter of whole seconds would lose every wait that is shorter; le="1e-04" matches no query.
    Metrics metrics;
    auto& waited = metrics.seconds("fastreg_waited_seconds_total", "Waited.");
    waited.add(1500ms);
    waited.add(100us);
    metrics.histogram("fastreg_rtt_seconds", "Trips.", {0.0001, 100'000}).observe(0.0001);
    CHECK(metrics.render() ==
          "# HELP fastreg_waited_seconds_total Waited.\n"
          "# TYPE fastreg_waited_seconds_total counter\n"
          "fastreg_waited_seconds_total 1.5001\n"
          "# HELP fastreg_rtt_seconds Trips.\n"
          "# TYPE fastreg_rtt_seconds histogram\n"
          "fastreg_rtt_seconds_bucket{le=\"0.0001\"} 1\n"
          "fastreg_rtt_seconds_bucket{le=\"100000\"} 1\n"
          "fastreg_rtt_seconds_bucket{le=\"+Inf\"} 1\n"
          "fastreg_rtt_seconds_sum 0.0001\n"
          "fastreg_rtt_seconds_count 1\n");
}

TEST_CASE("registering a metric again gives the same one") {
    // Two parts of a node may count into one series; two lines of one name would break the page.
    Metrics metrics;
    auto& a = metrics.counter("fastreg_x_total", "X.");
    for (int i = 0; i < 100; ++i) {
        metrics.counter("fastreg_y_total", "Y.", "n=\"" + std::to_string(i) + "\"");
        metrics.counter("fastreg_z" + std::to_string(i) + "_total", "Z.");
    }
    a.add();  // still valid after the registry has grown
    CHECK(metrics.counter("fastreg_x_total", "X.").value() == 1);
    CHECK(&a == &metrics.counter("fastreg_x_total", "X."));
}

TEST_CASE("nothing is lost when several threads count at once") {
    // Io threads and the loop update the same series without a lock.
    Metrics metrics;
    auto& counter = metrics.counter("fastreg_n_total", "N.");
    auto& histogram = metrics.histogram("fastreg_h_seconds", "H.", duration_bounds());
    const auto work = [&] {
        for (int i = 0; i < 20'000; ++i) {
            counter.add();
            histogram.observe(1);
        }
    };
    {
        Thread a("count-a", work);
        Thread b("count-b", work);
    }
    CHECK(counter.value() == 40'000);
    const std::string page = metrics.render();
    CHECK(page.find("fastreg_h_seconds_count 40000\n") != std::string::npos);
    CHECK(page.find("fastreg_h_seconds_sum 40000\n") != std::string::npos);
    CHECK(page.find("_bucket{le=\"0.5\"} 0\n") != std::string::npos);
    CHECK(page.find("_bucket{le=\"1\"} 40000\n") != std::string::npos);
}
