// What `fastreg status` and its sisters ask a running node, and the metrics page, as JSON and text
// (docs/OPERATIONS.md, "Admin interface"). Knows no socket. Loop thread only.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/metrics.h"
#include "http/request.h"
#include "node/core.h"
#include "node/mesh.h"

namespace fastreg::node {

struct AdminAnswer {
    int status = 200;
    std::string type = "application/json";
    std::string body;
    std::string allow = {};  // with 405: the Allow field
};
using OnAdminAnswer = std::function<void(AdminAnswer)>;

/// Facts of the process that the core does not know.
struct AdminFacts {
    std::string cluster;
    std::string cluster_key;
    std::string cluster_key_file;
    std::string http_address, gossip_address, transfer_address, admin_address;  // as in ready.json
    /// Hands off first, for so long at most; nothing: until all is handed off. The error: why it does not begin.
    std::function<Status(std::optional<Duration> patience)> leave;
    std::function<std::string()> state;  // "starting", "alive", "draining", "stopping", "leaving"
};

/// Bytes of blob bodies given to clients, by where they came from. Written by io threads.
struct ServedBytes {
    Counter* local = nullptr;
    Counter* peer = nullptr;
    Counter* upstream = nullptr;
};

class Admin {
  public:
    Admin(Core& core, Mesh& mesh, Metrics& metrics, ServedBytes served, AdminFacts facts);
    ~Admin();
    Admin(const Admin&) = delete;
    Admin& operator=(const Admin&) = delete;

    /// `local`: came over the unix socket. `answer` is called exactly once.
    void handle(const http::Request& request, std::string body, bool local, OnAdminAnswer answer);

  private:
    struct Verify;
    struct JoinWait {
        std::unique_ptr<uv::Timer> timer;
        Instant end;
    };

    void status(const OnAdminAnswer& answer);
    void peers(const OnAdminAnswer& answer);
    void blobs(const http::Request& request, const OnAdminAnswer& answer);
    void blob(const Digest& digest, OnAdminAnswer answer);
    void join(const std::string& body, OnAdminAnswer answer);
    void leave(const std::string& body, const OnAdminAnswer& answer);
    void drain(const OnAdminAnswer& answer);
    void pin(const std::string& body, bool pinned, const OnAdminAnswer& answer);
    void verify(const std::string& body, const OnAdminAnswer& answer);
    void verify_next();
    void bench(const std::string& body, const OnAdminAnswer& answer);
    [[nodiscard]] AdminAnswer verify_state() const;
    [[nodiscard]] AdminAnswer metrics_page();

    Core& core_;
    Mesh& mesh_;
    Metrics& metrics_;
    ServedBytes served_;
    AdminFacts facts_;
    Instant started_;
    std::unique_ptr<Verify> verify_;
    std::list<JoinWait> joins_;
    std::shared_ptr<Admin*> self_;
    struct Gauges;
    std::unique_ptr<Gauges> gauges_;
};

}  // namespace fastreg::node
