// The answer to one request, for the command line's talk with a node's admin listener.
// Not thread-safe; one parser a request.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "http/request.h"

namespace fastreg::http {

class ResponseParser {
  public:
    /// `to_head`: the request was HEAD, so no body follows. Bodies over `max_body` fail with
    /// Errc::too_large.
    explicit ResponseParser(bool to_head = false, std::size_t max_body = 64U << 20U);
    ~ResponseParser();
    ResponseParser(ResponseParser&&) noexcept;
    ResponseParser& operator=(ResponseParser&&) noexcept;

    /// True when the whole answer is here; bytes behind it are left alone.
    [[nodiscard]] Result<bool> feed(ByteView input);
    /// The connection ended: fine for a body without length, an error in the middle of one.
    [[nodiscard]] Status finish();

    [[nodiscard]] bool head_done() const;
    [[nodiscard]] int status() const;
    [[nodiscard]] const Headers& headers() const;
    /// What has come of the body and was not taken yet.
    [[nodiscard]] const std::string& body() const;
    [[nodiscard]] std::string take_body();

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

/// A request head (and small body) for that talk: "GET /status HTTP/1.1" with Host and, when there
/// is a body, Content-Length.
[[nodiscard]] std::string make_request(std::string_view method,
                                       std::string_view target,
                                       std::string_view host,
                                       const Headers& headers = {},
                                       std::string_view body = {},
                                       bool keep_alive = false);

}  // namespace fastreg::http
