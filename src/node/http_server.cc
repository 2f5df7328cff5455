#include "node/http_server.h"

#include <algorithm>
#include <map>

#include "base/log.h"
#include "node/http_worker.h"
#include "uv/listener.h"
#include "uv/signal.h"

namespace fastreg::node {

namespace {

constexpr std::size_t kBlockBytes = 256U << 10U;
constexpr std::size_t kReaders = 2;
// Connections over the limit that are still being told so; beyond, they are just closed.
constexpr std::size_t kRefusedAtOnce = 256;

std::string label(std::string_view listener) {
    return "listener=\"" + std::string(listener) + '"';
}

}  // namespace

HttpMeters::HttpMeters(Metrics& metrics, std::string_view listener)
    : requests(metrics.counter(
          "fastreg_http_listener_requests_total", "HTTP requests that were read", label(listener))),
      refused(metrics.counter("fastreg_http_connections_refused_total",
                              "HTTP connections over a limit",
                              label(listener))),
      bytes_in(metrics.counter("fastreg_http_received_bytes_total",
                               "Bytes received from HTTP clients",
                               label(listener))),
      bytes_out(metrics.counter(
          "fastreg_http_sent_bytes_total", "Bytes sent to HTTP clients", label(listener))),
      connections(
          metrics.gauge("fastreg_http_connections", "Open HTTP connections", label(listener))) {}

/// Accepts, counts and hands out. Lives on the first io thread.
struct HttpServer::Acceptor {
    struct Counts {
        std::shared_ptr<std::atomic<std::size_t>> total;
        std::map<std::string, std::size_t> by_address;
        std::size_t refused = 0;
    };

    void accept(uv::Fd socket, Endpoint peer) {
        const bool over = is_full(peer);
        if (over && counts->refused >= kRefusedAtOnce) return;
        if (over) {
            if (counts->refused++ == 0) {
                log::warn(
                    "http.connections_refused",
                    {{"peer", peer.host},
                     {"open", counts->total->load()},
                     {"do", "see limits.connections and limits.connections-per-address"}});
            }
        } else {
            counts->total->fetch_add(1);
            if (!peer.empty()) ++counts->by_address[peer.host];
        }
        const std::size_t index = next++ % workers.size();
        auto gone = [home = home, counts = counts, host = peer.host, over] {
            home->post([counts, host, over] { forget(*counts, host, over); });
        };
        if (index == 0) {
            workers[0]->adopt(std::move(socket), std::move(peer), over, std::move(gone));
            return;
        }
        workers[index]->post([worker = workers[index],
                              fd = std::move(socket),
                              peer = std::move(peer),
                              over,
                              gone = std::move(gone)]() mutable {
            worker->adopt(std::move(fd), std::move(peer), over, std::move(gone));
        });
    }

    [[nodiscard]] bool is_full(const Endpoint& peer) const {
        if (counts->total->load() >= options.connections_max) return true;
        const auto it = counts->by_address.find(peer.host);
        return !peer.empty() && it != counts->by_address.end() &&
               it->second >= options.connections_per_address_max;
    }
    static void forget(Counts& counts, const std::string& host, bool refused) {
        if (refused) {
            --counts.refused;
            return;
        }
        counts.total->fetch_sub(1);
        const auto it = counts.by_address.find(host);
        if (it != counts.by_address.end() && --it->second == 0) counts.by_address.erase(it);
    }

    uv::LoopThread* home;
    HttpOptions options;
    std::vector<std::shared_ptr<HttpWorker>> workers;
    std::shared_ptr<Counts> counts;
    std::vector<uv::Listener> listeners;
    std::size_t next = 0;
};

HttpServer::HttpServer(std::vector<uv::LoopThread*> io,
                       HttpOptions options,
                       HttpHandler& handler,
                       HttpMeters& meters)
    : io_(std::move(io)),
      shared_(std::make_shared<HttpShared>()),
      connections_(std::make_shared<std::atomic<std::size_t>>(0)) {
    FR_ASSERT(!io_.empty());
    uv::ignore_broken_pipes();  // sendfile has no MSG_NOSIGNAL
    shared_->options = options;
    shared_->handler = &handler;
    shared_->meters = &meters;
    for (std::size_t i = 0; i < kReaders; ++i) {
        shared_->readers.push_back(std::make_unique<Worker>("http-read"));
    }
    for (uv::LoopThread* thread : io_) {
        workers_.push_back(std::make_shared<HttpWorker>(*thread, shared_));
        shared_->workers.push_back(workers_.back());
    }
    shared_->blocks = BlockPool::create(
        kBlockBytes, std::max<std::size_t>(options.body_blocks, 1), [workers = shared_->workers] {
            for (const auto& weak : workers) {
                if (const auto worker = weak.lock()) {
                    worker->post([worker] { worker->retry_blocks(); });
                }
            }
        });
    acceptor_ = std::make_unique<Acceptor>(
        Acceptor{io_[0],
                 options,
                 workers_,
                 std::make_shared<Acceptor::Counts>(Acceptor::Counts{connections_, {}, 0}),
                 {},
                 0});
}

HttpServer::~HttpServer() {
    io_[0]->call([this] { acceptor_->listeners.clear(); });
    for (std::size_t i = 0; i < io_.size(); ++i) {
        io_[i]->call([worker = workers_[i].get()] { worker->stop(); });
    }
    shared_->readers.clear();  // joins; their last jobs may still post to the io threads
    acceptor_.reset();
}

Status HttpServer::listen(const Endpoint& address, const std::string& flag) {
    Status status;
    io_[0]->call([&] {
        uv::Listener::Options options;
        options.flag = flag;
        auto listener = uv::Listener::tcp(io_[0]->loop(),
                                          address,
                                          options,
                                          [acceptor = acceptor_.get()](uv::Fd fd, Endpoint peer) {
                                              acceptor->accept(std::move(fd), std::move(peer));
                                          });
        if (!listener) {
            status = tl::unexpected<Error>(std::move(listener).error());
            return;
        }
        if (address_.empty()) address_ = listener->address();
        acceptor_->listeners.push_back(*std::move(listener));
    });
    return status;
}

Status HttpServer::listen_unix(const std::string& path) {
    Status status;
    io_[0]->call([&] {
        auto listener = uv::Listener::unix_socket(
            io_[0]->loop(), path, [acceptor = acceptor_.get()](uv::Fd fd, Endpoint peer) {
                acceptor->accept(std::move(fd), std::move(peer));
            });
        if (!listener) {
            status = tl::unexpected<Error>(std::move(listener).error());
            return;
        }
        acceptor_->listeners.push_back(*std::move(listener));
    });
    return status;
}

void HttpServer::drain() {
    io_[0]->call([this] { acceptor_->listeners.clear(); });
    for (const auto& worker : workers_) {
        worker->post([worker] { worker->drain(); });
    }
}

}  // namespace fastreg::node
