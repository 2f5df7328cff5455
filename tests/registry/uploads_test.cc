// Uploads are where clients write: order, ownership and limits are decided here and nowhere else.
#include "registry/uploads.h"

#include <doctest/doctest.h>

using namespace fastreg;
using namespace fastreg::registry;

namespace {

UploadId id_of(unsigned n) {
    UploadId id;
    id.random[0] = std::byte(n & 255U);
    id.random[1] = std::byte(n >> 8U & 255U);
    id.owner.bytes[15] = std::byte{9};
    return id;
}
constexpr Instant kStart{1'000'000'000};
const ByteView kKey = as_bytes("a key of the mesh");

}  // namespace

TEST_CASE("an upload id is good for one repository, one principal and one key") {
    const std::string text = make_upload_id(id_of(7), kKey, "lab/app");
    CHECK(text.size() == kUploadIdLength);
    CHECK(verify_upload_id(text, kKey, "lab/app") == id_of(7));
    CHECK(verify_upload_id(text, kKey, "lab/app")->owner == id_of(7).owner);
    CHECK(verify_upload_id(text, kKey, "lab/other").error().status == 404);
    CHECK(verify_upload_id(text, kKey, "lab/app", "bob").error().code ==
          ErrorCode::blob_upload_unknown);
    CHECK_FALSE(verify_upload_id(text, as_bytes("another key"), "lab/app"));
}

TEST_CASE("no byte of an upload id can be changed") {
    const std::string text = make_upload_id(id_of(7), kKey, "lab/app");
    for (std::size_t i = 0; i < text.size(); ++i) {
        std::string forged = text;
        forged[i] = forged[i] == '0' ? '1' : '0';
        REQUIRE_FALSE(verify_upload_id(forged, kKey, "lab/app"));
    }
    for (const std::string& bad : {std::string(),
                                   text.substr(1),
                                   text + "0",
                                   std::string(96, '.'),
                                   std::string("../../../../etc/passwd")}) {
        CHECK_FALSE(verify_upload_id(bad, kKey, "lab/app"));
    }
    std::string upper = text;
    for (char& c : upper) c = c >= 'a' && c <= 'f' ? static_cast<char>(c - 32) : c;
    if (upper != text) CHECK_FALSE(verify_upload_id(upper, kKey, "lab/app"));
}

TEST_CASE("a chunked upload grows in order and commits") {
    Uploads uploads;
    REQUIRE(uploads.open(kStart, id_of(1), "a"));
    REQUIRE(uploads.begin_write(kStart, id_of(1), "a", http::ByteRange{0, 99}, 100)->offset == 0);
    REQUIRE(uploads.on_bytes(kStart, id_of(1), 60));
    REQUIRE(uploads.on_bytes(kStart, id_of(1), 40));
    uploads.end_write(kStart, id_of(1));
    REQUIRE(uploads.begin_write(kStart, id_of(1), "a", http::ByteRange{100, 149}, {})->offset ==
            100);
    REQUIRE(uploads.on_bytes(kStart, id_of(1), 50));
    CHECK(uploads.begin_commit(kStart, id_of(1), "a") == 150U);
    uploads.remove(id_of(1));
    CHECK(uploads.find(id_of(1), "a").error().status == 404);
    CHECK(uploads.size() == 0);
}

TEST_CASE("a gap or a replay is 416 and tells where to go on") {
    Uploads uploads;
    REQUIRE(uploads.open(kStart, id_of(1), "a"));
    REQUIRE(uploads.begin_write(kStart, id_of(1), "a", {}, {}));
    REQUIRE(uploads.on_bytes(kStart, id_of(1), 10));
    uploads.end_write(kStart, id_of(1));
    for (const http::ByteRange wrong : {http::ByteRange{0, 9}, http::ByteRange{11, 20}}) {
        const auto refused = uploads.begin_write(kStart, id_of(1), "a", wrong, {});
        REQUIRE_FALSE(refused);
        CHECK(refused.error().error.status == 416);
        CHECK(refused.error().offset == 10U);
    }
    // Nothing was lost by the refusals.
    CHECK(uploads.begin_write(kStart, id_of(1), "a", http::ByteRange{10, 19}, {})->offset == 10);
}

TEST_CASE("bodies that overrun or underrun their range are caught") {
    Uploads uploads;
    REQUIRE(uploads.open(kStart, id_of(1), "a"));
    CHECK(
        uploads.begin_write(kStart, id_of(1), "a", http::ByteRange{0, 9}, 11).error().error.code ==
        ErrorCode::size_invalid);
    REQUIRE(uploads.begin_write(kStart, id_of(1), "a", http::ByteRange{0, 9}, {}));
    CHECK(uploads.on_bytes(kStart, id_of(1), 11).error().code == ErrorCode::size_invalid);
    REQUIRE(uploads.on_bytes(kStart, id_of(1), 4));
    CHECK(uploads.begin_commit(kStart, id_of(1), "a").error().error.code ==
          ErrorCode::size_invalid);
}

TEST_CASE("one request at a time, and never one of another repository") {
    Uploads uploads;
    REQUIRE(uploads.open(kStart, id_of(1), "a"));
    CHECK(uploads.begin_write(kStart, id_of(1), "b", {}, {}).error().error.status == 404);
    CHECK(uploads.find(id_of(1), "b").error().code == ErrorCode::blob_upload_unknown);
    REQUIRE(uploads.begin_write(kStart, id_of(1), "a", {}, {}));
    CHECK(uploads.begin_write(kStart, id_of(1), "a", {}, {}).error().error.status == 409);
    REQUIRE(uploads.begin_commit(kStart, id_of(1), "a"));
    CHECK(uploads.begin_commit(kStart, id_of(1), "a").error().error.status == 409);
    CHECK_FALSE(uploads.on_bytes(kStart, id_of(1), 1));
    uploads.commit_failed(kStart, id_of(1));
    CHECK(uploads.find(id_of(1), "a")->state == UploadState::open);
}

TEST_CASE("a broken connection leaves what arrived, and the client goes on from there") {
    Uploads uploads;
    REQUIRE(uploads.open(kStart, id_of(1), "a"));
    REQUIRE(uploads.begin_write(kStart, id_of(1), "a", http::ByteRange{0, 99}, 100));
    REQUIRE(uploads.on_bytes(kStart, id_of(1), 30));
    uploads.end_write(kStart, id_of(1));
    CHECK(uploads.find(id_of(1), "a")->offset == 30);
    CHECK(uploads.begin_write(kStart, id_of(1), "a", http::ByteRange{30, 99}, 70));
}

TEST_CASE("idle uploads expire after an hour, moving ones do not, committing ones never") {
    Uploads uploads;
    for (unsigned i = 1; i <= 4; ++i) REQUIRE(uploads.open(kStart, id_of(i), "a"));
    REQUIRE(uploads.begin_write(kStart, id_of(2), "a", {}, {}));
    REQUIRE(uploads.begin_commit(kStart, id_of(3), "a"));
    REQUIRE(uploads.begin_write(kStart, id_of(4), "a", {}, {}));
    const Instant half = kStart + std::chrono::minutes(30);
    REQUIRE(uploads.on_bytes(half, id_of(2), 1));
    CHECK(uploads.next_deadline() == kStart + std::chrono::hours(1));
    CHECK(uploads.expire(half).empty());
    CHECK(uploads.expire(kStart + std::chrono::hours(1)) == std::vector{id_of(1), id_of(4)});
    CHECK(uploads.next_deadline() == half + std::chrono::hours(1));
    CHECK(uploads.expire(kStart + std::chrono::hours(9)) == std::vector{id_of(2)});
    CHECK(uploads.size() == 1);
    CHECK(uploads.next_deadline() == Instant::never());
}

TEST_CASE("sessions and blobs have limits") {
    Uploads uploads({.sessions = 2, .idle = std::chrono::hours(1), .blob_bytes = 100});
    REQUIRE(uploads.open(kStart, id_of(1), "a"));
    CHECK_FALSE(uploads.open(kStart, id_of(1), "a"));
    REQUIRE(uploads.open(kStart, id_of(2), "a"));
    const auto third = uploads.open(kStart, id_of(3), "a");
    CHECK(third.error().status == 429);
    CHECK(third.error().retry_after_s > 0);
    CHECK(uploads.begin_write(kStart, id_of(1), "a", {}, 101).error().error.status == 413);
    REQUIRE(uploads.begin_write(kStart, id_of(1), "a", {}, {}));
    REQUIRE(uploads.on_bytes(kStart, id_of(1), 100));
    CHECK(uploads.on_bytes(kStart, id_of(1), 1).error().status == 413);
    CHECK(uploads.find(id_of(1), "a")->offset == 100);
    uploads.remove(id_of(2));
    CHECK(uploads.open(kStart, id_of(3), "a", 50));
    CHECK(uploads.find(id_of(3), "a")->offset == 50);
}
