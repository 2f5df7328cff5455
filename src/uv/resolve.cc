#include "uv/resolve.h"

#include <algorithm>
#include <string>

#include "uv/handle.h"
#include "uv/loop.h"
#include "uv/socket.h"

namespace fastreg::uv {

namespace {

constexpr std::size_t kAddressesMax = 64;

}  // namespace

/// Lives until libuv has called back, wanted or not.
struct Resolve::Request {
    uv_getaddrinfo_t uv{};
    Endpoint name;
    Resolve::OnDone on_done;  // empty: nobody waits any more
    std::shared_ptr<Request> self;

    void finish(int status, const addrinfo* list) {
        const auto keep = std::move(self);
        const Resolve::OnDone done = std::exchange(on_done, nullptr);
        if (!done) return;
        std::vector<Endpoint> found;
        for (const addrinfo* at = list; at != nullptr; at = at->ai_next) {
            if (at->ai_family != AF_INET && at->ai_family != AF_INET6) continue;
            Endpoint endpoint = to_endpoint(at->ai_addr);
            endpoint.port = name.port;
            if (std::find(found.begin(), found.end(), endpoint) != found.end()) continue;
            if (found.size() == kAddressesMax) break;
            found.push_back(std::move(endpoint));
        }
        if (status == 0 && !found.empty()) return done(std::move(found));
        const std::string why = status != 0 ? uv_strerror(status) : "no IPv4 or IPv6 address";
        done(fail(Errc::network, "cannot resolve the host name '" + name.host + "' (" + why +
                                     "); check the spelling and this machine's DNS"));
    }
};

struct Resolve::State {
    std::shared_ptr<Request> request;
};

void Resolve::Cancel::operator()(State* state) const {
    state->request->on_done = nullptr;
    if (state->request->self) uv_cancel(reinterpret_cast<uv_req_t*>(&state->request->uv));
    delete state;
}

Resolve::Resolve(Loop& loop, const Endpoint& name, OnDone on_done)
    : state_(new State{std::make_shared<Request>()}) {
    const std::shared_ptr<Request>& request = state_->request;
    request->uv.data = request.get();
    request->name = name;
    request->on_done = std::move(on_done);
    request->self = request;
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    const int rc = uv_getaddrinfo(
        loop.raw(), &request->uv,
        [](uv_getaddrinfo_t* uv, int status, addrinfo* list) noexcept {
            static_cast<Request*>(uv->data)->finish(status, list);
            uv_freeaddrinfo(list);
        },
        name.host.c_str(), nullptr, &hints);
    if (rc != 0) {
        // An impossible name (too long, bad characters) fails at once; the answer still comes later.
        request->self.reset();
        loop.post([request, rc] { request->finish(rc, nullptr); });
    }
}

}  // namespace fastreg::uv
