// Each field here is one that some client stops without (clients.md and the conformance suite).
#include "registry/answers.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "requests.h"

using namespace fastreg;
using namespace fastreg::registry;

namespace {

const Digest kDigest = *Digest::parse(kSha);
const Name kName{"", "lab/app", ""};

std::string field(const Answer& answer, std::string_view name) {
    return std::string(answer.head.headers.get(name));
}

}  // namespace

TEST_CASE("a manifest comes back with type, length and digest, to GET and HEAD alike") {
    const Answer get = manifest_answer(kDigest, kOciIndex, "{ \"bytes\" :1}");
    const Answer head = manifest_head(kDigest, kOciIndex, 13);
    for (const Answer& answer : {get, head}) {
        CHECK(answer.head.status == 200);
        CHECK(field(answer, "Content-Type") == kOciIndex);
        CHECK(field(answer, "Docker-Content-Digest") == kSha);
        CHECK(field(answer, "ETag") == '"' + kSha + '"');
        CHECK(answer.head.content_length == 13U);
        CHECK_FALSE(answer.head.headers.has("Content-Encoding"));
    }
    CHECK(get.body == "{ \"bytes\" :1}");
    CHECK(not_modified(kDigest).head.status == 304);
}

TEST_CASE("a pushed manifest says where it is, and what it refers to") {
    const Answer answer = manifest_created(
        kName, kDigest, Digest::parse(kSha512).value(), {"a", "b"}, "1 of 2 copies");
    CHECK(answer.head.status == 201);
    CHECK(field(answer, "Location") == "/v2/lab/app/manifests/" + kSha);
    CHECK(field(answer, "OCI-Subject") == kSha512);
    CHECK(answer.head.headers.list("OCI-Tag") == std::vector<std::string>{"a", "b"});
    CHECK(field(answer, "Warning") == "199 fastreg \"1 of 2 copies\"");
    CHECK_FALSE(manifest_created(kName, kDigest).head.headers.has("OCI-Subject"));
}

TEST_CASE("a blob is sent whole, in part, or not at all") {
    const BlobPlan whole = blob_plan(kDigest, 2048, "");
    CHECK(whole.head.status == 200);
    CHECK(whole.head.content_length == 2048U);
    CHECK(whole.contiguous());
    CHECK(whole.pieces[0].range == http::ByteRange{0, 2047});
    CHECK(whole.head.headers.get("Accept-Ranges") == "bytes");
    CHECK(whole.head.headers.get("Docker-Content-Digest") == kSha);

    const BlobPlan part = blob_plan(kDigest, 2048, "bytes=2000-5000");
    CHECK(part.head.status == 206);
    CHECK(part.head.content_length == 48U);
    CHECK(part.head.headers.get("Content-Range") == "bytes 2000-2047/2048");

    const BlobPlan all = blob_plan(kDigest, 2048, "bytes=0-");  // containerd 2 probes with this
    CHECK(all.head.status == 206);
    CHECK(all.head.headers.get("Content-Range") == "bytes 0-2047/2048");

    for (const std::string range : {"bytes=500-0", "bytes=5000-10000"}) {
        const BlobPlan none = blob_plan(kDigest, 2048, range);
        CHECK(none.head.status == 416);
        CHECK(none.head.headers.get("Content-Range") == "bytes */2048");
        CHECK_FALSE(none.has_bytes());
        CHECK(none.head.content_length == none.body.size());
    }
    CHECK(blob_plan(kDigest, 2048, "bytes=0-,0-").head.status == 400);
    CHECK(blob_plan(kDigest, 2048, "", '"' + kSha + '"').head.status == 304);
    const BlobPlan empty = blob_plan(kDigest, 0, "");
    CHECK(empty.head.content_length == 0U);
    CHECK(empty.pieces.empty());
}

TEST_CASE("several ranges are one multipart body of the announced length") {
    const BlobPlan plan = blob_plan(kDigest, 2048, "bytes=0-9,100-109");
    CHECK(plan.head.status == 206);
    CHECK_FALSE(plan.contiguous());
    const std::string type(plan.head.headers.get("Content-Type"));
    REQUIRE(type.starts_with("multipart/byteranges; boundary="));
    const std::string boundary = type.substr(type.find('=') + 1);
    CHECK(boundary.size() <= 70);  // RFC 2046
    std::string body;
    for (const BlobPiece& piece : plan.pieces) {
        body += piece.text;
        if (piece.range) body += std::string(piece.range->size(), 'x');
    }
    CHECK(body.size() == plan.head.content_length);
    CHECK(body.starts_with("--" + boundary + "\r\n"));
    CHECK(body.find("Content-Range: bytes 100-109/2048\r\n\r\nxxxxxxxxxx\r\n--" + boundary +
                    "--\r\n") != std::string::npos);
}

TEST_CASE("an upload's answers name the next place and what arrived") {
    const Answer started = upload_started(kName, "ID");
    CHECK(started.head.status == 202);
    CHECK(field(started, "Location") == "/v2/lab/app/blobs/uploads/ID");
    CHECK(field(started, "Range") == "0-0");
    CHECK(started.head.headers.has("OCI-Chunk-Min-Length"));
    CHECK(started.head.content_length == 0U);
    CHECK(field(upload_progress(kName, "ID", 10), "Range") == "0-9");
    CHECK(upload_progress(kName, "ID", 10).head.status == 202);
    CHECK(upload_status(kName, "ID", 10).head.status == 204);
    CHECK(field(upload_status(kName, "ID", 10), "Location") == field(started, "Location"));
    const Answer wrong = upload_out_of_order(kName, "ID", 10);
    CHECK(wrong.head.status == 416);
    CHECK(field(wrong, "Range") == "0-9");
    CHECK(field(wrong, "Location") == field(started, "Location"));
    CHECK(upload_cancelled().head.status == 204);
    const Answer created = blob_created(kName, kDigest);
    CHECK(created.head.status == 201);
    CHECK(field(created, "Location") == "/v2/lab/app/blobs/" + kSha);
    // The prefix and the ns a client used stay in the addresses it is given.
    CHECK(upload_location({"ghcr.io", "a", "x.io:5"}, "ID") ==
          "/v2/ghcr.io/a/blobs/uploads/ID?ns=x.io%3A5");
}

TEST_CASE("lists are pages in order, with a link to the next") {
    const std::vector<std::string> all{"A", "a", "b", "c"};
    Page page = page_of(all, "", 2);
    CHECK(std::vector<std::string>(page.items.begin(), page.items.end()) ==
          std::vector<std::string>{"A", "a"});
    CHECK(page.more);
    const Answer first = tags_page(kName, page.items, page.more, 2);
    CHECK(field(first, "Link") == "</v2/lab/app/tags/list?last=a&n=2>; rel=\"next\"");
    const auto json = nlohmann::json::parse(first.body);
    CHECK(json["name"] == "lab/app");
    CHECK(json["tags"] == nlohmann::json{"A", "a"});

    page = page_of(all, "a", 2);
    CHECK(page.items.front() == "b");
    CHECK_FALSE(page.more);
    CHECK_FALSE(tags_page(kName, page.items, page.more, 2).head.headers.has("Link"));
    CHECK(page_of(all, "bb", 9).items.front() == "c");  // last need not exist
    CHECK(page_of(all, "z", 9).items.empty());
    CHECK(page_of(all, "", 0).items.empty());
    CHECK(nlohmann::json::parse(tags_page(kName, {}, false, 5).body)["tags"].is_array());

    const auto catalog = nlohmann::json::parse(catalog_page(all, false, 9).body);
    CHECK(catalog["repositories"].size() == 4);
}

TEST_CASE("referrers are an index, empty rather than missing, filtered when asked") {
    const Answer none = referrers_answer({});
    CHECK(none.head.status == 200);
    CHECK(field(none, "Content-Type") == kOciIndex);
    const auto empty = nlohmann::json::parse(none.body);
    CHECK(empty["schemaVersion"] == 2);
    CHECK(empty["mediaType"] == kOciIndex);
    CHECK(empty["manifests"] == nlohmann::json::array());

    const std::vector<Referrer> referrers{
        {{std::string(kOciManifest), kDigest, 7}, "a/sbom", {{"k", "v"}}},
        {{std::string(kOciIndex), *Digest::parse(kSha512), 8}, "a/sig", {}}};
    const auto all = nlohmann::json::parse(referrers_answer(referrers).body)["manifests"];
    REQUIRE(all.size() == 2);
    CHECK(all[0] == nlohmann::json{{"mediaType", kOciManifest},
                                   {"digest", kSha},
                                   {"size", 7},
                                   {"artifactType", "a/sbom"},
                                   {"annotations", {{"k", "v"}}}});
    const Answer filtered = referrers_answer(referrers, "a/sig");
    CHECK(field(filtered, "OCI-Filters-Applied") == "artifactType");
    CHECK(nlohmann::json::parse(filtered.body)["manifests"].size() == 1);
    CHECK_FALSE(referrers_answer(referrers).head.headers.has("OCI-Filters-Applied"));
}

TEST_CASE("errors carry their status, their JSON and when to come back") {
    ApiError error = make_error(ErrorCode::unavailable, "owners of lab/app are not reachable");
    error.retry_after_s = 5;
    const Answer answer = error_answer(error);
    CHECK(answer.head.status == 503);
    CHECK(field(answer, "Retry-After") == "5");
    CHECK(field(answer, "Content-Type") == "application/json");
    CHECK(field(answer, "Docker-Distribution-Api-Version") == "registry/2.0");
    CHECK(answer.head.content_length == answer.body.size());
    CHECK(ping_answer().body == "{}");
    CHECK(health_answer(false, "starting").head.status == 503);
}
