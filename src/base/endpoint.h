// Where something listens: a host (numeric address or DNS name) and a port. A value.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace fastreg {

struct Endpoint {
    std::string host;  // without brackets; empty means "none"
    std::uint16_t port = 0;

    auto operator<=>(const Endpoint&) const = default;
    [[nodiscard]] bool empty() const { return host.empty(); }
    /// "10.0.0.1:7946", "[::1]:7946"; empty when there is none.
    [[nodiscard]] std::string str() const;
    /// "HOST:PORT", "[V6]:PORT", ":PORT" (any address). The error says which part is wrong.
    [[nodiscard]] static Result<Endpoint> parse(std::string_view text);
};

}  // namespace fastreg
