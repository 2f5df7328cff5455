#include "transfer/requests.h"

#include <algorithm>

namespace fastreg::transfer {
namespace {

std::size_t as_count(std::ptrdiff_t n) { return static_cast<std::size_t>(n); }

}  // namespace

Request& Requests::add(Instant now, Context& context, const NodeId& from, ChunkIndex chunk) {
    Request request;
    request.id = ++context.last_request;
    request.from = from;
    request.chunk = chunk;
    request.sent = now;
    ++context.in_flight;
    context.peer(from).on_request(now);
    all_.push_back(request);
    return all_.back();
}

void Requests::remove(Context& context, RequestId id) {
    const auto it = std::ranges::find(all_, id, &Request::id);
    if (it == all_.end()) return;
    uncount(context, *it);
    if (it->at_peer) context.peer(it->from).on_request_ended();
    all_.erase(it);
}

Request* Requests::find(const NodeId& from, RequestId id) {
    const auto it = std::ranges::find(all_, id, &Request::id);
    return it == all_.end() || it->from != from ? nullptr : &*it;
}

void Requests::landed(Context& context, Request& request) {
    uncount(context, request);
    if (request.at_peer) context.peer(request.from).on_request_ended();
    request.at_peer = false;
    request.stale = false;
}

void Requests::uncount(Context& context, Request& request) {
    if (request.counted) --context.in_flight;
    request.counted = false;
}

std::size_t Requests::copies(ChunkIndex chunk) const {
    return as_count(std::ranges::count(all_, chunk, &Request::chunk));
}

std::size_t Requests::live_copies(ChunkIndex chunk) const {
    return as_count(std::ranges::count_if(
        all_, [&](const Request& r) { return r.chunk == chunk && !r.abandoned; }));
}

bool Requests::asked(const NodeId& from, ChunkIndex chunk) const {
    return std::ranges::any_of(
        all_, [&](const Request& r) { return r.chunk == chunk && r.from == from; });
}

bool Requests::stale_at(const NodeId& from) const {
    return std::ranges::any_of(all_, [&](const Request& r) { return r.stale && r.from == from; });
}

std::size_t Requests::counted() const { return as_count(std::ranges::count(all_, true, &Request::counted)); }

std::size_t Requests::landed_count() const {
    return as_count(std::ranges::count(all_, false, &Request::at_peer));
}

}  // namespace fastreg::transfer
