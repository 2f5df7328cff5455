#include "registry/errors.h"

#include <nlohmann/json.hpp>

namespace fastreg::registry {

std::string_view name_of(ErrorCode code) {
    switch (code) {
        case ErrorCode::blob_unknown:
            return "BLOB_UNKNOWN";
        case ErrorCode::blob_upload_invalid:
            return "BLOB_UPLOAD_INVALID";
        case ErrorCode::blob_upload_unknown:
            return "BLOB_UPLOAD_UNKNOWN";
        case ErrorCode::digest_invalid:
            return "DIGEST_INVALID";
        case ErrorCode::manifest_blob_unknown:
            return "MANIFEST_BLOB_UNKNOWN";
        case ErrorCode::manifest_invalid:
            return "MANIFEST_INVALID";
        case ErrorCode::manifest_unknown:
            return "MANIFEST_UNKNOWN";
        case ErrorCode::name_invalid:
            return "NAME_INVALID";
        case ErrorCode::name_unknown:
            return "NAME_UNKNOWN";
        case ErrorCode::size_invalid:
            return "SIZE_INVALID";
        case ErrorCode::tag_invalid:
            return "TAG_INVALID";
        case ErrorCode::range_invalid:
            return "RANGE_INVALID";
        case ErrorCode::unauthorized:
            return "UNAUTHORIZED";
        case ErrorCode::denied:
            return "DENIED";
        case ErrorCode::unsupported:
            return "UNSUPPORTED";
        case ErrorCode::too_many_requests:
            return "TOOMANYREQUESTS";
        case ErrorCode::unavailable:
            return "UNAVAILABLE";
        case ErrorCode::unknown:
            break;
    }
    return "UNKNOWN";
}

int status_of(ErrorCode code) {
    switch (code) {
        case ErrorCode::blob_unknown:
        case ErrorCode::blob_upload_unknown:
        case ErrorCode::manifest_unknown:
        case ErrorCode::name_unknown:
        // Distribution spec 1.1: a manifest that names what is not there "MUST result in one or more
        // MANIFEST_BLOB_UNKNOWN errors"; the endpoint table (end-7) gives 404 and 413 as the failures of
        // PUT manifest. The conformance suite asks for neither; distribution/distribution answers 400.
        case ErrorCode::manifest_blob_unknown:
            return 404;
        case ErrorCode::blob_upload_invalid:
        case ErrorCode::digest_invalid:
        case ErrorCode::manifest_invalid:
        case ErrorCode::name_invalid:
        case ErrorCode::size_invalid:
        case ErrorCode::tag_invalid:
            return 400;
        case ErrorCode::range_invalid:
            return 416;
        case ErrorCode::unauthorized:
            return 401;
        case ErrorCode::denied:
            return 403;
        case ErrorCode::unsupported:
            return 405;
        case ErrorCode::too_many_requests:
            return 429;
        case ErrorCode::unavailable:
            return 503;
        case ErrorCode::unknown:
            break;
    }
    return 500;
}

ApiError make_error(ErrorCode code, std::string message, std::string detail) {
    return {status_of(code), code, std::move(message), std::move(detail), 0};
}

ApiError from_error(const Error& error, ErrorCode missing) {
    const std::string words = describe_outside(error);
    switch (error.code) {
        case Errc::not_found:
            return make_error(missing, words);
        case Errc::invalid_argument:
        case Errc::protocol: {
            ApiError answer = make_error(ErrorCode::unsupported, words);
            answer.status = 400;
            return answer;
        }
        case Errc::permission_denied:
            return make_error(ErrorCode::denied, words);
        case Errc::out_of_range:
            return make_error(ErrorCode::range_invalid, words);
        case Errc::too_large: {
            ApiError answer = make_error(ErrorCode::size_invalid, words);
            answer.status = 413;
            return answer;
        }
        case Errc::corrupt:
            return make_error(ErrorCode::digest_invalid, words);
        case Errc::unsupported:
            return make_error(ErrorCode::unsupported, words);
        case Errc::no_space: {
            ApiError answer = make_error(ErrorCode::unavailable, words);
            answer.status = 507;
            return answer;
        }
        case Errc::already_exists:
        case Errc::network:
        case Errc::timeout:
        case Errc::unavailable:
        case Errc::busy:
        case Errc::cancelled: {
            ApiError answer = make_error(ErrorCode::unavailable, words);
            answer.retry_after_s = 1;
            return answer;
        }
        case Errc::io:
        case Errc::internal:
            break;
    }
    return make_error(ErrorCode::unknown, words);
}

ApiError from_body_error(const Error& error, ErrorCode invalid) {
    const bool stopped = error.code == Errc::timeout;
    if (!stopped && error.code != Errc::network && error.code != Errc::protocol) {
        return from_error(error, invalid);
    }
    ApiError answer = make_error(invalid, describe_outside(error));
    answer.status = stopped ? 408 : 400;
    return answer;
}

std::string to_json(const ApiError& error) {
    nlohmann::ordered_json entry = {{"code", name_of(error.code)}, {"message", error.message}};
    if (!error.detail.empty()) entry["detail"] = error.detail;
    const nlohmann::ordered_json body = {{"errors", nlohmann::ordered_json::array({entry})}};
    // Names of clients are echoed in messages: what is not UTF-8 is replaced, never thrown about.
    return body.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace fastreg::registry
