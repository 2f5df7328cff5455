#include "node/http_exchange.h"

#include <algorithm>

#include "node/http_connection.h"

namespace fastreg::node {

namespace {

// A whole body in memory, up to a limit.
class WholeBodySink final : public BodySink {
  public:
    WholeBodySink(std::uint64_t max, std::function<void(Result<Bytes>)> done)
        : max_(max), done_(std::move(done)) {}

    bool on_block(Block block) override {
        if (!done_) return false;
        const std::span<std::byte> bytes = block.filled();
        if (bytes.size() > max_ - body_.size()) {
            give(fastreg::fail(Errc::too_large,
                               "the body is over the limit of " + human_bytes(max_)));
            return false;
        }
        body_.insert(body_.end(), bytes.begin(), bytes.end());
        return true;
    }
    void on_end(Status status) override {
        if (!done_) return;
        if (status) {
            give(std::move(body_));
        } else {
            give(tl::unexpected<Error>(std::move(status).error()));
        }
    }

  private:
    void give(Result<Bytes> result) {
        const auto done = std::exchange(done_, nullptr);
        done(std::move(result));
    }

    std::uint64_t max_;
    std::function<void(Result<Bytes>)> done_;
    Bytes body_;
};

}  // namespace

Exchange::Exchange(uv::Loop& loop,
                   HttpConnection& connection,
                   http::Request request,
                   Endpoint remote)
    : loop_(loop),
      connection_(&connection),
      request_(std::move(request)),
      remote_(std::move(remote)) {}

void Exchange::read_body(std::shared_ptr<BodySink> sink) {
    if (connection_ != nullptr) {
        connection_->read_body(std::move(sink));
    } else {
        sink->on_end(fastreg::fail(Errc::network, "the client went away before its body was read"));
    }
}

void Exchange::read_body(std::uint64_t max, std::function<void(Result<Bytes>)> done) {
    if (request_.content_length.value_or(0) > max) {
        done(fastreg::fail(Errc::too_large, "the body is over the limit of " + human_bytes(max)));
        return;
    }
    read_body(std::make_shared<WholeBodySink>(max, std::move(done)));
}

void Exchange::resume_body() {
    if (connection_ != nullptr) connection_->resume_body();
}

void Exchange::respond(http::ResponseHead head, std::string body) {
    if (connection_ == nullptr) return;
    if (!head.content_length) head.content_length = body.size();
    connection_->respond(std::move(head), {}, std::move(body));
}

void Exchange::respond(http::ResponseHead head, std::vector<BodyPart> parts) {
    if (connection_ == nullptr) return;
    if (!head.content_length) {
        std::uint64_t length = 0;
        for (const BodyPart& part : parts) length += part.text.size() + part.length;
        head.content_length = length;
    }
    connection_->respond(std::move(head), std::move(parts), {});
}

void Exchange::respond_growing(http::ResponseHead head,
                               std::uint64_t begin,
                               std::uint64_t end,
                               std::function<void(std::uint64_t)> on_sent) {
    if (connection_ == nullptr) return;
    head.content_length = end - begin;
    connection_->respond_growing(std::move(head), begin, end, std::move(on_sent));
}

void Exchange::advance(std::shared_ptr<store::File> file, std::uint64_t ready_end) {
    if (connection_ != nullptr) connection_->advance(std::move(file), ready_end);
}

void Exchange::finish() {
    if (connection_ != nullptr) connection_->finish();
}

void Exchange::fail(http::ResponseHead instead, std::string body) {
    if (connection_ != nullptr) connection_->fail(std::move(instead), std::move(body));
}

void Exchange::add_on_done(OnDone on_done) {
    if (connection_ == nullptr) {
        on_done(false, 0);
    } else {
        on_done_.push_back(std::move(on_done));
    }
}

void Exchange::end(bool complete, int status) {
    connection_ = nullptr;
    for (const OnDone& on_done : std::exchange(on_done_, {})) on_done(complete, status);
}

}  // namespace fastreg::node
