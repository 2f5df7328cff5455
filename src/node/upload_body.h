// The body of an upload on its way from an HTTP connection (io thread) to the store (through the
// loop), a few blocks at a time: the disk's pace becomes the client's.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "node/http_exchange.h"
#include "store/store.h"
#include "uv/loop.h"

namespace fastreg::node {

class UploadSink final : public BodySink, public std::enable_shared_from_this<UploadSink> {
  public:
    /// Loop thread; called once, after every block was written or failed: at the end of the body, or
    /// before it when a write failed or when more than `most` bytes came. `bytes` were written.
    using Done = std::function<void(std::uint64_t bytes, Status status)>;

    UploadSink(uv::Loop& loop, store::Store& store, std::weak_ptr<Exchange> exchange,
               std::shared_ptr<store::UploadFile> upload, std::uint64_t most, Done done);

    [[nodiscard]] bool on_block(Block block) override;  // io thread
    void on_end(Status status) override;                // io thread

  private:
    void append(Block block);
    void written(Status status, std::uint64_t bytes);
    /// A write failed, or there are too many bytes: what else comes is dropped unread.
    [[nodiscard]] bool stopped() const { return !status_ || bytes_ > most_; }
    void finish_if_over();

    uv::Loop& loop_;
    store::Store& store_;
    std::weak_ptr<Exchange> exchange_;
    std::shared_ptr<store::UploadFile> upload_;
    const std::uint64_t most_;
    Done done_;
    std::atomic<int> in_flight_{0};
    // The loop's own.
    std::uint64_t bytes_ = 0;
    std::size_t pending_ = 0;
    bool ended_ = false;
    Status status_;
};

}  // namespace fastreg::node
