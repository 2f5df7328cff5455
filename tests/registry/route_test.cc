// Which request asks what: each row of the conformance suite, and what clients do beside it.
#include "registry/route.h"

#include <doctest/doctest.h>

#include "requests.h"

using namespace fastreg;
using namespace fastreg::registry;

TEST_CASE("every endpoint of the spec is found") {
    CHECK(std::holds_alternative<Ping>(routed("GET", "/v2/")));
    CHECK(std::holds_alternative<Ping>(routed("HEAD", "/v2")));
    CHECK(std::holds_alternative<Live>(routed("GET", "/livez")));
    CHECK(std::holds_alternative<Ready>(routed("GET", "/readyz")));

    const auto manifest = as<GetManifest>("GET", "/v2/a/b/manifests/v1");
    CHECK(manifest.name.repository == "a/b");
    CHECK(str(manifest.reference) == "v1");
    CHECK_FALSE(manifest.head);
    CHECK(as<GetManifest>("HEAD", "/v2/a/manifests/" + kSha).head);

    const auto put = as<PutManifest>("PUT",
                                     "/v2/a/manifests/v1",
                                     "Content-Type: application/vnd.oci.image.index.v1+json; "
                                     "charset=utf-8\r\nTransfer-Encoding: chunked\r\n");
    CHECK(put.content_type == "application/vnd.oci.image.index.v1+json");
    CHECK(as<PutManifest>("PUT", "/v2/a/manifests/" + kSha + "?tag=x&tag=y").tags ==
          std::vector<std::string>{"x", "y"});
    CHECK(str(as<DeleteManifest>("DELETE", "/v2/a/manifests/v1").reference) == "v1");

    CHECK(as<GetBlob>("GET", "/v2/a/blobs/" + kSha, "Range: bytes=0-\r\n").range == "bytes=0-");
    CHECK(as<GetBlob>("HEAD", "/v2/a/blobs/" + kSha512).digest.alg == HashAlg::sha512);
    CHECK(as<DeleteBlob>("DELETE", "/v2/a/blobs/" + kSha).name.repository == "a");

    CHECK(as<UploadStatus>("GET", "/v2/a/blobs/uploads/xyz").id == "xyz");
    CHECK(as<CancelUpload>("DELETE", "/v2/a/blobs/uploads/xyz").id == "xyz");
    CHECK(as<Referrers>("GET", "/v2/a/referrers/" + kSha + "?artifactType=a/b%2Bc").artifact_type ==
          "a/b+c");
    const auto tags = as<ListTags>("GET", "/v2/a/b/tags/list?n=5&last=v1");
    CHECK(tags.n == 5);
    CHECK(tags.last == "v1");
    CHECK(as<Catalog>("GET", "/v2/_catalog?n=0").n == 0);
}

TEST_CASE("uploads start in every way clients start them") {
    CHECK(as<StartUpload>("POST", "/v2/a/blobs/uploads/", "Content-Length: 0\r\n").content_length ==
          0);
    CHECK_FALSE(as<StartUpload>("POST", "/v2/a/blobs/uploads").mount);
    // containerd sends colon and slash bare, docker and skopeo escape them.
    for (const std::string& query : {"mount=" + kSha + "&from=lab/base",
                                     "from=lab%2Fbase&mount=sha256%3A" + std::string(64, 'a')}) {
        const auto mount = as<StartUpload>("POST", "/v2/a/blobs/uploads/?" + query);
        REQUIRE(mount.mount);
        CHECK(mount.mount->str() == kSha);
        CHECK(mount.from == "lab/base");
    }
    CHECK(as<StartUpload>("POST", "/v2/a/blobs/uploads/?mount=" + kSha).from.empty());
    CHECK(as<StartUpload>("POST", "/v2/a/blobs/uploads/?digest=" + kSha512).algorithm ==
          HashAlg::sha512);
    CHECK(as<StartUpload>("POST", "/v2/a/blobs/uploads/?digest-algorithm=sha512").algorithm ==
          HashAlg::sha512);
    CHECK(refused("POST", "/v2/a/blobs/uploads/?digest-algorithm=md5").code ==
          ErrorCode::digest_invalid);
    CHECK(refused("POST", "/v2/a/blobs/uploads/?mount=sha256:x").code == ErrorCode::digest_invalid);
    // A source that cannot exist falls back to an upload, as the spec wants.
    CHECK_FALSE(as<StartUpload>("POST", "/v2/a/blobs/uploads/?mount=" + kSha + "&from=../x").mount);
    CHECK_FALSE(
        as<StartUpload>("POST", "/v2/a/blobs/uploads/?mount=" + kSha + "&from=x.io/y").mount);
}

TEST_CASE("chunks of an upload carry their range, or none") {
    const auto patch = as<PatchUpload>(
        "PATCH", "/v2/a/blobs/uploads/u", "Content-Range: 10-19\r\nContent-Length: 10\r\n");
    CHECK(patch.content_range == http::ByteRange{10, 19});
    CHECK(patch.content_length == 10);
    const auto stream =
        as<PatchUpload>("PATCH", "/v2/a/blobs/uploads/u", "Transfer-Encoding: chunked\r\n");
    CHECK_FALSE(stream.content_range);
    CHECK_FALSE(stream.content_length);
    CHECK(refused("PATCH", "/v2/a/blobs/uploads/u", "Content-Range: x\r\n").status == 400);
    CHECK(refused("PATCH", "/v2/a/blobs/uploads/u", "Content-Range: 9-5\r\n").status == 416);
    const auto put = as<PutUpload>("PUT",
                                   "/v2/a/blobs/uploads/u?digest=" + kSha,
                                   "Content-Range: 20-29\r\nContent-Length: 10\r\n");
    CHECK(put.digest.str() == kSha);
    CHECK(put.content_range == http::ByteRange{20, 29});
    CHECK(refused("PUT", "/v2/a/blobs/uploads/u").code == ErrorCode::digest_invalid);
    CHECK(refused("PUT", "/v2/a/blobs/uploads/u?digest=md5:abc").code == ErrorCode::digest_invalid);
}

TEST_CASE("the namespace may be a query key, a path prefix or absent") {
    CHECK(as<GetBlob>("GET", "/v2/library/tiny/blobs/" + kSha + "?ns=docker.io").name.ns ==
          "docker.io");
    CHECK(as<GetBlob>("GET", "/v2/ghcr.io/a/blobs/" + kSha).name.registry == "ghcr.io");
    CHECK(as<GetManifest>("GET", "/v2/library/tiny/manifests/v1?zzz=1&foo").name.ns.empty());
}

TEST_CASE("repositories may be called like verbs") {
    CHECK(as<GetManifest>("GET", "/v2/manifests/manifests/manifests").name.repository ==
          "manifests");
    CHECK(as<ListTags>("GET", "/v2/a/tags/list/tags/list").name.repository == "a/tags/list");
    CHECK(as<GetBlob>("GET", "/v2/blobs/uploads/blobs/" + kSha).name.repository == "blobs/uploads");
    CHECK(as<GetManifest>("GET", "/v2/a/blobs/manifests/t").name.repository == "a/blobs");
}

TEST_CASE("what lies or traverses is refused with the spec's code") {
    CHECK(refused("GET", "/v2/a/blobs/sha256:bad").code == ErrorCode::digest_invalid);
    CHECK(refused("GET", "/v2/a/manifests/sha256:baddigeststring").status == 400);
    CHECK(refused("PUT", "/v2/a/manifests/sha256:baddigeststring").code ==
          ErrorCode::digest_invalid);
    CHECK(refused("GET", "/v2/A/manifests/v1").code == ErrorCode::name_invalid);
    CHECK(refused("GET", "/v2/a/../../etc/blobs/" + kSha).code == ErrorCode::name_invalid);
    CHECK(refused("GET", "/v2/a%2F..%2Fb/blobs/" + kSha).code == ErrorCode::name_invalid);
    CHECK(refused("GET", "/v2//blobs/" + kSha).status == 404);
    CHECK(refused("GET", "/v2/" + std::string(256, 'a') + "/tags/list").code ==
          ErrorCode::name_invalid);
    CHECK(refused("GET", "/v2/manifests/v1").status == 404);
    CHECK(refused("GET", "/v3/").status == 404);
    CHECK(refused("GET", "/").status == 404);
    CHECK(refused("GET", "/v2/a").status == 404);
    CHECK(refused("GET", "/v2/a/tags/list?n=x").status == 400);
    CHECK(refused("GET", "/v2/a/tags/list?n=-1").status == 400);
    CHECK(as<ListTags>("GET", "/v2/a/tags/list?n=99999999999").n == UINT32_MAX);
    CHECK(refused("PUT", "/v2/a/manifests/" + kSha + "?tag=%2e%2e").code == ErrorCode::tag_invalid);
}

TEST_CASE("nothing is there under a tag that cannot be; to write one is refused") {
    for (const std::string method : {"GET", "HEAD"}) {
        const auto unknown = refused(method, "/v2/a/manifests/.INVALID_MANIFEST_NAME");
        CHECK(unknown.status == 404);
        CHECK(unknown.code == ErrorCode::manifest_unknown);
    }
    for (const std::string method : {"PUT", "DELETE"}) {
        const auto invalid = refused(method, "/v2/a/manifests/.INVALID_MANIFEST_NAME");
        CHECK(invalid.status == 400);
        CHECK(invalid.code == ErrorCode::tag_invalid);
    }
}

TEST_CASE("a manifest pushed with ?digest= must have that digest") {
    const std::string other = "sha256:" + std::string(64, 'c');
    CHECK(as<PutManifest>("PUT", "/v2/a/manifests/v1?digest=" + kSha512).digest->str() == kSha512);
    CHECK(as<PutManifest>("PUT", "/v2/a/manifests/" + kSha).digest->str() == kSha);
    CHECK(as<PutManifest>("PUT", "/v2/a/manifests/" + kSha + "?digest=" + kSha).digest->str() ==
          kSha);
    CHECK_FALSE(as<PutManifest>("PUT", "/v2/a/manifests/v1").digest);
    for (const std::string& target : {std::string("v1?digest="),
                                      std::string("v1?digest=sha256:bad"),
                                      std::string("v1?digest=md5:abc"),
                                      kSha + "?digest=" + other,
                                      "v1?digest=" + kSha + "&digest=" + other}) {
        CAPTURE(target);
        const auto error = refused("PUT", "/v2/a/manifests/" + target);
        CHECK(error.status == 400);
        CHECK(error.code == ErrorCode::digest_invalid);
    }
}

TEST_CASE("Range counts for GET, and only while If-Range names this very blob") {
    const std::string target = "/v2/a/blobs/" + kSha;
    const auto range = [&](const std::string& method, const std::string& if_range) {
        std::string fields = "Range: bytes=0-1\r\n";
        if (!if_range.empty()) fields += "If-Range: " + if_range + "\r\n";
        return as<GetBlob>(method, target, fields).range;
    };
    CHECK(range("GET", "") == "bytes=0-1");
    CHECK(range("GET", '"' + kSha + '"') == "bytes=0-1");
    for (const std::string& stale : {"\"sha256:" + std::string(64, 'b') + '"',
                                     "W/\"" + kSha + '"',  // weak tags never match
                                     kSha,                 // not an entity tag
                                     std::string("*"),
                                     '"' + kSha + "\", \"x\"",  // not a list
                                     std::string("Wed, 21 Oct 2015 07:28:00 GMT")}) {
        CAPTURE(stale);
        CHECK(range("GET", stale) == "");
    }
    CHECK(range("HEAD", "") == "");
    CHECK(range("HEAD", '"' + kSha + '"') == "");
    CHECK(as<GetBlob>("GET", target, "Range: bytes=0-1\r\nIf-Range:\r\n").range == "");
}

TEST_CASE("a wrong method is 405 with what is allowed") {
    for (const auto& [method, target] :
         std::vector<std::pair<std::string, std::string>>{{"PUT", "/v2/"},
                                                          {"POST", "/v2/a/manifests/v1"},
                                                          {"PUT", "/v2/a/blobs/" + kSha},
                                                          {"GET", "/v2/a/blobs/uploads/"},
                                                          {"POST", "/v2/a/blobs/uploads/u"},
                                                          {"DELETE", "/v2/a/tags/list"},
                                                          {"POST", "/v2/_catalog"},
                                                          {"POST", "/livez"},
                                                          {"OPTIONS", "/v2/a/tags/list"},
                                                          {"PUT", "/v2/a/referrers/" + kSha}}) {
        CAPTURE(target);
        const auto rejected = as<Rejected>(method, target);
        CHECK(rejected.error.status == 405);
        CHECK(rejected.error.code == ErrorCode::unsupported);
        CHECK_FALSE(rejected.allow.empty());
    }
}

TEST_CASE("what writes and what deletes is known to the gates") {
    CHECK(is_write(routed("PUT", "/v2/a/manifests/v1")));
    CHECK(is_write(routed("POST", "/v2/a/blobs/uploads/")));
    CHECK(is_write(routed("PATCH", "/v2/a/blobs/uploads/u")));
    CHECK(is_write(routed("PUT", "/v2/a/blobs/uploads/u?digest=" + kSha)));
    CHECK(is_write(routed("DELETE", "/v2/a/blobs/uploads/u")));
    CHECK(is_delete(routed("DELETE", "/v2/a/manifests/v1")));
    CHECK(is_delete(routed("DELETE", "/v2/a/blobs/" + kSha)));
    for (const std::string target : {"/v2/", "/v2/_catalog", "/v2/a/tags/list"}) {
        CHECK_FALSE(is_write(routed("GET", target)));
        CHECK_FALSE(is_delete(routed("GET", target)));
    }
    CHECK(name_of(routed("GET", "/v2/a/tags/list"))->repository == "a");
    CHECK(name_of(routed("GET", "/v2/")) == nullptr);
}

TEST_CASE("Accept may be one field or six, and */* takes everything") {
    const auto joined = as<GetManifest>(
        "GET", "/v2/a/manifests/v1", "Accept: application/vnd.oci.image.index.v1+json, */*\r\n");
    CHECK(accepts(joined.accept, "application/anything"));
    const auto two = as<GetManifest>(
        "GET", "/v2/a/manifests/v1", "Accept: application/a;q=0.5\r\nAccept: text/*\r\n");
    CHECK(accepts(two.accept, "Application/A"));
    CHECK(accepts(two.accept, "text/plain"));
    CHECK_FALSE(accepts(two.accept, "application/b"));
    CHECK(accepts({}, "application/b"));
}

TEST_CASE("entity tags match quoted, weak, in lists, and by star") {
    const Digest digest = *Digest::parse(kSha);
    CHECK(matches_etag('"' + kSha + '"', digest));
    CHECK(matches_etag("\"x\", W/\"" + kSha + "\"", digest));
    CHECK(matches_etag(kSha, digest));
    CHECK(matches_etag("*", digest));
    CHECK_FALSE(matches_etag("", digest));
    CHECK_FALSE(matches_etag("\"sha256:" + std::string(64, 'b') + '"', digest));
}

TEST_CASE("pages have 100 entries unless asked, never over 1,000") {
    CHECK(page_size({}) == 100);
    CHECK(page_size(0U) == 0);
    CHECK(page_size(7U) == 7);
    CHECK(page_size(UINT32_MAX) == 1000);
}
