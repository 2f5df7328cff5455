// A request about an upload that another node holds: passed on to that node's registry listener, body
// and answer streamed through. Io threads only.
#pragma once

#include <memory>

#include "base/endpoint.h"
#include "base/hash.h"
#include "node/http_exchange.h"

namespace fastreg::node {

/// True when another node of the mesh passes this request on: it proves the mesh's key over method and
/// target, so that the gate for remote writes was already passed there.
[[nodiscard]] bool is_from_member(const http::Request& request, const Mac& key);

/// Answers the exchange with what the node at `http` says; 503 when it cannot be reached.
void proxy_upload(std::shared_ptr<Exchange> exchange, const Endpoint& http, const Mac& key);

}  // namespace fastreg::node
