// Carries requests from the io threads to the service on the loop, and its answers back: the one place
// where HTTP and the mesh meet. Made and used on the loop thread; handlers run on io threads.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/hash.h"
#include "base/metrics.h"
#include "config/config.h"
#include "node/admin.h"
#include "node/http_server.h"
#include "node/service.h"
#include "uv/loop.h"

namespace fastreg::node {

struct FrontOptions {
    config::Limits limits;
    std::vector<uv::LoopThread*> io_threads;
    /// Proves to another node that this one passes a request on; none in a mesh without a key.
    std::optional<Mac> proxy_key;
};

class HttpFront {
  public:
    HttpFront(uv::Loop& loop, FrontOptions options, Metrics& metrics);
    /// Cuts every connection.
    ~HttpFront();
    HttpFront(const HttpFront&) = delete;
    HttpFront& operator=(const HttpFront&) = delete;

    /// The address with the real port.
    [[nodiscard]] Result<Endpoint> listen_registry(const Endpoint& address);
    [[nodiscard]] Result<Endpoint> listen_admin(const Endpoint& address);
    [[nodiscard]] Status listen_admin_socket(const std::string& path);

    /// Requests are answered from now on; before, they get 503.
    void serve(Core& core, Service& service, Admin& admin);
    [[nodiscard]] ServedBytes served() const { return served_; }

    /// Requests between their head and the end of their answer, admin requests not counted.
    [[nodiscard]] std::size_t in_flight() const {
        return static_cast<std::size_t>(in_flight_.value());
    }
    void stop_accepting();
    void close();

  private:
    class Registry;
    class AdminDoor;
    struct Shared;

    FrontOptions options_;
    ServedBytes served_;
    Gauge& in_flight_;
    std::shared_ptr<Shared> shared_;
    HttpMeters registry_meters_;
    HttpMeters admin_meters_;
    std::unique_ptr<Registry> registry_;
    std::unique_ptr<AdminDoor> admin_;
    std::unique_ptr<HttpServer> registry_server_;
    std::unique_ptr<HttpServer> admin_server_;
};

}  // namespace fastreg::node
