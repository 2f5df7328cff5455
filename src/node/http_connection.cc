// Requests in and the life of a connection; bodies in are in http_connection_body.cc.
#include "node/http_connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/log.h"
#include "registry/answers.h"

namespace fastreg::node {

namespace {

// Pipelined requests and the start of a body that nobody asked for yet.
constexpr std::size_t kTailBytes = 64U << 10U;
// Reads a turn, so that one fast client does not starve the others.
constexpr int kReadsPerTurn = 8;

}  // namespace

HttpConnection::HttpConnection(HttpWorker& worker, std::uint64_t id, uv::Fd socket, Endpoint remote)
    : worker_(worker),
      id_(id),
      socket_(std::move(socket)),
      remote_(std::move(remote)),
      timer_(worker.loop(), [this] { on_timer(); }),
      parser_(worker.options().parser) {}

HttpConnection::~HttpConnection() = default;

void HttpConnection::start() {
    auto poll = uv::Poll::open(worker_.loop(), socket_.get(), *this);
    if (!poll) {
        log::warn("http.connection_lost", {{"why", describe(poll.error())}});
        close();
        return;
    }
    poll_ = *std::move(poll);
    if (!remote_.empty()) uv::tune_stream(socket_.get());
    set_deadline(worker_.options().head_deadline);
    update_watch();
}

void HttpConnection::refuse() {
    start();
    if (closed_) return;
    refuse_request(503,
                   "this node has as many connections as it may have; try again, or another node");
}

void HttpConnection::drain() {
    if (phase_ == Phase::head && parser_.idle() && tail_.empty()) close();
    keep_ = false;
}

void HttpConnection::close() {
    if (closed_) return;
    closed_ = true;
    timer_.cancel();
    poll_.close();
    socket_.reset();
    if (const auto sink = std::move(sink_)) {
        sink->on_end(
            fastreg::fail(Errc::network, "the client went away in the middle of the body"));
    }
    block_.reset();
    answer_ = {};
    if (const auto exchange = std::move(exchange_)) exchange->end(false, status_);
    worker_.gone(*this);
}

void HttpConnection::on_readable() {
    for (int i = 0; i < kReadsPerTurn && !closed_ && wants_input(); ++i) {
        if (!read_some()) break;
    }
    update_watch();
}

void HttpConnection::on_writable() {
    pump();
}

void HttpConnection::on_poll_error(int) {
    close();
}

bool HttpConnection::wants_input() const {
    if (read_closed_) return false;
    if (phase_ != Phase::in_hand) return true;
    if (body_ == Body::reading) return true;
    // Otherwise only to learn that the client is gone, and not without end.
    return (body_ == Body::done || body_ == Body::unread) && tail_.size() < kTailBytes;
}

void HttpConnection::update_watch() {
    if (closed_ || !poll_) return;
    const bool readable = wants_input();
    if (poll_.reading() != readable || poll_.writing() != writable_wanted_) {
        poll_.watch(readable, writable_wanted_);
    }
}

std::size_t HttpConnection::receive(std::span<std::byte> room) {
    ssize_t n = -1;
    do {
        n = ::recv(socket_.get(), room.data(), room.size(), 0);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        worker_.meters().bytes_in.add(static_cast<std::uint64_t>(n));
        return static_cast<std::size_t>(n);
    }
    if (n == 0) {
        on_stream_end();
    } else if (errno != EAGAIN && errno != EWOULDBLOCK) {
        close();
    }
    return 0;
}

bool HttpConnection::read_some() {
    if (can_read_direct()) return read_direct();
    const std::span<std::byte> scratch = worker_.scratch();
    const std::size_t got = receive(scratch);
    if (got == 0) return false;
    if (phase_ == Phase::lingering) return true;
    const ByteView fresh = scratch.first(got);
    if (phase_ == Phase::in_hand && body_ != Body::reading) {
        tail_ += as_text(fresh);
        return true;
    }
    run(fresh);
    return !closed_;
}

// A client may close its half and still wait for the answer.
void HttpConnection::on_stream_end() {
    read_closed_ = true;
    if (phase_ != Phase::in_hand) {
        close();
    } else if (body_ == Body::reading) {
        fail_body({Errc::network, 0, "the client went away in the middle of the body"});
    }
}

void HttpConnection::run(ByteView fresh) {
    FR_ASSERT(!running_);
    std::string buffer;
    input_ = fresh;
    if (!tail_.empty()) {
        buffer = std::move(tail_);
        buffer += as_text(fresh);
        input_ = as_bytes(buffer);
    }
    tail_.clear();
    running_ = true;
    while (!closed_ && step()) {
    }
    running_ = false;
    if (!closed_) tail_.assign(as_text(input_));
    input_ = {};
    update_watch();
}

bool HttpConnection::step() {
    switch (phase_) {
        case Phase::head:
            return !input_.empty() && parse_head();
        case Phase::in_hand:
            return body_ == Body::reading && body_step();
        case Phase::lingering:
            input_ = {};
            break;
    }
    return false;
}

bool HttpConnection::parse_head() {
    http::ParseStep step = parser_.feed(input_);
    input_ = input_.subspan(step.consumed);
    if (auto* head = std::get_if<http::HeadDone>(&step.event)) {
        begin_request(std::move(head->request));
        return true;
    }
    if (const auto* bad = std::get_if<http::BadMessage>(&step.event)) {
        refuse_request(bad->status, bad->what);
        return false;
    }
    if (!head_started_ && !parser_.idle()) {
        head_started_ = true;
        set_deadline(worker_.options().head_deadline);
    }
    return !input_.empty();
}

void HttpConnection::begin_request(http::Request request) {
    worker_.meters().requests.add();
    if (log::enabled(log::Level::debug)) began_ = worker_.loop().now();
    clear_deadline();
    head_started_ = false;
    phase_ = Phase::in_hand;
    answering_ = false;
    status_ = 0;
    keep_ = request.keep_alive;
    body_length_known_ = request.content_length.has_value();
    body_left_ = request.content_length.value_or(0);
    const bool ends_here = std::holds_alternative<http::MessageDone>(parser_.feed({}).event);
    body_ = ends_here ? Body::done : Body::unread;
    exchange_ = std::make_shared<Exchange>(worker_.loop(), *this, std::move(request), remote_);
    worker_.handler().on_request(exchange_);
}

void HttpConnection::refuse_request(int status, const std::string& what) {
    registry::ApiError error = registry::make_error(
        status == 503 ? registry::ErrorCode::unavailable : registry::ErrorCode::unsupported, what);
    error.status = status;
    error.retry_after_s = status == 503 ? 1 : 0;
    log::debug("http.refused", {{"peer", remote_.str()}, {"status", status}, {"why", what}});
    registry::Answer answer = registry::error_answer(error);
    phase_ = Phase::in_hand;
    body_ = Body::failed;
    keep_ = false;
    answering_ = true;
    answer_.start(http::serialize_whole(std::move(answer.head),
                                        answer.body,
                                        false,
                                        {.minor = 1, .keep_alive = false, .date = worker_.date()}),
                  {});
    pump();
}

// Deadlines. The timer is only moved forward when it fires: most deadlines are replaced long
// before.

void HttpConnection::set_deadline(Duration from_now) {
    deadline_ = worker_.loop().now() + from_now;
    if (deadline_ < timer_at_) {
        timer_at_ = deadline_;
        timer_.set(deadline_);
    }
}

void HttpConnection::on_timer() {
    timer_at_ = Instant::never();
    if (deadline_ == Instant::never()) return;
    if (worker_.loop().now() < deadline_) {
        timer_at_ = deadline_;
        timer_.set(deadline_);
        return;
    }
    deadline_ = Instant::never();
    on_deadline();
}

void HttpConnection::on_deadline() {
    if (phase_ == Phase::head && !parser_.idle()) {
        refuse_request(408, "the request head did not arrive in time");
    } else if (phase_ == Phase::in_hand && !answering_ && body_ == Body::reading) {
        fail_body({Errc::timeout, 0, "the body of the request stopped arriving"});
        update_watch();
    } else {
        // Idle, lingering, a client that takes nothing, or a handler that forgot a broken body.
        if (answering_) uv::set_abortive_close(socket_.get());
        close();
    }
}

// Answers out.

std::string HttpConnection::head_text(const http::ResponseHead& head) {
    return http::serialize(
        head, {.minor = exchange_->request_.minor, .keep_alive = keep_, .date = worker_.date()});
}

// After this it is known whether the connection can carry another request.
void HttpConnection::decide_keep() {
    if (body_ == Body::unread && !exchange_->request_.expect_continue) drop_rest_of_body();
    if (body_ != Body::done) {
        body_ = Body::failed;
        sink_.reset();
        block_.reset();
        block_fill_ = 0;
    }
    keep_ = keep_ && body_ == Body::done && !read_closed_ && !worker_.draining();
    clear_deadline();
    answering_ = true;
}

void HttpConnection::respond(http::ResponseHead head,
                             std::vector<BodyPart> parts,
                             std::string body) {
    if (answering_) return;
    const bool head_only =
        exchange_->request_.method == http::Method::head || http::never_has_body(head.status);
    if (!head_only) {
        // A length that is not that of the body would make the client misread the next answer.
        std::uint64_t length = body.size();
        for (const BodyPart& part : parts) length += part.text.size() + part.length;
        if (length != head.content_length) {
            log::error("http.answer_length_wrong",
                       {{"path", exchange_->request_.path},
                        {"announced", head.content_length.value_or(0)},
                        {"actual", length}});
            head = {};
            head.status = 500;
            head.content_length = 0;
            parts.clear();
            body.clear();
        }
    }
    decide_keep();
    status_ = head.status;
    std::string text = head_text(head);
    if (head_only) {
        parts.clear();
    } else {
        text += body;
        if (exchange_->body_counter_ != nullptr) exchange_->body_counter_->add(body.size());
    }
    answer_.start(std::move(text), std::move(parts));
    pump();
}

void HttpConnection::respond_growing(http::ResponseHead head,
                                     std::uint64_t begin,
                                     std::uint64_t end,
                                     std::function<void(std::uint64_t)> on_sent) {
    if (answering_) return;
    decide_keep();
    status_ = head.status;
    if (exchange_->request_.method == http::Method::head || begin >= end) {
        answer_.start(head_text(head), {});
    } else {
        answer_.start_growing(head_text(head), begin, end, std::move(on_sent));
    }
    pump();
}

void HttpConnection::advance(std::shared_ptr<store::File> file, std::uint64_t ready_end) {
    if (!answering_) return;
    answer_.advance(std::move(file), ready_end);
    if (!writable_wanted_) pump();
}

void HttpConnection::finish() {
    if (answering_ && !answer_.all_ready()) {
        log::error("http.answer_cut", {{"why", "the end was announced before the last byte"}});
        close();
    }
}

void HttpConnection::fail(http::ResponseHead instead, std::string body) {
    if (!answering_) {
        if (!instead.content_length) instead.content_length = body.size();
        respond(std::move(instead), {}, std::move(body));
        return;
    }
    if (!answer_.untouched()) {
        close();
        return;
    }
    if (!instead.content_length) instead.content_length = body.size();
    status_ = instead.status;
    answer_.start(head_text(instead) + body, {});
    pump();
}

void HttpConnection::pump() {
    if (closed_ || pumping_ || warming_ || !answering_) return;
    const std::shared_ptr<Exchange> exchange = exchange_;
    Counter* const counter = exchange ? exchange->body_counter_ : nullptr;
    pumping_ = true;
    HttpAnswer::State state{};
    do {
        state = answer_.pump(socket_.get(), worker_.meters().bytes_out, counter);
    } while (!closed_ && state == HttpAnswer::State::hungry && answer_.has_more());
    pumping_ = false;
    if (closed_) return;

    writable_wanted_ = state == HttpAnswer::State::blocked || state == HttpAnswer::State::spent;
    switch (state) {
        case HttpAnswer::State::done:
            finish_answer();
            return;
        case HttpAnswer::State::blocked:
        case HttpAnswer::State::spent:
            set_deadline(worker_.options().progress_deadline);
            break;
        case HttpAnswer::State::hungry:
            clear_deadline();
            break;
        case HttpAnswer::State::cold: {
            clear_deadline();
            warming_ = true;
            const HttpAnswer::Slice& slice = answer_.cold_slice();
            worker_.warm(*this, slice.file, slice.offset, slice.length);
            break;
        }
        case HttpAnswer::State::broken:
            log::debug("http.answer_broken", {{"peer", remote_.str()}, {"why", answer_.error()}});
            if (exchange && answer_.file_failed() && exchange->on_file_failed_) exchange->on_file_failed_();
            close();
            return;
    }
    update_watch();
}

void HttpConnection::on_warmed() {
    warming_ = false;
    answer_.warmed();
    pump();
}

void HttpConnection::finish_answer() {
    answering_ = false;
    answer_ = {};
    const bool keep = keep_ && !worker_.draining();
    if (exchange_ && log::enabled(log::Level::debug)) log_answer();
    if (keep) phase_ = Phase::head;
    if (const auto exchange = std::move(exchange_)) exchange->end(true, status_);
    if (closed_) return;
    if (!keep) {
        linger();
        return;
    }
    set_deadline(worker_.options().idle_deadline);
    if (running_) return;  // run() goes on with what is left
    if (tail_.empty()) {
        update_watch();
    } else {
        run({});
    }
}

void HttpConnection::log_answer() const {
    log::debug("http.answered",
               {{"peer", remote_.str()},
                {"method", exchange_->request_.method_name},
                {"path", exchange_->request_.path},
                {"status", status_},
                {"ms", millis_of(worker_.loop().now() - began_)}});
}

// Closing with unread bytes resets the connection, and the client may lose the answer to that.
void HttpConnection::linger() {
    const bool nothing_unread = body_ == Body::done && (running_ ? input_.empty() : tail_.empty());
    if (read_closed_ || nothing_unread) {
        close();
        return;
    }
    ::shutdown(socket_.get(), SHUT_WR);
    phase_ = Phase::lingering;
    tail_.clear();
    tail_.shrink_to_fit();
    set_deadline(worker_.options().linger);
    update_watch();
}

}  // namespace fastreg::node
