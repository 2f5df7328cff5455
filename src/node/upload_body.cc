#include "node/upload_body.h"

namespace fastreg::node {

namespace {
/// Blocks of 256 KiB that one upload may have between its socket and the disk.
constexpr int kBlocksToDiskMax = 8;
}  // namespace

UploadSink::UploadSink(uv::Loop& loop, store::Store& store, std::weak_ptr<Exchange> exchange,
                       std::shared_ptr<store::UploadFile> upload, std::uint64_t most, Done done)
    : loop_(loop),
      store_(store),
      exchange_(std::move(exchange)),
      upload_(std::move(upload)),
      most_(most),
      done_(std::move(done)) {}

bool UploadSink::on_block(Block block) {
    const int now = in_flight_.fetch_add(1) + 1;
    loop_.post([self = shared_from_this(), block = std::move(block)]() mutable {
        self->append(std::move(block));
    });
    return now < kBlocksToDiskMax;
}

void UploadSink::append(Block block) {
    if (stopped()) return;
    const std::uint64_t size = block.size();
    ++pending_;
    store_.append(upload_, std::move(block), [self = shared_from_this(), size](Status status) {
        self->written(std::move(status), size);
    });
}

void UploadSink::written(Status status, std::uint64_t bytes) {
    --pending_;
    if (status) {
        bytes_ += bytes;
    } else if (status_) {
        status_ = std::move(status);
    }
    if (in_flight_.fetch_sub(1) == kBlocksToDiskMax && !stopped()) {
        if (const auto exchange = exchange_.lock()) {
            exchange->post([exchange] { exchange->resume_body(); });
        }
    }
    finish_if_over();
}

void UploadSink::on_end(Status status) {
    loop_.post([self = shared_from_this(), status = std::move(status)]() mutable {
        self->ended_ = true;
        if (!status && self->status_) self->status_ = std::move(status);
        self->finish_if_over();
    });
}

void UploadSink::finish_if_over() {
    if ((!ended_ && !stopped()) || pending_ > 0 || !done_) return;
    const auto done = std::exchange(done_, nullptr);
    done(bytes_, status_);
}

}  // namespace fastreg::node
