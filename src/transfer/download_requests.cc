// The life of one request: asked, turned away, cancelled, forgotten with its node.
#include <algorithm>

#include "transfer/download.h"
#include "transfer/download_times.h"

namespace fastreg::transfer {

void Download::ask(Instant now, const NodeId& node, ChunkIndex chunk, bool window, bool extra, Outbox& out) {
    // A copy asked of a node that fell silent is given up now, except the one that probes it.
    if (!extra) {
        std::vector<RequestId> given_up;
        for (const Request& request : requests_.all()) {
            if (request.chunk == chunk && request.abandoned &&
                context_.peer(request.from).outstanding() > 1) {
                given_up.push_back(request.id);
                out.push_back(CancelFetch{request.from, request.id});
            }
        }
        for (const RequestId id : given_up) end_request(id);
    }
    picker_.close(chunk);
    Request& request = requests_.add(now, context_, node, chunk);
    request.window = window;
    request.extra = extra;
    const ByteView start = trust_.start_of(chunk);
    const ByteView end = trust_.end_of(chunk);
    const std::vector<ChunkIndex> waiting = heads();
    out.push_back(FetchChunk{node,
                             request.id,
                             digest_,
                             *size_,
                             chunk,
                             Bytes(start.begin(), start.end()),
                             Bytes(end.begin(), end.end()),
                             std::ranges::find(waiting, chunk) != waiting.end(),
                             extra});
}

void Download::on_busy(Instant now, const NodeId& from, const wire::Busy& message, Outbox& out) {
    if (over_) return;
    on_others(message.try_instead);
    if (message.request == 0) {
        const Neighbour* neighbour = swarm_.find(from);
        if (neighbour != nullptr && neighbour->dialled) remove_neighbour(now, from, kRedial, out);
        return;
    }
    const Request* request = requests_.find(from, message.request);
    if (request == nullptr) return;
    Peer& peer = context_.peer(from);
    peer.on_round_trip(now - request->sent);
    const Duration pause = pacing_.tau().count() > 0 ? pacing_.tau() / 2 : Duration(10ms);
    peer.avoid(now + std::clamp<Duration>(pause, 200us, 500ms));
    end_request(message.request);
}

void Download::on_not_here(Instant now, const NodeId& from, const wire::NotHere& message, Outbox& out) {
    Neighbour* neighbour = swarm_.find(from);
    if (neighbour == nullptr || over_) return;
    if (message.request != 0) {
        const Request* request = requests_.find(from, message.request);
        if (request == nullptr) return;
        const ChunkIndex chunk = request->chunk;
        end_request(message.request);
        if (!message.whole) {
            if (neighbour->complete) {
                neighbour->complete = false;
            }
            if (neighbour->has.clear(chunk)) picker_.on_copy_gone(chunk);
            return;
        }
    }
    out.push_back(WrongHint{digest_, from});
    remove_neighbour(now, from, kRedialNotHere, out);
}

void Download::end_request(RequestId id) {
    const auto it = std::ranges::find(requests_.all(), id, &Request::id);
    if (it == requests_.all().end()) return;
    const ChunkIndex chunk = it->chunk;
    requests_.remove(context_, id);
    if (!have_.has(chunk) && !limbo_.has(chunk) && requests_.live_copies(chunk) == 0) picker_.reopen(chunk);
}

void Download::cancel_request(const Request& request, Outbox& out) {
    out.push_back(CancelFetch{request.from, request.id});
    end_request(request.id);
}

void Download::forget_requests_of(Instant, const NodeId& node, bool tell, Outbox& out) {
    for (bool found = true; found;) {
        found = false;
        for (const Request& request : requests_.all()) {
            if (request.from != node) continue;
            if (tell) out.push_back(CancelFetch{node, request.id});
            end_request(request.id);
            found = true;
            break;
        }
    }
}

}  // namespace fastreg::transfer
