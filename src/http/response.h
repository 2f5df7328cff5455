// Response heads as bytes: status line, fields, framing. Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "http/request.h"

namespace fastreg::http {

/// What goes before a body. Framing and connection fields are written by `serialize`, never put
/// them into `headers`.
struct ResponseHead {
    int status = 200;
    Headers headers;
    /// The length of the body that a GET has (HEAD sends the same number). Without it: chunked on
    /// HTTP/1.1, until close on HTTP/1.0. Ignored for 1xx, 204 and 304.
    std::optional<std::uint64_t> content_length;
};

struct SerializeOptions {
    int minor = 1;            // of the request
    bool keep_alive = true;   // false writes "Connection: close"
    std::string_view date{};  // an IMF-fixdate; empty leaves the field out
};

[[nodiscard]] std::string_view reason_phrase(int status);
/// 1xx, 204, 304.
[[nodiscard]] bool never_has_body(int status);
/// True when `serialize` will announce chunked framing.
[[nodiscard]] bool uses_chunks(const ResponseHead& head, int minor);

/// Status line to the empty line. Control characters in values become '?': a stored value must
/// never become a line of its own.
[[nodiscard]] std::string serialize(const ResponseHead& head, const SerializeOptions& options);

/// Head and body in one buffer; `head_only` for answers to HEAD.
[[nodiscard]] std::string serialize_whole(ResponseHead head,
                                          std::string_view body,
                                          bool head_only,
                                          const SerializeOptions& options);

/// "100 Continue".
inline constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
/// Before a chunk of `size` > 0 bytes; "\r\n" goes behind it, kLastChunk ends the body.
[[nodiscard]] std::string chunk_prefix(std::size_t size);
inline constexpr std::string_view kChunkSuffix = "\r\n";
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

/// "Sun, 06 Nov 1994 08:49:37 GMT" of seconds since 1970.
[[nodiscard]] std::string format_date(std::uint64_t unix_seconds);

}  // namespace fastreg::http
