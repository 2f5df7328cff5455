// Clients branch on status and code; a person reads the message.
#include "registry/errors.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

using namespace fastreg;
using namespace fastreg::registry;

TEST_CASE("the body of an error has the shape of the spec") {
    const auto json = nlohmann::json::parse(
        to_json(make_error(ErrorCode::blob_unknown, "no such blob", "sha256:abc")));
    REQUIRE(json["errors"].is_array());
    REQUIRE(json["errors"].size() == 1);
    CHECK(json["errors"][0]["code"] == "BLOB_UNKNOWN");
    CHECK(json["errors"][0]["message"] == "no such blob");
    CHECK(json["errors"][0]["detail"] == "sha256:abc");
}

TEST_CASE("what a client sent may be echoed whatever bytes it has") {
    const std::string text = to_json(make_error(ErrorCode::name_invalid, "\xff\"\n\x01", "\xc3"));
    CHECK_FALSE(nlohmann::json::parse(text, nullptr, false).is_discarded());
}

TEST_CASE("errors of the rooms below become the status a client can act on") {
    CHECK(from_error({Errc::not_found, 0, "x"}).status == 404);
    CHECK(from_error({Errc::not_found, 0, "x"}, ErrorCode::manifest_unknown).code ==
          ErrorCode::manifest_unknown);
    CHECK(from_error({Errc::corrupt, 0, "x"}).code == ErrorCode::digest_invalid);
    CHECK(from_error({Errc::unavailable, 0, "x"}).status == 503);
    CHECK(from_error({Errc::timeout, 0, "x"}).retry_after_s > 0);
    CHECK(from_error({Errc::no_space, 0, "x"}).status == 507);
    CHECK(from_error({Errc::too_large, 0, "x"}).status == 413);
    CHECK(from_error({Errc::io, 5, "x"}).status == 500);
    CHECK(from_error({Errc::permission_denied, 0, "x"}).status == 403);
}

TEST_CASE("no error tells a client where the files of the node are") {
    for (const Errc code : {Errc::no_space, Errc::io, Errc::not_found, Errc::busy, Errc::permission_denied,
                            Errc::corrupt, Errc::too_large, Errc::internal, Errc::already_exists}) {
        const Error error{code, 5, "cannot open /srv/fastreg/x"};
        CHECK(from_error(error).message.find("/srv") == std::string::npos);
        CHECK(from_body_error(error, ErrorCode::size_invalid).message.find("/srv") == std::string::npos);
    }
}

TEST_CASE("a body that does not arrive is the client's fault, a disk that refuses it is not") {
    for (const Errc code : {Errc::network, Errc::protocol}) {
        const ApiError error = from_body_error({code, 0, "x"}, ErrorCode::blob_upload_invalid);
        CHECK(error.status == 400);
        CHECK(error.code == ErrorCode::blob_upload_invalid);
        CHECK(error.retry_after_s == 0);
    }
    CHECK(from_body_error({Errc::timeout, 0, "x"}, ErrorCode::size_invalid).status == 408);
    CHECK(from_body_error({Errc::no_space, 0, "x"}, ErrorCode::size_invalid).status == 507);
    CHECK(from_body_error({Errc::too_large, 0, "x"}, ErrorCode::size_invalid).status == 413);
    CHECK(from_body_error({Errc::io, 5, "x"}, ErrorCode::size_invalid).status == 500);
}

TEST_CASE("each code has the status that the distribution spec gives it") {
    CHECK(status_of(ErrorCode::blob_unknown) == 404);
    CHECK(status_of(ErrorCode::manifest_unknown) == 404);
    CHECK(status_of(ErrorCode::name_unknown) == 404);
    CHECK(status_of(ErrorCode::blob_upload_unknown) == 404);
    // PUT manifest fails with 404 or 413 (endpoint table, end-7).
    CHECK(status_of(ErrorCode::manifest_blob_unknown) == 404);
    CHECK(status_of(ErrorCode::manifest_invalid) == 400);
    CHECK(status_of(ErrorCode::digest_invalid) == 400);
    CHECK(status_of(ErrorCode::size_invalid) == 400);
    CHECK(status_of(ErrorCode::denied) == 403);
    CHECK(status_of(ErrorCode::unsupported) == 405);  // deletes that are off: 400 or 405
    CHECK(status_of(ErrorCode::range_invalid) == 416);
    CHECK(status_of(ErrorCode::too_many_requests) == 429);
}
