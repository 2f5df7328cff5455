// The answer in hand on its way into a socket: text, file ranges by sendfile, or a file that still
// grows. Knows the descriptor only while pump() runs. io thread of the connection only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "node/http_exchange.h"

namespace fastreg::node {

class HttpAnswer {
  public:
    enum class State {
        done,     // the last byte was given to the kernel
        blocked,  // the socket is full: pump again when it is writable
        spent,    // its share of this turn is used up: pump again on the next turn
        hungry,   // a growing file: pump again after advance()
        cold,     // the next bytes are not in the page cache: read cold_slice(), then pump again
        broken,   // the socket or the file failed; `error()` says which
    };

    /// The kernel gets at most this much a turn, so that one fast client does not starve the
    /// others.
    static constexpr std::uint64_t kTurnBytes = 1U << 20U;

    void start(std::string text, std::vector<BodyPart> parts);
    void start_growing(std::string head,
                       std::uint64_t begin,
                       std::uint64_t end,
                       std::function<void(std::uint64_t)> on_sent);
    void advance(std::shared_ptr<store::File> file, std::uint64_t ready_end);
    /// True while a growing answer has not given a byte away: it can still become another answer.
    [[nodiscard]] bool untouched() const { return growing_ && sent_ == 0; }
    /// A growing answer has bytes to send, or its end.
    [[nodiscard]] bool has_more() const { return position_ < ready_end_ || position_ == end_; }
    [[nodiscard]] bool all_ready() const { return ready_end_ == end_; }

    /// `sent` and `body` are told of the bytes given to the kernel (`body`, when not null, of file
    /// bytes).
    [[nodiscard]] State pump(int fd, Counter& sent, Counter* body);
    [[nodiscard]] const std::string& error() const { return error_; }
    /// It broke because a file is shorter than it should be, or cannot be read.
    [[nodiscard]] bool file_failed() const { return file_failed_; }

    struct Slice {
        std::shared_ptr<store::File> file;
        std::uint64_t offset = 0;
        std::uint64_t length = 0;
    };
    [[nodiscard]] const Slice& cold_slice() const { return cold_; }
    /// The slice was read (or could not be): do not ask for it again.
    void warmed() { warm_end_ = cold_.offset + cold_.length; }

  private:
    enum class Step { moved, end, blocked, hungry, cold, broken };
    Step send_text(int fd);
    Step send_file(int fd,
                   const std::shared_ptr<store::File>& file,
                   std::uint64_t& offset,
                   std::uint64_t& length);
    Step send_copy(int fd, store::File& file, std::uint64_t offset, std::uint64_t length);
    Step step(int fd);
    [[nodiscard]] bool more_follows() const;
    [[nodiscard]] bool resident(const store::File& file,
                                std::uint64_t offset,
                                std::uint64_t length) const;
    Step broken(std::string why);
    Step broken_file(std::string why);
    void tell_reader(bool caught_up);

    std::string text_;
    std::size_t text_sent_ = 0;
    std::vector<BodyPart> parts_;
    std::size_t part_ = 0;

    bool growing_ = false;
    std::shared_ptr<store::File> file_;
    std::uint64_t position_ = 0;
    std::uint64_t ready_end_ = 0;
    std::uint64_t end_ = 0;
    std::uint64_t told_ = 0;
    std::function<void(std::uint64_t)> on_sent_;

    std::uint64_t sent_ = 0;       // of this answer
    std::uint64_t file_sent_ = 0;  // of these from files
    std::uint64_t turn_left_ = 0;
    Slice cold_;
    std::uint64_t warm_end_ = 0;  // a file offset: before it no residency is asked
    std::string error_;
    bool file_failed_ = false;
};

}  // namespace fastreg::node
