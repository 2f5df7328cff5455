// The HTTP connections of one io thread, and what they share. io thread only, but for the
// constructor and what says so.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/block_pool.h"
#include "base/worker.h"
#include "node/http_server.h"
#include "uv/socket.h"
#include "uv/timer.h"

namespace fastreg::node {

class HttpConnection;
class HttpWorker;

/// Shared by the workers of one server; written before the first connection only.
struct HttpShared {
    HttpOptions options;
    HttpHandler* handler = nullptr;
    HttpMeters* meters = nullptr;
    std::shared_ptr<BlockPool> blocks;
    std::vector<std::weak_ptr<HttpWorker>> workers;
    /// Reads what is not in the page cache; one slow file must not stop the other threads' ones.
    std::vector<std::unique_ptr<Worker>> readers;
};

class HttpWorker : public std::enable_shared_from_this<HttpWorker> {
  public:
    HttpWorker(uv::LoopThread& thread, std::shared_ptr<HttpShared> shared);
    ~HttpWorker();

    /// `on_gone` is called once, on this thread, when the connection is closed. `refuse`: it only
    /// gets a 503.
    void adopt(uv::Fd socket, Endpoint remote, bool refuse, std::function<void()> on_gone);
    void drain();
    /// Cuts everything; nothing is adopted after this.
    void stop();

    // For connections.
    [[nodiscard]] uv::Loop& loop() { return thread_.loop(); }
    [[nodiscard]] const HttpOptions& options() const { return shared_->options; }
    [[nodiscard]] HttpHandler& handler() { return *shared_->handler; }
    [[nodiscard]] HttpMeters& meters() { return *shared_->meters; }
    [[nodiscard]] std::span<std::byte> scratch() { return scratch_; }
    [[nodiscard]] bool draining() const { return draining_; }
    /// IMF-fixdate of this second.
    [[nodiscard]] const std::string& date();
    /// An empty Block when there is none; `connection` is then told by on_block_free() later.
    [[nodiscard]] Block take_block(HttpConnection& connection);
    /// Reads the slice on another thread, then calls `connection.on_warmed()` if it is still there.
    void warm(HttpConnection& connection,
              std::shared_ptr<store::File> file,
              std::uint64_t offset,
              std::uint64_t length);
    /// The connection is closed; its memory goes on a later turn.
    void gone(HttpConnection& connection);

    /// ANY THREAD.
    void post(uv::Job job) { thread_.post(std::move(job)); }
    void retry_blocks();
    void flush_partial_blocks();

  private:
    /// Gives back the memory of blocks that uploads no longer need.
    void trim_blocks();

    uv::LoopThread& thread_;
    std::shared_ptr<HttpShared> shared_;
    std::vector<std::byte> scratch_;
    struct Owned {
        std::unique_ptr<HttpConnection> connection;
        std::function<void()> on_gone;
    };
    std::unordered_map<std::uint64_t, Owned> connections_;
    std::vector<std::unique_ptr<HttpConnection>> graveyard_;
    std::vector<std::uint64_t> waiting_;  // for a block
    std::uint64_t next_id_ = 1;
    std::size_t next_reader_ = 0;
    bool draining_ = false;
    bool stopped_ = false;
    std::string date_;
    std::uint64_t date_second_ = 0;
    std::unique_ptr<uv::Timer> trim_;  // made with the first block; set while the pool holds memory
};

}  // namespace fastreg::node
