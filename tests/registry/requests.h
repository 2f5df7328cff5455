// Requests for the router's tests, made by the real parser so that both agree on what a path is.
#pragma once

#include <doctest/doctest.h>

#include <string>
#include <string_view>

#include "http/parser.h"
#include "registry/route.h"

namespace fastreg::registry {

inline const std::string kSha = "sha256:" + std::string(64, 'a');
inline const std::string kSha512 = "sha512:" + std::string(128, 'b');

inline http::Request make_request(std::string_view method,
                                  std::string_view target,
                                  std::string_view fields = {}) {
    const std::string text = std::string(method) + ' ' + std::string(target) +
                             " HTTP/1.1\r\nHost: r\r\n" + std::string(fields) + "\r\n";
    http::Parser parser;
    http::ParseStep step = parser.feed(as_bytes(text));
    REQUIRE(std::holds_alternative<http::HeadDone>(step.event));
    return std::get<http::HeadDone>(std::move(step.event)).request;
}

inline Route routed(std::string_view method,
                    std::string_view target,
                    std::string_view fields = {}) {
    return route(make_request(method, target, fields));
}

template <class T>
T as(std::string_view method, std::string_view target, std::string_view fields = {}) {
    const Route found = routed(method, target, fields);
    CAPTURE(std::string(target));
    REQUIRE(std::holds_alternative<T>(found));
    return std::get<T>(found);
}

// The error of a request that must be refused.
inline ApiError refused(std::string_view method,
                        std::string_view target,
                        std::string_view fields = {}) {
    return as<Rejected>(method, target, fields).error;
}

}  // namespace fastreg::registry
