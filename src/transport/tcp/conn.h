// One data connection after its handshake: frames and raw chunk bytes in both directions. Lives on one
// io thread. Bytes land by plain recv in pool blocks and leave by sendfile, at most 256 KiB at a time,
// urgent chunks first, the others in turn.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "base/instant.h"
#include "transport/data.h"
#include "transport/tcp/serving.h"
#include "uv/poll.h"
#include "uv/socket.h"
#include "wire/frame.h"

namespace fastreg::uv {
class Loop;
}

namespace fastreg::transport::tcp {

class Conn;

/// What a connection tells its shard.
class ConnOwner {
  public:
    virtual ~ConnOwner() = default;
    virtual void on_message(Conn& conn, wire::TransferMessage message) = 0;
    virtual void on_fetch_done(Conn& conn, RequestId request, FetchEnd end) = 0;
    virtual void on_progress(Conn& conn, RequestId request, std::uint64_t bytes) = 0;
    virtual void on_served(Conn& conn, RequestId request, bool ok, std::uint64_t bytes) = 0;
    /// The last call of a connection; the owner destroys it later, not from here.
    virtual void on_closed(Conn& conn, const std::string& why) = 0;
    /// Runs `job(fd)` off the io thread, then `conn.on_warmed(serial, ok)` if the connection still lives.
    virtual void warm_up(Conn& conn, std::uint64_t serial, const ServeOrder& order) = 0;
    /// A pool of one block whose on_freed resumes `conn`.
    virtual std::shared_ptr<BlockPool> make_reserve(Conn& conn) = 0;
    [[nodiscard]] virtual BlockPool& blocks() = 0;
    /// Shared by all connections of the thread; used within one call only.
    [[nodiscard]] virtual std::span<std::byte> scratch() = 0;
};

class Conn final : public uv::PollHandler {
  public:
    struct Setup {
        std::uint64_t id = 0;  // never used twice by the owner
        NodeId peer;
        BootEpoch epoch = 0;
        uv::Fd fd;
        Bytes rest;         // bytes that came behind the handshake
        bool dialled = false;  // by this node
        std::size_t requests_in_max = 64;
    };
    Conn(uv::Loop& loop, Setup setup, ConnOwner& owner);
    ~Conn() override;

    /// Once, after the owner has stored the connection: looks at `rest` and begins to read.
    void start();

    [[nodiscard]] std::uint64_t id() const { return id_; }
    [[nodiscard]] NodeId peer() const { return peer_; }
    [[nodiscard]] BootEpoch epoch() const { return epoch_; }
    [[nodiscard]] bool dialled() const { return dialled_; }
    [[nodiscard]] bool closed() const { return closed_; }
    [[nodiscard]] Instant last_used() const { return last_used_; }
    [[nodiscard]] bool in_use() const;
    /// Whether the peer's request came here and is not answered yet.
    [[nodiscard]] bool was_asked(RequestId request) const { return asked_.contains(request); }

    void send(const wire::TransferMessage& message);
    void fetch(FetchOrder order);
    [[nodiscard]] bool has_fetch(RequestId request) const { return fetches_.contains(request); }
    void cancel_fetch(RequestId request);
    void serve(ServeOrder order);
    void cancel_serve(RequestId request);
    void on_warmed(std::uint64_t serial, bool ok);
    /// A block may be free again.
    void resume();
    /// Not reading for want of blocks: says so for every open fetch.
    void report_pause();
    /// Ends all fetches (with `end`) and serves, then on_closed.
    void close(const std::string& why, FetchEnd end = FetchEnd::link_lost);

    void on_readable() override;
    void on_writable() override;
    void on_poll_error(int os_errno) override;

  private:
    struct Fetch {
        FetchOrder order;
        std::uint64_t total = 0;
        std::uint64_t received = 0;
    };
    /// The raw bytes behind the Data frame that was read last.
    struct Body {
        bool active = false;
        bool needs_block = false;
        wire::Data head;
        RequestId request = 0;  // 0: nobody wants it
        Block block;
        std::uint32_t got = 0;
    };

    void read_frames();
    void on_frame(const wire::Frame& frame);
    void on_data(const wire::Data& data);
    void on_request(const wire::GetChunk& get);
    [[nodiscard]] bool take_block();
    void copy_rest_to_body();
    [[nodiscard]] bool read_body(std::size_t& budget);
    void end_body();
    void end_fetch(RequestId request, FetchEnd end);
    void report_progress(bool whole_piece);

    void write_some();
    [[nodiscard]] bool send_buffer();
    [[nodiscard]] bool send_piece(std::uint64_t& budget);
    void end_piece();
    [[nodiscard]] bool next_output();
    void end_serve(const Serving& serving, bool ok);
    void refuse_serve(std::unique_ptr<Serving> serving);
    void drop_serve(std::unique_ptr<Serving> serving);
    void update_watch();
    void protocol_error(const std::string& why);

    uv::Loop& loop_;
    ConnOwner& owner_;
    const std::uint64_t id_;
    const NodeId peer_;
    const BootEpoch epoch_;
    uv::Fd fd_;
    uv::Poll poll_;
    const bool dialled_;
    const std::size_t requests_in_max_;
    bool closed_ = false;
    bool paused_ = false;  // no block: not reading
    bool want_write_ = false;
    bool writing_ = false;
    Instant last_used_;

    wire::FrameReader frames_;
    std::map<RequestId, Fetch> fetches_;
    std::map<RequestId, Digest> asked_;  // the peer's requests, until they are answered
    Body body_;
    std::shared_ptr<BlockPool> reserve_;
    std::size_t urgent_fetches_ = 0;
    std::uint64_t unwanted_budget_ = 0;  // bytes of cancelled fetches that may still come
    std::uint64_t unreported_ = 0;
    Instant reported_at_;

    std::deque<Bytes> messages_;
    std::size_t messages_bytes_ = 0;
    Bytes out_;
    std::size_t out_at_ = 0;
    ServingQueue serving_;
    std::uint64_t serials_ = 0;
    std::unique_ptr<Serving> current_;  // its piece is being sent
    std::uint64_t piece_left_ = 0;
};

}  // namespace fastreg::transport::tcp
