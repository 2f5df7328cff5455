// Reading: frames in, raw bodies straight into blocks. Writing is in conn_write.cc.
#include "transport/tcp/conn.h"

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "uv/loop.h"

namespace fastreg::transport::tcp {

namespace {

/// One turn of the loop reads at most this much from one connection, so that others get theirs.
constexpr std::size_t kReadBudget = 1U << 20U;
/// Read while a frame is expected: more would be copied, as most of it is body.
constexpr std::size_t kFrameRead = 4096;
constexpr Duration kReportEvery = 50ms;
constexpr std::string_view kPeerClosed = "the peer closed the connection";

}  // namespace

Conn::Conn(uv::Loop& loop, Setup setup, ConnOwner& owner)
    : loop_(loop),
      owner_(owner),
      id_(setup.id),
      peer_(setup.peer),
      epoch_(setup.epoch),
      fd_(std::move(setup.fd)),
      dialled_(setup.dialled),
      requests_in_max_(setup.requests_in_max),
      last_used_(loop.now()) {
    frames_.feed(setup.rest);
}

Conn::~Conn() = default;

void Conn::start() {
    auto poll = uv::Poll::open(loop_, fd_.get(), *this);
    if (!poll) return close(describe(poll.error()));
    poll_ = std::move(*poll);
    read_frames();
    update_watch();
}

bool Conn::in_use() const {
    return !fetches_.empty() || !asked_.empty() || !serving_.empty() || current_ ||
           !messages_.empty();
}

void Conn::update_watch() {
    if (!closed_) poll_.watch(!paused_, want_write_);
}

void Conn::on_readable() {
    last_used_ = loop_.now();
    std::size_t budget = kReadBudget;
    while (!closed_ && !paused_ && budget > 0) {
        if (body_.active) {
            if (!read_body(budget)) break;
            continue;
        }
        const auto place = owner_.scratch().first(kFrameRead);
        const ssize_t got = ::recv(fd_.get(), place.data(), place.size(), 0);
        if (got == 0) return close(std::string(kPeerClosed));
        if (got < 0) {
            if (errno == EINTR) continue;
            if (errno != EAGAIN && errno != EWOULDBLOCK) return on_poll_error(errno);
            break;
        }
        const auto size = static_cast<std::size_t>(got);
        budget -= std::min(budget, size);
        frames_.feed(place.first(size));
        read_frames();
        if (size < place.size() && !body_.active) break;  // all there was; the poll tells of more
    }
    if (closed_) return;
    report_progress(false);
    update_watch();
}

void Conn::on_poll_error(int os_errno) {
    close(std::string("the connection broke: ") + std::strerror(os_errno));
}

void Conn::read_frames() {
    while (!closed_ && !paused_ && !body_.active) {
        auto frame = frames_.next();
        if (!frame) return protocol_error(frame.error().what);
        if (!*frame) return;
        on_frame(**frame);
    }
}

void Conn::on_frame(const wire::Frame& frame) {
    if (!wire::is_transfer_type(frame.type)) {
        if ((frame.flags & wire::kMustUnderstand) != 0) {
            protocol_error("a frame of type " + std::to_string(frame.type) +
                           " that must be understood");
        }
        return;
    }
    auto message = wire::decode_transfer(frame);
    if (!message) return protocol_error(message.error().what);
    if (const auto* data = std::get_if<wire::Data>(&*message)) return on_data(*data);
    if (const auto* get = std::get_if<wire::GetChunk>(&*message)) return on_request(*get);
    RequestId ended = 0;
    FetchEnd how = FetchEnd::busy;
    if (const auto* busy = std::get_if<wire::Busy>(&*message)) {
        ended = busy->request;
    } else if (const auto* absent = std::get_if<wire::NotHere>(&*message)) {
        ended = absent->request;
        how = FetchEnd::not_here;
    } else if (const auto* cancel = std::get_if<wire::Cancel>(&*message)) {
        asked_.erase(cancel->request);
        cancel_serve(cancel->request);
    }
    owner_.on_message(*this, std::move(*message));
    if (!closed_ && ended != 0 && fetches_.contains(ended)) end_fetch(ended, how);
}

void Conn::on_request(const wire::GetChunk& get) {
    if (get.request == 0 || asked_.contains(get.request)) {
        return protocol_error("a chunk request without an id of its own");
    }
    if (asked_.size() >= requests_in_max_) {
        return send(wire::Busy{.request = get.request, .digest = get.digest});
    }
    asked_.emplace(get.request, get.digest);
    owner_.on_message(*this, get);
}

void Conn::on_data(const wire::Data& data) {
    if (data.length > wire::kDataPieceMax || data.offset > data.total ||
        data.length > data.total - data.offset) {
        return protocol_error("a piece of a chunk outside its chunk");
    }
    const auto found = fetches_.find(data.request);
    if (found == fetches_.end()) {
        if (data.length > unwanted_budget_) {
            return protocol_error("bytes of a chunk nobody here asked for");
        }
        unwanted_budget_ -= data.length;
    } else if (data.total != found->second.total || data.offset != found->second.received ||
               (data.length == 0 && data.total != 0)) {
        return protocol_error("a piece of a chunk out of its order or of another size");
    }
    body_.active = true;
    body_.head = data;
    body_.request = found == fetches_.end() ? 0 : data.request;
    body_.got = 0;
    body_.needs_block = body_.request != 0 && data.length > 0;
    if (body_.needs_block && !take_block()) return;
    copy_rest_to_body();
}

bool Conn::take_block() {
    body_.block = owner_.blocks().try_take();
    if (!body_.block && urgent_fetches_ > 0) {
        // Whatever stands before the urgent chunk in the stream has to pass for it to come.
        if (!reserve_) reserve_ = owner_.make_reserve(*this);
        if (reserve_) body_.block = reserve_->try_take();
    }
    paused_ = !body_.block;
    body_.needs_block = paused_;
    return !paused_;
}

void Conn::report_pause() {
    if (closed_ || !paused_) return;
    for (const auto& [request, fetch] : fetches_) owner_.on_progress(*this, request, 0);
}

void Conn::resume() {
    if (closed_ || !paused_) return;
    if (body_.needs_block && !take_block()) return;
    paused_ = false;
    copy_rest_to_body();
    read_frames();
    update_watch();
}

void Conn::copy_rest_to_body() {
    const ByteView rest = frames_.rest();
    const std::size_t count = std::min<std::size_t>(rest.size(), body_.head.length - body_.got);
    if (count > 0) {
        if (body_.block) std::memcpy(body_.block.room().data() + body_.got, rest.data(), count);
        frames_.consume(count);
        body_.got += static_cast<std::uint32_t>(count);
        if (body_.request != 0) unreported_ += count;
    }
    if (body_.got == body_.head.length) end_body();
}

bool Conn::read_body(std::size_t& budget) {
    // The rest of the body into its block, and the head of the next frame with the same call.
    const auto scratch = owner_.scratch();
    const std::size_t left = body_.head.length - body_.got;
    std::array<iovec, 2> places{};
    if (body_.block) {
        places[0] = {body_.block.room().data() + body_.got, left};
    } else {
        places[0] = {scratch.data() + kFrameRead, std::min(left, scratch.size() - kFrameRead)};
    }
    const std::size_t first = places[0].iov_len;
    places[1] = {scratch.data(), first == left ? kFrameRead : 0};
    const ssize_t got = ::readv(fd_.get(), places.data(), 2);
    if (got == 0) {
        close(std::string(kPeerClosed));
        return false;
    }
    if (got < 0) {
        if (errno == EINTR) return true;
        if (errno != EAGAIN && errno != EWOULDBLOCK) on_poll_error(errno);
        return false;
    }
    const auto size = static_cast<std::size_t>(got);
    budget -= std::min(budget, size);
    const std::size_t mine = std::min(size, first);
    body_.got += static_cast<std::uint32_t>(mine);
    if (body_.request != 0) unreported_ += mine;
    if (size > first) frames_.feed(scratch.first(size - first));
    if (body_.got == body_.head.length) {
        end_body();
        read_frames();
    }
    return !closed_;
}

void Conn::end_body() {
    body_.active = false;
    const RequestId request = body_.request;
    Block block = std::move(body_.block);
    if (request == 0) return;  // nobody wants it: the block goes back
    const auto found = fetches_.find(request);
    FR_ASSERT(found != fetches_.end());
    Fetch& fetch = found->second;
    fetch.received += body_.head.length;
    report_progress(true);
    if (block) block.set_filled(body_.head.length);
    fetch.order.sink->on_block(body_.head.offset, std::move(block), body_.head.checksum);
    if (fetch.received == fetch.total) end_fetch(request, FetchEnd::all_sent_to_sink);
}

void Conn::report_progress(bool whole_piece) {
    if (unreported_ == 0 || body_.request == 0) return;
    const Instant now = loop_.now();
    if (!whole_piece && now - reported_at_ < kReportEvery) return;
    reported_at_ = now;
    owner_.on_progress(*this, body_.request, std::exchange(unreported_, 0));
}

void Conn::fetch(FetchOrder order) {
    const RequestId request = order.request;
    const std::uint64_t total = ChunkGrid(order.blob_size).size_of(order.chunk);
    const wire::GetChunk get{.request = request,
                             .digest = order.digest,
                             .size = order.blob_size,
                             .chunk = order.chunk,
                             .urgent = order.urgent};
    urgent_fetches_ += order.urgent ? 1 : 0;
    fetches_.insert_or_assign(request, Fetch{.order = std::move(order), .total = total});
    if (paused_) resume();  // an urgent one may use the reserve
    send(get);
}

void Conn::end_fetch(RequestId request, FetchEnd end) {
    const auto found = fetches_.find(request);
    if (found == fetches_.end()) return;
    urgent_fetches_ -= found->second.order.urgent ? 1 : 0;
    fetches_.erase(found);
    owner_.on_fetch_done(*this, request, end);
}

void Conn::cancel_fetch(RequestId request) {
    const auto found = fetches_.find(request);
    if (found == fetches_.end()) return;
    // Pieces on their way are read and dropped; no more of them than the chunk has bytes.
    unwanted_budget_ += found->second.total - found->second.received;
    if (body_.active && body_.request == request) {
        unwanted_budget_ -= body_.head.length;
        body_.request = 0;
        body_.needs_block = false;
        unreported_ = 0;
    }
    end_fetch(request, FetchEnd::cancelled);
    send(wire::Cancel{.request = request});
    resume();
}

void Conn::protocol_error(const std::string& why) {
    close("the peer broke the protocol: " + why, FetchEnd::protocol_error);
}

void Conn::close(const std::string& why, FetchEnd end) {
    if (std::exchange(closed_, true)) return;
    poll_.close();
    fd_.reset();
    body_.block.reset();
    while (!fetches_.empty()) end_fetch(fetches_.begin()->first, end);
    if (current_) end_serve(*std::exchange(current_, nullptr), false);
    while (auto serving = serving_.take_any()) end_serve(*serving, false);
    owner_.on_closed(*this, why);
}

}  // namespace fastreg::transport::tcp
