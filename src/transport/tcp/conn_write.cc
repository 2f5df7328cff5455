// Writing: control frames first, then one piece of one chunk at a time by sendfile.
#include <sys/sendfile.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "transport/tcp/conn.h"
#include "uv/loop.h"

namespace fastreg::transport::tcp {

namespace {

/// One turn of the loop sends at most this much on one connection (datapath.md: 256 KiB to 1 MiB).
constexpr std::uint64_t kSendBudget = 1U << 20U;
/// Frames waiting on a peer that does not read; more and the link is not worth keeping.
constexpr std::size_t kMessagesBytesMax = 4U << 20U;
constexpr std::size_t kMessagesMax = 8192;

}  // namespace

void Conn::send(const wire::TransferMessage& message) {
    if (closed_) return;
    if (const auto* busy = std::get_if<wire::Busy>(&message)) asked_.erase(busy->request);
    if (const auto* absent = std::get_if<wire::NotHere>(&message)) asked_.erase(absent->request);
    last_used_ = loop_.now();
    Bytes bytes = wire::encode(message);
    messages_bytes_ += bytes.size();
    messages_.push_back(std::move(bytes));
    if (messages_bytes_ > kMessagesBytesMax || messages_.size() > kMessagesMax) {
        return close("the peer does not read: over 4 MiB of messages wait for it");
    }
    if (!want_write_) write_some();
}

void Conn::serve(ServeOrder order) {
    if (closed_ || !asked_.contains(order.request)) {
        return owner_.on_served(*this, order.request, false, 0);
    }
    auto serving = std::make_unique<Serving>();
    serving->order = std::move(order);
    serving->serial = ++serials_;
    serving_.push(std::move(serving));
    if (!want_write_) write_some();
}

void Conn::cancel_serve(RequestId request) {
    if (current_ && current_->order.request == request) {
        current_->cancelled = true;  // its piece has to be finished, or the stream would be broken
        return;
    }
    if (auto serving = serving_.take(request)) drop_serve(std::move(serving));
}

void Conn::on_warmed(std::uint64_t serial, bool ok) {
    Serving* serving = serving_.by_serial(serial);
    if (closed_ || serving == nullptr) return;
    serving->warming = false;
    serving->warm = true;
    if (!ok) return refuse_serve(serving_.take(serving->order.request));
    if (!want_write_) write_some();
}

void Conn::on_writable() {
    last_used_ = loop_.now();
    write_some();
}

void Conn::write_some() {
    // An owner that is told of a served chunk may send again: the outer call goes on with that.
    if (writing_) return;
    writing_ = true;
    want_write_ = false;
    std::uint64_t budget = kSendBudget;
    bool more = true;
    while (!closed_ && more) {
        if (out_at_ < out_.size()) {
            more = send_buffer();
        } else if (piece_left_ > 0) {
            more = send_piece(budget);
        } else {
            more = next_output();
        }
    }
    writing_ = false;
    update_watch();
}

bool Conn::send_buffer() {
    const int flags = MSG_NOSIGNAL | (piece_left_ > 0 ? MSG_MORE : 0);
    const ssize_t sent = ::send(fd_.get(), out_.data() + out_at_, out_.size() - out_at_, flags);
    if (sent < 0) {
        if (errno == EINTR) return true;
        want_write_ = errno == EAGAIN || errno == EWOULDBLOCK;
        if (!want_write_) on_poll_error(errno);
        return false;
    }
    out_at_ += static_cast<std::size_t>(sent);
    if (out_at_ == out_.size() && current_ && piece_left_ == 0) end_piece();  // an empty chunk
    return true;
}

bool Conn::send_piece(std::uint64_t& budget) {
    if (budget == 0) {
        want_write_ = true;
        return false;
    }
    const ServeOrder& order = current_->order;
    auto at = static_cast<off_t>(order.file_offset + current_->sent);
    const ssize_t sent =
        ::sendfile(fd_.get(), order.file->fd(), &at, std::min(piece_left_, budget));
    if (sent <= 0) {
        if (sent < 0 && errno == EINTR) return true;
        want_write_ = sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
        if (want_write_) return false;
        // The head of the piece is out: nothing but its bytes may follow.
        close(sent == 0 ? "a blob's file became shorter while it was sent"
                        : std::string("sending a chunk failed: ") + std::strerror(errno));
        return false;
    }
    const auto count = static_cast<std::uint64_t>(sent);
    current_->sent += count;
    piece_left_ -= count;
    budget -= count;
    if (piece_left_ == 0) end_piece();
    return true;
}

void Conn::end_piece() {
    auto serving = std::move(current_);
    if (serving->sent == serving->order.length) {
        end_serve(*serving, true);
    } else if (serving->cancelled) {
        drop_serve(std::move(serving));
    } else {
        serving_.push(std::move(serving));
    }
}

bool Conn::next_output() {
    out_.clear();
    out_at_ = 0;
    while (!messages_.empty() && out_.size() < wire::kFrameRestMax) {
        const Bytes& next = messages_.front();
        out_.insert(out_.end(), next.begin(), next.end());
        messages_bytes_ -= next.size();
        messages_.pop_front();
    }
    if (!out_.empty()) return true;
    while (auto serving = serving_.pop_ready()) {
        const ServeOrder& order = serving->order;
        const std::uint64_t length =
            std::min<std::uint64_t>(order.length - serving->sent, wire::kDataPieceMax);
        const Residency residency =
            serving->warm ? Residency::cached : probe(order, serving->sent, length);
        if (residency == Residency::failed) {
            refuse_serve(std::move(serving));
            return !closed_;
        }
        if (residency == Residency::cold) {
            serving->warming = true;
            Serving& waiting = *serving;
            serving_.push(std::move(serving));
            owner_.warm_up(*this, waiting.serial, waiting.order);
            continue;
        }
        out_ = wire::encode(wire::Data{.request = order.request,
                                       .offset = static_cast<std::uint32_t>(serving->sent),
                                       .length = static_cast<std::uint32_t>(length),
                                       .total = static_cast<std::uint32_t>(order.length)});
        piece_left_ = length;
        current_ = std::move(serving);
        return true;
    }
    return false;
}

void Conn::refuse_serve(std::unique_ptr<Serving> serving) {
    // Between two pieces the stream is whole, so the asker can be told and go elsewhere.
    const RequestId request = serving->order.request;
    const auto asked = asked_.find(request);
    const Digest digest = asked != asked_.end() ? asked->second : Digest{};
    end_serve(*serving, false);
    send(wire::NotHere{.request = request, .digest = digest, .whole = false});
}

void Conn::drop_serve(std::unique_ptr<Serving> serving) {
    const RequestId request = serving->order.request;
    const auto asked = asked_.find(request);
    if (asked == asked_.end()) return end_serve(*serving, false);  // the asker said Cancel
    const Digest digest = asked->second;
    end_serve(*serving, false);
    send(wire::Busy{.request = request, .digest = digest});
}

void Conn::end_serve(const Serving& serving, bool ok) {
    asked_.erase(serving.order.request);
    owner_.on_served(*this, serving.order.request, ok, serving.sent);
}

}  // namespace fastreg::transport::tcp
