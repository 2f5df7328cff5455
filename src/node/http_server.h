// Listens for HTTP and spreads connections over the io threads; limits and deadlines of
// docs/PROTOCOL.md, "Limits". Made, drained and destroyed by the loop thread, which must not be one
// of the io threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/endpoint.h"
#include "base/instant.h"
#include "base/metrics.h"
#include "base/result.h"
#include "http/parser.h"
#include "node/http_exchange.h"
#include "uv/loop_thread.h"

namespace fastreg::node {

struct HttpOptions {
    http::ParserLimits parser;  // of a request's head
    std::size_t connections_max = 10'000;
    std::size_t connections_per_address_max = 1'024;
    Duration head_deadline = 10s;  // from the first byte of a request (or the accept) to its end
    Duration idle_deadline = 60s;  // between requests
    Duration progress_deadline = 30s;  // a body, in or out, that does not move
    Duration linger = 5s;              // for a client that still sends after its answer
    std::size_t body_blocks = 64;      // of 256 KiB, for request bodies of all connections together
};

/// The counters of one listener; registered once, before the server.
struct HttpMeters {
    HttpMeters(Metrics& metrics, std::string_view listener);
    Counter& requests;
    Counter& refused;  // connections over a limit
    Counter& bytes_in;
    Counter& bytes_out;
    Gauge& connections;
};

class HttpWorker;
struct HttpShared;

class HttpServer {
  public:
    /// `io` (at least one), `handler` and `meters` outlive the server.
    HttpServer(std::vector<uv::LoopThread*> io,
               HttpOptions options,
               HttpHandler& handler,
               HttpMeters& meters);
    /// Cuts every connection, and returns when none is left.
    ~HttpServer();
    HttpServer(const HttpServer&) = delete;
    HttpServer& operator=(const HttpServer&) = delete;

    /// `flag` is named in errors. Several listeners are fine.
    [[nodiscard]] Status listen(const Endpoint& address, const std::string& flag);
    [[nodiscard]] Status listen_unix(const std::string& path);
    /// The first TCP listener's, with the real port.
    [[nodiscard]] Endpoint address() const { return address_; }

    /// No new connections; idle ones close; the others close after the answer in hand.
    void drain();
    /// Any thread.
    [[nodiscard]] std::size_t connections() const { return connections_->load(); }

  private:
    struct Acceptor;

    std::vector<uv::LoopThread*> io_;
    std::shared_ptr<HttpShared> shared_;
    std::shared_ptr<std::atomic<std::size_t>> connections_;
    std::vector<std::shared_ptr<HttpWorker>> workers_;
    std::unique_ptr<Acceptor> acceptor_;
    Endpoint address_;
};

}  // namespace fastreg::node
