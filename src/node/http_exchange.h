// One HTTP request and its answer, between the socket (node/http_connection.cc) and whoever
// answers. Lives on the io thread of its connection: everything here but post() is called there,
// and every callback comes there. The client may go at any time; then calls do nothing, and on_done
// has said so.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/block_pool.h"
#include "base/endpoint.h"
#include "base/metrics.h"
#include "base/result.h"
#include "http/request.h"
#include "http/response.h"
#include "store/fs.h"
#include "uv/loop.h"

namespace fastreg::node {

class HttpConnection;

/// Takes a request body as it arrives.
class BodySink {
  public:
    virtual ~BodySink() = default;
    /// The next bytes in order, `block.filled()`. False: no more until Exchange::resume_body().
    [[nodiscard]] virtual bool on_block(Block block) = 0;
    /// Exactly once: ok when the whole body was given; else it broke off, stalled or was malformed.
    virtual void on_end(Status status) = 0;
};

/// A piece of an answer's body: text, then a range of a file. Either may be empty.
struct BodyPart {
    std::string text;
    std::shared_ptr<store::File> file;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
};

class Exchange : public std::enable_shared_from_this<Exchange> {
  public:
    using OnDone = std::function<void(bool complete, int status)>;

    Exchange(uv::Loop& loop, HttpConnection& connection, http::Request request, Endpoint remote);
    Exchange(const Exchange&) = delete;
    Exchange& operator=(const Exchange&) = delete;

    /// ANY THREAD. Runs on the io thread, in order; keep a shared_ptr to this in the job.
    void post(uv::Job job) { loop_.post(std::move(job)); }

    /// Of this io thread.
    [[nodiscard]] uv::Loop& loop() { return loop_; }
    [[nodiscard]] const http::Request& request() const { return request_; }
    /// Empty when it came over a unix socket.
    [[nodiscard]] const Endpoint& remote() const { return remote_; }
    /// The answer is given, or the client is gone.
    [[nodiscard]] bool done() const { return connection_ == nullptr; }

    // The body. Not a byte of it is read before one of these (a client that waits for 100 Continue
    // is told to go on then). At most one of them, once, before the answer.
    void read_body(std::shared_ptr<BodySink> sink);
    /// The whole of it at once. Errc::too_large over `max`: answer 413; the connection closes then.
    void read_body(std::uint64_t max, std::function<void(Result<Bytes>)> done);
    void resume_body();

    // The answer: one of these, once. To HEAD only the head is sent, whatever the body. An answer
    // before the body was read closes the connection after it, unless the rest is here already.
    void respond(http::ResponseHead head, std::string body = {});
    /// `head.content_length` must be the sum of all parts.
    void respond(http::ResponseHead head, std::vector<BodyPart> parts);
    /// Bytes [begin, end) of a file that is still being written; `head.content_length` is end -
    /// begin. The head goes out with the first bytes. `on_sent` is told how far the client is (an
    /// offset of the file, the end of what was given to the kernel), about once a MiB and when it
    /// has caught up.
    void respond_growing(http::ResponseHead head,
                         std::uint64_t begin,
                         std::uint64_t end,
                         std::function<void(std::uint64_t)> on_sent = {});
    /// Bytes before `ready_end` may be sent; nothing past it ever is. `file` may change (a repaired
    /// blob has a new inode).
    void advance(std::shared_ptr<store::File> file, std::uint64_t ready_end);
    /// The last advance() was the end: bytes up to `end` are ready.
    void finish();
    /// The bytes will not come. Before the first byte was sent this answers `instead`; after that
    /// the connection is cut, so that the client sees a short body and resumes.
    void fail(http::ResponseHead instead, std::string body);

    /// Called once: true when the last byte of the answer was given to the kernel, false when the
    /// client went away or the answer was cut. `status` is that of the answer, 0 when none was given.
    /// Several may wait for it; at once when it is over already.
    void add_on_done(OnDone on_done);
    /// Counts the bytes of this answer's body as they go out.
    void count_body_bytes(Counter* counter) { body_counter_ = counter; }
    /// Told, once at most, that a file of the body was shorter than it should be or could not be read; the
    /// connection is cut then.
    void on_file_failed(std::function<void()> told) { on_file_failed_ = std::move(told); }

  private:
    friend class HttpConnection;
    void end(bool complete, int status);

    uv::Loop& loop_;
    HttpConnection* connection_;
    http::Request request_;
    Endpoint remote_;
    std::vector<OnDone> on_done_;
    Counter* body_counter_ = nullptr;
    std::function<void()> on_file_failed_;
};

/// Whoever answers requests. Called on io threads, several at once.
class HttpHandler {
  public:
    virtual ~HttpHandler() = default;
    virtual void on_request(std::shared_ptr<Exchange> exchange) = 0;
};

}  // namespace fastreg::node
