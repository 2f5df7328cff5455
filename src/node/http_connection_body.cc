// Request bodies: out of the socket into blocks, to whoever asked for them.

#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "node/http_connection.h"

namespace fastreg::node {

void HttpConnection::read_body(std::shared_ptr<BodySink> sink) {
    if (answering_ || sink_ || body_ == Body::failed) {
        sink->on_end(
            fastreg::fail(Errc::cancelled, "the body of this request is not read any more"));
        return;
    }
    if (body_ == Body::done) {
        sink->on_end({});
        return;
    }
    sink_ = std::move(sink);
    body_ = Body::reading;
    const bool nothing_came = running_ ? input_.empty() : tail_.empty();
    if (exchange_->request_.expect_continue && nothing_came) {
        const std::string_view text = http::kContinue;
        // 25 bytes into a socket that holds nothing else; a failure shows at the next read.
        (void)!::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL);
    }
    if (read_closed_ && nothing_came) {
        fail_body({Errc::network, 0, "the client went away before its body was read"});
        return;
    }
    set_deadline(worker_.options().progress_deadline);
    if (!running_) run({});
}

void HttpConnection::resume_body() {
    if (body_ != Body::paused) return;
    body_ = Body::reading;
    set_deadline(worker_.options().progress_deadline);
    if (!running_) run({});
}

void HttpConnection::on_block_free() {
    if (body_ != Body::no_block) return;
    body_ = Body::reading;
    set_deadline(worker_.options().progress_deadline);
    if (!running_) run({});
}

void HttpConnection::flush_partial_block() {
    if (body_ != Body::reading || block_fill_ == 0 || running_) return;
    deliver_block();
    update_watch();
}

bool HttpConnection::have_block() {
    if (block_) return true;
    block_ = worker_.take_block(*this);
    block_fill_ = 0;
    if (!block_) {
        body_ = Body::no_block;
        clear_deadline();  // it is not the client that is slow
        return false;
    }
    return true;
}

void HttpConnection::deliver_block() {
    if (block_fill_ == 0) {
        block_.reset();
        return;
    }
    block_.set_filled(block_fill_);
    block_fill_ = 0;
    const std::shared_ptr<BodySink> sink = sink_;
    const bool more = sink->on_block(std::move(block_));
    if (!more && body_ == Body::reading) {
        body_ = Body::paused;
        clear_deadline();
    }
}

void HttpConnection::end_body(Status status) {
    const auto sink = std::move(sink_);
    sink_.reset();
    block_.reset();
    block_fill_ = 0;
    body_ = status ? Body::done : Body::failed;
    clear_deadline();
    if (sink) sink->on_end(std::move(status));
}

// What arrived is given first: an upload goes on from there.
void HttpConnection::fail_body(Error error) {
    if (sink_ && block_fill_ > 0) deliver_block();
    end_body(tl::unexpected<Error>(std::move(error)));
    // A handler that does not answer a broken body must not keep the connection for ever.
    if (!closed_ && !answering_ && exchange_) set_deadline(worker_.options().progress_deadline);
}

// A body of known length goes from the socket straight into its block.
bool HttpConnection::can_read_direct() const {
    return phase_ == Phase::in_hand && body_ == Body::reading && body_length_known_ &&
           body_left_ > 0 && tail_.empty();
}

bool HttpConnection::read_direct() {
    if (!have_block()) return false;
    const std::span<std::byte> room = block_.room().subspan(block_fill_);
    const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(room.size(), body_left_));
    const std::size_t got = receive(room.first(want));
    if (got == 0) return false;
    const http::ParseStep step = parser_.feed(room.first(got));
    FR_ASSERT(step.consumed == got && std::holds_alternative<http::BodyData>(step.event));
    block_fill_ += got;
    body_left_ -= got;
    set_deadline(worker_.options().progress_deadline);
    if (body_left_ > 0) {
        if (block_fill_ == block_.room().size()) deliver_block();
        return !closed_;
    }
    deliver_block();
    // The sink may have answered already, and so ended the reading.
    if (!closed_ && sink_) {
        (void)parser_.feed({});
        end_body({});
    }
    return !closed_;
}

bool HttpConnection::body_step() {
    if (!input_.empty() && !have_block()) return false;
    const std::size_t room = block_ ? block_.room().size() - block_fill_ : 0;
    const http::ParseStep step = parser_.feed(input_.first(std::min(room, input_.size())));
    input_ = input_.subspan(step.consumed);
    if (const auto* body = std::get_if<http::BodyData>(&step.event)) {
        std::memcpy(block_.room().data() + block_fill_, body->bytes.data(), body->bytes.size());
        block_fill_ += body->bytes.size();
        body_left_ -= std::min<std::uint64_t>(body_left_, body->bytes.size());
        set_deadline(worker_.options().progress_deadline);
        if (block_fill_ == block_.room().size()) deliver_block();
        return true;
    }
    if (std::holds_alternative<http::MessageDone>(step.event)) {
        deliver_block();
        if (!closed_ && sink_) end_body({});
        return true;
    }
    if (const auto* bad = std::get_if<http::BadMessage>(&step.event)) {
        fail_body({Errc::protocol, 0, bad->what});
        return false;
    }
    if (input_.empty() && read_closed_ && body_ == Body::reading) {
        // The end of the stream was seen before anybody wanted the body.
        fail_body({Errc::network, 0, "the client went away in the middle of the body"});
        return false;
    }
    return !input_.empty();
}

// Of a body that nobody wanted: if all of it is here, the connection can go on.
void HttpConnection::drop_rest_of_body() {
    ByteView rest = running_ ? input_ : as_bytes(tail_);
    while (body_ == Body::unread) {
        const http::ParseStep step = parser_.feed(rest);
        rest = rest.subspan(step.consumed);
        if (std::holds_alternative<http::MessageDone>(step.event)) {
            body_ = Body::done;
        } else if (std::holds_alternative<http::BadMessage>(step.event) ||
                   (std::holds_alternative<http::NeedMore>(step.event) && rest.empty())) {
            body_ = Body::failed;
        }
    }
    if (running_) {
        input_ = rest;
    } else {
        tail_.erase(0, tail_.size() - rest.size());
    }
}

}  // namespace fastreg::node
