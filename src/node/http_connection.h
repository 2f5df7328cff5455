// One HTTP/1.1 connection from accept to close: requests in, one at a time, answers out. Owned by
// an HttpWorker; io thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/block_pool.h"
#include "http/parser.h"
#include "node/http_answer.h"
#include "node/http_exchange.h"
#include "node/http_worker.h"
#include "uv/poll.h"
#include "uv/socket.h"
#include "uv/timer.h"

namespace fastreg::node {

class HttpConnection final : public uv::PollHandler {
  public:
    HttpConnection(HttpWorker& worker, std::uint64_t id, uv::Fd socket, Endpoint remote);
    ~HttpConnection() override;

    void start();
    /// 503, then close.
    void refuse();
    /// Closes when idle, else after the answer in hand.
    void drain();
    /// Idempotent. Tells the sink and the exchange.
    void close();
    [[nodiscard]] bool closed() const { return closed_; }
    [[nodiscard]] std::uint64_t id() const { return id_; }

    void on_block_free();
    /// Hands on a block that waits for more bytes, when others need one.
    void flush_partial_block();
    void on_warmed();

    // From the exchange.
    void read_body(std::shared_ptr<BodySink> sink);
    void resume_body();
    void respond(http::ResponseHead head, std::vector<BodyPart> parts, std::string body);
    void respond_growing(http::ResponseHead head,
                         std::uint64_t begin,
                         std::uint64_t end,
                         std::function<void(std::uint64_t)> on_sent);
    void advance(std::shared_ptr<store::File> file, std::uint64_t ready_end);
    void finish();
    void fail(http::ResponseHead instead, std::string body);

    void on_readable() override;
    void on_writable() override;
    void on_poll_error(int os_errno) override;

  private:
    enum class Phase { head, in_hand, lingering };
    enum class Body { unread, reading, paused, no_block, failed, done };

    // Requests in.
    void run(ByteView fresh);
    [[nodiscard]] bool step();
    [[nodiscard]] bool parse_head();
    void begin_request(http::Request request);
    void refuse_request(int status, const std::string& what);
    [[nodiscard]] bool wants_input() const;
    /// Bytes from the socket; 0: nothing now, or the connection came to its end.
    [[nodiscard]] std::size_t receive(std::span<std::byte> room);
    [[nodiscard]] bool read_some();  // false: the socket is empty or broken
    void on_stream_end();

    // Bodies in.
    [[nodiscard]] bool can_read_direct() const;
    [[nodiscard]] bool read_direct();
    [[nodiscard]] bool body_step();
    [[nodiscard]] bool have_block();
    void deliver_block();
    void end_body(Status status);
    void fail_body(Error error);
    void drop_rest_of_body();

    // Answers out.
    [[nodiscard]] std::string head_text(const http::ResponseHead& head);
    void decide_keep();
    void pump();
    void finish_answer();
    void log_answer() const;
    void linger();

    void set_deadline(Duration from_now);
    void clear_deadline() { deadline_ = Instant::never(); }
    void on_timer();
    void on_deadline();
    void update_watch();

    HttpWorker& worker_;
    const std::uint64_t id_;
    uv::Fd socket_;
    const Endpoint remote_;
    uv::Poll poll_;
    uv::Timer timer_;
    Instant timer_at_ = Instant::never();
    Instant deadline_ = Instant::never();

    http::Parser parser_;
    Phase phase_ = Phase::head;
    std::string tail_;  // received, not yet parsed
    ByteView input_;    // while run() is at work: what is left of it
    bool running_ = false;
    bool read_closed_ = false;
    bool closed_ = false;

    std::shared_ptr<Exchange> exchange_;
    bool answering_ = false;  // an answer was given to send
    bool keep_ = false;
    int status_ = 0;   // of the answer; 0 while there is none
    Instant began_{};  // when the request's head was there; set for the debug log only
    bool head_started_ = false;
    bool writable_wanted_ = false;
    bool pumping_ = false;
    bool warming_ = false;
    HttpAnswer answer_;

    Body body_ = Body::done;
    std::shared_ptr<BodySink> sink_;
    Block block_;
    std::size_t block_fill_ = 0;
    std::uint64_t body_left_ = 0;  // of a body of known length
    bool body_length_known_ = false;
};

}  // namespace fastreg::node
