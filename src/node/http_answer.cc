#include "node/http_answer.h"

#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace fastreg::node {

namespace {

// Progress of a growing answer is told this often.
constexpr std::uint64_t kTellBytes = 1U << 20U;
constexpr std::size_t kCopyBytes = 64U << 10U;

}  // namespace

void HttpAnswer::start(std::string text, std::vector<BodyPart> parts) {
    *this = HttpAnswer{};
    text_ = std::move(text);
    parts_ = std::move(parts);
}

void HttpAnswer::start_growing(std::string head,
                               std::uint64_t begin,
                               std::uint64_t end,
                               std::function<void(std::uint64_t)> on_sent) {
    *this = HttpAnswer{};
    text_ = std::move(head);
    growing_ = true;
    position_ = ready_end_ = told_ = begin;
    end_ = end;
    on_sent_ = std::move(on_sent);
}

void HttpAnswer::advance(std::shared_ptr<store::File> file, std::uint64_t ready_end) {
    if (file) {
        if (file != file_) warm_end_ = 0;
        file_ = std::move(file);
    }
    ready_end_ = std::clamp(ready_end, ready_end_, end_);
}

bool HttpAnswer::more_follows() const {
    if (growing_) return position_ < ready_end_;
    return part_ < parts_.size();
}

HttpAnswer::Step HttpAnswer::broken(std::string why) {
    error_ = std::move(why);
    return Step::broken;
}

HttpAnswer::Step HttpAnswer::broken_file(std::string why) {
    file_failed_ = true;
    return broken(std::move(why));
}

HttpAnswer::Step HttpAnswer::send_text(int fd) {
    const ssize_t n = ::send(fd,
                             text_.data() + text_sent_,
                             text_.size() - text_sent_,
                             MSG_NOSIGNAL | (more_follows() ? MSG_MORE : 0));
    if (n < 0) {
        if (errno == EINTR) return Step::moved;
        if (errno == EAGAIN || errno == EWOULDBLOCK) return Step::blocked;
        return broken(std::string("the client went away: ") + std::strerror(errno));
    }
    text_sent_ += static_cast<std::size_t>(n);
    sent_ += static_cast<std::uint64_t>(n);
    turn_left_ -= std::min(turn_left_, static_cast<std::uint64_t>(n));
    if (text_sent_ == text_.size()) {
        text_.clear();
        text_sent_ = 0;
    }
    return Step::moved;
}

// Asked of the first and the last byte: read-ahead works in larger pieces than that, and a wrong
// guess costs one slow sendfile.
bool HttpAnswer::resident(const store::File& file,
                          std::uint64_t offset,
                          std::uint64_t length) const {
    std::byte byte{};
    iovec vector{&byte, 1};
    for (const std::uint64_t at : {offset, offset + length - 1}) {
        const ssize_t n =
            ::preadv2(file.native_handle(), &vector, 1, static_cast<off_t>(at), RWF_NOWAIT);
        if (n < 0 && errno == EAGAIN) return false;
    }
    return true;
}

HttpAnswer::Step HttpAnswer::send_file(int fd,
                                       const std::shared_ptr<store::File>& file,
                                       std::uint64_t& offset,
                                       std::uint64_t& length) {
    if (!file) return broken("the body has no file");
    const std::uint64_t slice = std::min(length, std::max<std::uint64_t>(turn_left_, 1));
    if (file->native_handle() < 0) {
        const std::uint64_t before = sent_;
        const Step step = send_copy(fd, *file, offset, slice);
        offset += sent_ - before;
        length -= sent_ - before;
        return step;
    }
    if (offset + slice > warm_end_ || offset < cold_.offset) {
        if (!resident(*file, offset, slice)) {
            cold_ = {file, offset, std::min(length, kTurnBytes)};
            return Step::cold;
        }
    }
    auto at = static_cast<off_t>(offset);
    const ssize_t n = ::sendfile(fd, file->native_handle(), &at, slice);
    if (n < 0) {
        const int code = errno;  // what follows may change it
        if (code == EINTR) return Step::moved;
        if (code == EAGAIN || code == EWOULDBLOCK) return Step::blocked;
        const std::string why = std::string("sending the body failed: ") + std::strerror(code);
        return code == EIO ? broken_file(why) : broken(why);  // a socket fails with other words
    }
    if (n == 0) return broken_file("the file of the body is shorter than the blob");
    const auto moved = static_cast<std::uint64_t>(n);
    offset += moved;
    length -= moved;
    sent_ += moved;
    file_sent_ += moved;
    turn_left_ -= std::min(turn_left_, moved);
    return Step::moved;
}

// For files without a descriptor (a simulated disk).
HttpAnswer::Step HttpAnswer::send_copy(int fd,
                                       store::File& file,
                                       std::uint64_t offset,
                                       std::uint64_t length) {
    std::array<std::byte, kCopyBytes> buffer{};
    const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(length, buffer.size()));
    const auto got = file.pread(std::span(buffer).first(want), offset);
    if (!got) return broken_file("reading the body failed: " + describe(got.error()));
    if (*got == 0) return broken_file("the file of the body is shorter than the blob");
    const ssize_t n = ::send(fd, buffer.data(), *got, MSG_NOSIGNAL);
    if (n < 0) {
        if (errno == EINTR) return Step::moved;
        if (errno == EAGAIN || errno == EWOULDBLOCK) return Step::blocked;
        return broken(std::string("the client went away: ") + std::strerror(errno));
    }
    const auto moved = static_cast<std::uint64_t>(n);
    sent_ += moved;
    file_sent_ += moved;
    turn_left_ -= std::min(turn_left_, moved);
    return Step::moved;
}

void HttpAnswer::tell_reader(bool caught_up) {
    if (!on_sent_ || position_ == told_) return;
    if (!caught_up && position_ - told_ < kTellBytes) return;
    told_ = position_;
    const auto tell = on_sent_;  // the reader may end this answer
    tell(position_);
}

HttpAnswer::Step HttpAnswer::step(int fd) {
    if (growing_) {
        // The head waits for the first bytes, so that a failure before them can still be an answer.
        if (position_ == ready_end_ && position_ < end_ && text_.size() > 0 && text_sent_ == 0) {
            return Step::hungry;
        }
        if (!text_.empty()) return send_text(fd);
        if (position_ == end_) return Step::end;
        if (position_ == ready_end_) return Step::hungry;
        std::uint64_t length = ready_end_ - position_;
        return send_file(fd, file_, position_, length);
    }
    if (!text_.empty()) return send_text(fd);
    if (part_ == parts_.size()) return Step::end;
    BodyPart& part = parts_[part_];
    if (!part.text.empty()) {
        text_ = std::move(part.text);
        part.text.clear();
        if (part.length == 0) ++part_;  // so that more_follows() is right about what comes behind
        return Step::moved;
    }
    if (part.length == 0) {
        ++part_;
        return Step::moved;
    }
    return send_file(fd, part.file, part.offset, part.length);
}

HttpAnswer::State HttpAnswer::pump(int fd, Counter& sent, Counter* body) {
    turn_left_ = kTurnBytes;
    const std::uint64_t sent_before = sent_;
    const std::uint64_t file_before = file_sent_;
    State state = State::spent;
    while (turn_left_ > 0) {
        const Step result = step(fd);
        if (result == Step::moved) continue;
        switch (result) {
            case Step::end:
                state = State::done;
                break;
            case Step::blocked:
                state = State::blocked;
                break;
            case Step::hungry:
                state = State::hungry;
                break;
            case Step::cold:
                state = State::cold;
                break;
            case Step::broken:
            case Step::moved:
                state = State::broken;
                break;
        }
        break;
    }
    sent.add(sent_ - sent_before);
    if (body != nullptr) body->add(file_sent_ - file_before);
    if (growing_) tell_reader(state == State::hungry || state == State::done);
    return state;
}

}  // namespace fastreg::node
