// The errors of the OCI distribution spec: a status, a code and a JSON body. Values; any thread.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace fastreg::registry {

/// Every code of the spec (section "Error Codes"), and two of Docker's that clients know.
enum class ErrorCode {
    blob_unknown,
    blob_upload_invalid,
    blob_upload_unknown,
    digest_invalid,
    manifest_blob_unknown,
    manifest_invalid,
    manifest_unknown,
    name_invalid,
    name_unknown,
    size_invalid,
    tag_invalid,    // Docker's; the spec has no code for a bad tag
    range_invalid,  // Docker's; upload chunks out of order, ranges outside a blob
    unauthorized,
    denied,
    unsupported,
    too_many_requests,
    unavailable,
    unknown,
};

/// "BLOB_UNKNOWN".
[[nodiscard]] std::string_view name_of(ErrorCode code);

struct ApiError {
    int status = 500;
    ErrorCode code = ErrorCode::unknown;
    std::string message;
    std::string detail;     // printed as a JSON string when not empty
    int retry_after_s = 0;  // with 429 and 503; 0 leaves the field out
};

/// An error with the status the spec gives its code (404 for unknown things, 400 for invalid ones,
/// 403 denied, 405 unsupported, 416 range, 429, 503).
[[nodiscard]] ApiError make_error(ErrorCode code, std::string message, std::string detail = {});
[[nodiscard]] int status_of(ErrorCode code);

/// For errors of the rooms below. `missing` says what a plain not_found means here.
[[nodiscard]] ApiError from_error(const Error& error, ErrorCode missing = ErrorCode::blob_unknown);

/// For a request whose body did not arrive. What the client did (it went away, it broke the framing: 400; it
/// stopped sending: 408) has the code `invalid`; the rest is from_error.
[[nodiscard]] ApiError from_body_error(const Error& error, ErrorCode invalid);

/// {"errors":[{"code":"...","message":"...","detail":"..."}]}
[[nodiscard]] std::string to_json(const ApiError& error);

template <class T>
using ApiResult = tl::expected<T, ApiError>;

}  // namespace fastreg::registry
