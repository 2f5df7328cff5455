#include "base/endpoint.h"

#include <algorithm>
#include <charconv>

namespace fastreg {

namespace {

/// Characters of DNS names and numeric addresses, with the '%' of a scope; the rest is a mistake or a
/// trick on whoever reads the log.
bool is_host_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_' || c == ':' || c == '%';
}

}  // namespace

std::string Endpoint::str() const {
    if (host.empty()) return {};
    const bool v6 = host.find(':') != std::string::npos;
    return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<Endpoint> Endpoint::parse(std::string_view text) {
    const auto complain = [&](std::string_view why) {
        return fail(Errc::invalid_argument, "address '" + std::string(text) + "' " + std::string(why) +
                                                "; write HOST:PORT or [IPV6]:PORT");
    };
    const auto colon = text.rfind(':');
    if (colon == std::string_view::npos) return complain("has no port");
    std::string_view host = text.substr(0, colon);
    const std::string_view digits = text.substr(colon + 1);
    if (!host.empty() && host.front() == '[') {
        if (host.back() != ']') return complain("has an unclosed bracket");
        host = host.substr(1, host.size() - 2);
        if (host.find(':') == std::string_view::npos) return complain("has no IPv6 address in brackets");
    } else if (host.find(':') != std::string_view::npos) {
        return complain("is an IPv6 address without brackets");
    }
    if (host.empty()) host = "::";
    if (!std::ranges::all_of(host, is_host_character)) return complain("has a wrong character");
    if (host.size() > 253) return complain("has a host name over 253 characters");
    Endpoint endpoint{std::string(host), 0};
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), endpoint.port);
    if (digits.empty() || error != std::errc{} || end != digits.data() + digits.size()) {
        return complain("has no port between 0 and 65535");
    }
    return endpoint;
}

}  // namespace fastreg
