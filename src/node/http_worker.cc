#include "node/http_worker.h"

#include <algorithm>

#include "base/clock.h"
#include "node/http_connection.h"

namespace fastreg::node {

namespace {

constexpr std::size_t kScratchBytes = 64U << 10U;
constexpr std::size_t kWarmBytes = 256U << 10U;

}  // namespace

HttpWorker::HttpWorker(uv::LoopThread& thread, std::shared_ptr<HttpShared> shared)
    : thread_(thread), shared_(std::move(shared)), scratch_(kScratchBytes) {}

HttpWorker::~HttpWorker() = default;

void HttpWorker::adopt(uv::Fd socket, Endpoint remote, bool refuse, std::function<void()> on_gone) {
    if (stopped_ || (draining_ && !refuse)) {
        socket.reset();
        on_gone();
        return;
    }
    const std::uint64_t id = next_id_++;
    auto connection =
        std::make_unique<HttpConnection>(*this, id, std::move(socket), std::move(remote));
    HttpConnection& added = *connection;
    connections_[id] = {std::move(connection), std::move(on_gone)};
    meters().connections.add(1);
    if (refuse) {
        meters().refused.add();
        added.refuse();
    } else {
        added.start();
    }
}

void HttpWorker::drain() {
    draining_ = true;
    std::vector<HttpConnection*> all;
    for (const auto& [id, owned] : connections_) all.push_back(owned.connection.get());
    for (HttpConnection* connection : all) connection->drain();
}

void HttpWorker::stop() {
    stopped_ = true;
    std::vector<HttpConnection*> all;
    for (const auto& [id, owned] : connections_) all.push_back(owned.connection.get());
    for (HttpConnection* connection : all) connection->close();
    graveyard_.clear();
    trim_.reset();
}

void HttpWorker::gone(HttpConnection& connection) {
    const auto it = connections_.find(connection.id());
    FR_ASSERT(it != connections_.end());
    Owned owned = std::move(it->second);
    connections_.erase(it);
    meters().connections.add(-1);
    if (graveyard_.empty() && !stopped_) {
        post([self = shared_from_this()] { self->graveyard_.clear(); });
    }
    graveyard_.push_back(std::move(owned.connection));
    owned.on_gone();
}

const std::string& HttpWorker::date() {
    const std::uint64_t second = wall_clock_ms() / 1000;
    if (second != date_second_) {
        date_second_ = second;
        date_ = http::format_date(second);
    }
    return date_;
}

Block HttpWorker::take_block(HttpConnection& connection) {
    if (trim_ == nullptr && !stopped_) {
        trim_ = std::make_unique<uv::Timer>(thread_.loop(), [this] { trim_blocks(); });
    }
    if (trim_ != nullptr && !trim_->is_set()) trim_->set(BlockPool::kQuiet);
    Block block = shared_->blocks->try_take();
    if (!block) {
        if (std::find(waiting_.begin(), waiting_.end(), connection.id()) == waiting_.end()) {
            waiting_.push_back(connection.id());
        }
        // Slow uploads hold blocks that are nearly empty; whoever is waiting needs them more.
        for (const auto& weak : shared_->workers) {
            if (const auto worker = weak.lock()) {
                worker->post([worker] { worker->flush_partial_blocks(); });
            }
        }
    }
    return block;
}

void HttpWorker::trim_blocks() {
    if (shared_->blocks->release_unused(loop().now()) > 0) trim_->set(BlockPool::kQuiet / 4);
}

void HttpWorker::flush_partial_blocks() {
    std::vector<HttpConnection*> all;
    for (const auto& [id, owned] : connections_) all.push_back(owned.connection.get());
    for (HttpConnection* connection : all) {
        if (!connection->closed()) connection->flush_partial_block();
    }
}

void HttpWorker::retry_blocks() {
    const std::vector<std::uint64_t> waiting = std::exchange(waiting_, {});
    for (const std::uint64_t id : waiting) {
        const auto it = connections_.find(id);
        if (it != connections_.end()) it->second.connection->on_block_free();
    }
}

void HttpWorker::warm(HttpConnection& connection,
                      std::shared_ptr<store::File> file,
                      std::uint64_t offset,
                      std::uint64_t length) {
    next_reader_ = (next_reader_ + 1) % shared_->readers.size();
    shared_->readers[next_reader_]->post(
        [weak = weak_from_this(), id = connection.id(), file = std::move(file), offset, length] {
            std::vector<std::byte> buffer(std::min<std::uint64_t>(length, kWarmBytes));
            for (std::uint64_t done = 0; done < length;) {
                const auto got = file->pread(buffer, offset + done);
                if (!got || *got == 0) break;  // sendfile will meet the same error and name it
                done += *got;
            }
            const auto worker = weak.lock();
            if (!worker) return;
            worker->post([worker, id] {
                const auto it = worker->connections_.find(id);
                if (it != worker->connections_.end()) it->second.connection->on_warmed();
            });
        });
}

}  // namespace fastreg::node
