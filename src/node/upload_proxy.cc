#include "node/upload_proxy.h"

#include <cerrno>
#include <deque>

#include "base/clock.h"
#include "http/client_response.h"
#include "node/member_proof.h"
#include "registry/answers.h"
#include "uv/poll.h"
#include "uv/socket.h"
#include "uv/timer.h"

namespace fastreg::node {

namespace {

constexpr std::size_t kBlocksOnTheWayMax = 8;  // between the client and the other node
constexpr Duration kSilenceMax = 60s;          // the other node may have to sync a large blob
constexpr Duration kAskEvery = 1s;
constexpr std::uint64_t kAnswerMax = 64U << 10U;

/// One passed-on request. Owns itself until both sides are through.
class Proxy final : public BodySink, public uv::PollHandler, public std::enable_shared_from_this<Proxy> {
  public:
    Proxy(std::shared_ptr<Exchange> exchange, Endpoint http, AskOwner ask)
        : exchange_(std::move(exchange)),
          http_(std::move(http)),
          ask_(std::move(ask)),
          timer_(exchange_->loop(), [this] { give_up("did not answer in time"); }),
          ask_timer_(exchange_->loop(), [this] { ask_owner(); }) {}

    void start(const MemberPass& pass) {
        self_ = shared_from_this();
        exchange_->add_on_done([weak = weak_from_this()](bool, int) {
            if (const auto proxy = weak.lock()) proxy->finish();
        });
        const http::Request& request = exchange_->request();
        chunked_ = request.chunked;
        std::string head = request.method_name + " " + request.target + " HTTP/1.1\r\nHost: " + http_.str() +
                           "\r\nConnection: close\r\n";
        if (pass.key) {
            MemberProof proof{pass.self, pass.owner, wall_clock_ms(), {}};
            secret_random(proof.nonce);
            head += std::string(kMemberField) + ": " +
                    member_field(*pass.key, request.method_name, request.target, proof) + "\r\n";
        } else {
            head += std::string(kMemberField) + ": " + std::string(kNoProof) + "\r\n";
        }
        for (const std::string_view name : {"Content-Type", "Content-Range"}) {
            if (const auto value = request.headers.find(name)) {
                head += std::string(name) + ": " + std::string(*value) + "\r\n";
            }
        }
        if (chunked_) {
            head += "Transfer-Encoding: chunked\r\n";
        } else if (request.content_length) {
            head += "Content-Length: " + std::to_string(*request.content_length) + "\r\n";
        }
        text_ = head + "\r\n";
        auto fd = uv::connect_start(http_);
        if (!fd) return give_up(describe(fd.error()));
        fd_ = std::move(*fd);
        auto poll = uv::Poll::open(exchange_->loop(), fd_.get(), *this);
        if (!poll) return give_up(describe(poll.error()));
        poll_ = std::move(*poll);
        poll_.watch(false, true);
        timer_.set(Duration(5s));
        if (ask_) ask_timer_.set(kAskEvery);
    }

    // The client's body.
    bool on_block(Block block) override {
        if (chunked_) text_of_blocks_.push_back(http::chunk_prefix(block.size()));
        blocks_.push_back(std::move(block));
        watch();
        return blocks_.size() < kBlocksOnTheWayMax;
    }
    void on_end(Status status) override {
        if (!status) {  // the other node sees a short body
            answer_with(registry::from_body_error(status.error(), registry::ErrorCode::blob_upload_invalid));
            return finish();
        }
        if (chunked_) tail_ = http::kLastChunk;
        watch();
    }

    // The other node's socket.
    void on_writable() override {
        if (!connected_) {
            if (const auto status = uv::connect_result(fd_.get(), http_); !status) {
                return give_up(describe(status.error()));
            }
            connected_ = true;
            if (exchange_->request().has_body()) {
                exchange_->read_body(std::static_pointer_cast<BodySink>(shared_from_this()));
            }
            if (!self_) return;  // the client was gone already
        }
        timer_.set(kSilenceMax);
        while (write_some()) {
        }
        watch();
    }
    void on_readable() override {
        std::array<std::byte, 16384> room;
        for (;;) {
            const ssize_t n = ::recv(fd_.get(), room.data(), room.size(), 0);
            if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
            if (n < 0) return give_up("broke the connection");
            timer_.set(kSilenceMax);
            if (n == 0) {
                if (!answer_.finish() || !answer_.head_done()) return give_up("closed the connection");
                return deliver();
            }
            const auto whole = answer_.feed(ByteView(room).first(static_cast<std::size_t>(n)));
            if (!whole) return give_up("sent no HTTP answer");
            if (*whole) return deliver();
        }
    }
    void on_poll_error(int) override { give_up("broke the connection"); }

  private:
    /// False when nothing more can be written now.
    bool write_some() {
        ByteView data;
        if (!text_.empty()) {
            data = as_bytes(text_);
        } else if (!blocks_.empty()) {
            if (chunked_ && !text_of_blocks_.front().empty()) {
                text_ = std::exchange(text_of_blocks_.front(), {});
                return true;
            }
            data = blocks_.front().filled().subspan(sent_of_block_);
        } else if (!tail_.empty()) {
            text_ = std::exchange(tail_, {});
            return true;
        } else {
            return false;
        }
        const ssize_t n = ::send(fd_.get(), data.data(), data.size(), MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN && errno != EINTR) poll_error_ = true;
            return false;
        }
        const auto sent = static_cast<std::size_t>(n);
        if (!text_.empty()) {
            text_.erase(0, sent);
            return true;
        }
        sent_of_block_ += sent;
        if (sent_of_block_ == blocks_.front().size()) {
            sent_of_block_ = 0;
            blocks_.pop_front();
            if (chunked_) {
                text_of_blocks_.pop_front();
                text_ = http::kChunkSuffix;
            }
            if (blocks_.size() == kBlocksOnTheWayMax - 1 && !exchange_->done()) exchange_->resume_body();
        }
        return true;
    }
    void watch() {
        if (poll_error_) return give_up("broke the connection");
        const bool to_write = !text_.empty() || !blocks_.empty() || !tail_.empty();
        if (poll_) poll_.watch(connected_, !connected_ || to_write);
    }
    void ask_owner() {
        ask_timer_.set(kAskEvery);
        ask_([exchange = exchange_, weak = weak_from_this()](bool there) {
            if (there) return;
            exchange->post([weak] {
                const auto proxy = weak.lock();
                if (proxy && proxy->self_) proxy->give_up("does not answer the members of the mesh any more");
            });
        });
    }
    void deliver() {
        http::ResponseHead head;
        head.status = answer_.status();
        for (const auto& field : answer_.headers().fields()) {
            if (!is_hop_by_hop(field.name)) head.headers.add(field.name, field.value);
        }
        std::string body = answer_.take_body();
        head.content_length = body.size();
        exchange_->respond(std::move(head), std::move(body));
        finish();
    }
    static bool is_hop_by_hop(std::string_view name) {
        for (const std::string_view hop : {"Connection", "Content-Length", "Transfer-Encoding", "Date", "Keep-Alive"}) {
            if (http::equal_ignoring_case(name, hop)) return true;
        }
        return false;
    }
    void give_up(const std::string& why) {
        auto error = registry::make_error(registry::ErrorCode::unavailable,
                                          "the node that holds this upload, " + http_.str() + ", " + why);
        error.retry_after_s = 2;
        answer_with(error);
        finish();
    }
    void answer_with(const registry::ApiError& error) {
        auto answer = registry::error_answer(error);
        if (!exchange_->done()) exchange_->respond(std::move(answer.head), std::move(answer.body));
    }
    /// Both sides are through, or one is gone.
    void finish() {
        if (!self_) return;
        poll_.close();
        timer_.cancel();
        ask_timer_.cancel();
        fd_.reset();
        // Destroyed after the callback that led here has returned.
        exchange_->post([self = std::exchange(self_, nullptr)] {});
    }

    std::shared_ptr<Exchange> exchange_;
    Endpoint http_;
    AskOwner ask_;
    uv::Timer timer_;
    uv::Timer ask_timer_;
    uv::Fd fd_;
    uv::Poll poll_;
    http::ResponseParser answer_{false, kAnswerMax};
    std::string text_;  // to send before the blocks
    std::deque<Block> blocks_;
    std::deque<std::string> text_of_blocks_;  // chunk prefixes; emptied once sent
    std::size_t sent_of_block_ = 0;
    std::string tail_;
    bool chunked_ = false;
    bool connected_ = false;
    bool poll_error_ = false;
    std::shared_ptr<Proxy> self_;
};

}  // namespace

void proxy_upload(std::shared_ptr<Exchange> exchange, const Endpoint& http, const MemberPass& pass,
                  AskOwner ask) {
    if (exchange->done()) return;
    // Whoever sent it meant this node to be the owner: passing it on again could go round for ever.
    if (exchange->request().headers.has(kMemberField)) {
        auto answer = registry::error_answer(registry::make_error(
            registry::ErrorCode::unavailable,
            "a node passed this request on to here, but the upload is held by node " + pass.owner.brief() +
                ", which is another; does it advertise the HTTP address of this one?"));
        return exchange->respond(std::move(answer.head), std::move(answer.body));
    }
    if (!uv::is_numeric(http)) {
        auto error = registry::make_error(registry::ErrorCode::blob_upload_unknown,
                                          "the node that holds this upload advertises no numeric address");
        auto answer = registry::error_answer(error);
        return exchange->respond(std::move(answer.head), std::move(answer.body));
    }
    std::make_shared<Proxy>(std::move(exchange), http, std::move(ask))->start(pass);
}

}  // namespace fastreg::node
