// A request about an upload that another node holds: passed on to that node's registry listener, body
// and answer streamed through. Io threads only.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "base/endpoint.h"
#include "base/hash.h"
#include "base/ids.h"
#include "node/http_exchange.h"

namespace fastreg::node {

/// By what the other node knows that the gate for remote writes was already passed here.
struct MemberPass {
    std::optional<Mac> key;  // none in a mesh without a key: nothing is proven
    NodeId self;
    NodeId owner;  // of the upload
};

/// Asks, on whatever thread knows, whether the owner may still answer; `answer` may be called on any thread,
/// once or never.
using AskOwner = std::function<void(std::function<void(bool there)> answer)>;

/// Answers the exchange with what the node at `http` says; 503 when it cannot be reached, or when `ask` says, at
/// one of its turns every second, that it is gone: a process that is stopped keeps its connections.
void proxy_upload(std::shared_ptr<Exchange> exchange, const Endpoint& http, const MemberPass& pass,
                  AskOwner ask = {});

}  // namespace fastreg::node
