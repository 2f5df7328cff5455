// A manifest is the only thing the registry reads of what people push; everything follows from it.
#include "registry/manifest.h"

#include <doctest/doctest.h>

#include "requests.h"

using namespace fastreg;
using namespace fastreg::registry;

namespace {

std::string descriptor(const std::string& type,
                       std::uint64_t size = 2,
                       const std::string& more = {},
                       const std::string& digest = kSha) {
    return R"({"mediaType":")" + type + R"(","digest":")" + digest + R"(","size":)" +
           std::to_string(size) + more + "}";
}
const std::string kConfig = descriptor("application/vnd.oci.image.config.v1+json");
const std::string kLayer = descriptor("application/vnd.oci.image.layer.v1.tar+gzip", 100);

std::string image(const std::string& more = {}, const std::string& layers = kLayer) {
    return R"({"schemaVersion":2,"config":)" + kConfig + R"(,"layers":[)" + layers + "]" + more +
           "}";
}

Manifest good(const std::string& json, std::string_view type = kOciManifest) {
    auto manifest = parse_manifest(as_bytes(json), type);
    if (!manifest) FAIL(manifest.error().message);
    return *manifest;
}
ApiError bad(const std::string& json, std::string_view type = kOciManifest) {
    const auto manifest = parse_manifest(as_bytes(json), type);
    CAPTURE(json.substr(0, 200));
    REQUIRE_FALSE(manifest);
    return manifest.error();
}

}  // namespace

TEST_CASE("an image names its config and layers") {
    const Manifest manifest = good(image());
    CHECK(manifest.kind == ManifestKind::image);
    CHECK(manifest.media_type == kOciManifest);
    REQUIRE(manifest.blobs.size() == 2);
    CHECK(manifest.blobs[1].size == 100);
    CHECK(manifest.blobs[1].digest.str() == kSha);
    CHECK(manifest.artifact_type == "application/vnd.oci.image.config.v1+json");
    CHECK(good(image(), kDockerManifest).media_type == kDockerManifest);
}

TEST_CASE("an index names its children, docker's list too") {
    const std::string index =
        R"({"schemaVersion":2,"manifests":[)" + descriptor(std::string(kOciManifest), 7) + "]}";
    CHECK(good(index, kOciIndex).manifests.size() == 1);
    CHECK(good(index, kDockerList).kind == ManifestKind::index);
    CHECK(good(R"({"schemaVersion":2,"manifests":[]})", kOciIndex).manifests.empty());
    CHECK(good(R"({"schemaVersion":2})", kOciIndex).manifests.empty());
    CHECK(good(index, kOciIndex).artifact_type.empty());
}

TEST_CASE("the media type comes from the PUT, else the field, else the shape") {
    // umoci writes no mediaType; containerd cannot pull what has no Content-Type.
    CHECK(good(image(), "").media_type == kOciManifest);
    CHECK(good(image(), "application/json").media_type == kOciManifest);
    CHECK(good(image(R"(,"mediaType":"application/vnd.docker.distribution.manifest.v2+json")"), "")
              .media_type == kDockerManifest);
    CHECK(good(R"({"schemaVersion":2,"manifests":[]})", "").media_type == kOciIndex);
    CHECK(good(image(), "application/vnd.example.thing+json").media_type ==
          "application/vnd.example.thing+json");
    CHECK(good(image(), std::string(kOciManifest) + " ; charset=utf-8").media_type == kOciManifest);
}

TEST_CASE("bytes that can be read as two kinds are refused") {
    // CVE-2021-41190: one digest, two meanings, depending on the header.
    CHECK(bad(image(R"(,"mediaType":"application/vnd.oci.image.index.v1+json")")).code ==
          ErrorCode::manifest_invalid);
    CHECK(bad(image(R"(,"manifests":[])")).code == ErrorCode::manifest_invalid);
    CHECK(bad(image(R"(,"manifests":[])"), kOciIndex).code == ErrorCode::manifest_invalid);
    CHECK(bad(image(R"(,"manifests":[])"), "").code == ErrorCode::manifest_invalid);
}

TEST_CASE("layers that live elsewhere are not required") {
    const std::string urls = descriptor(
        "application/vnd.oci.image.layer.v1.tar", 5, R"(,"urls":["https://example.com/x"])");
    const std::string foreign =
        descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", 5);
    const std::string nondist =
        descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", 5);
    const Manifest manifest = good(image({}, urls + "," + foreign + "," + nondist + "," + kLayer));
    CHECK(manifest.foreign.size() == 3);
    CHECK(manifest.blobs.size() == 2);
    CHECK(good(image({}, descriptor("a/b", 5, R"(,"urls":[])"))).foreign.empty());
}

TEST_CASE("subject, artifact type and annotations make a referrer") {
    const Manifest manifest =
        good(image(R"(,"artifactType":"a/sbom","subject":)" + descriptor("x/y", 9) +
                   R"(,"annotations":{"b":"2","a":"1"})"));
    REQUIRE(manifest.subject);
    CHECK(manifest.subject->size == 9);
    CHECK(manifest.artifact_type == "a/sbom");
    CHECK(manifest.annotations == Annotations{{"a", "1"}, {"b", "2"}});
    const Referrer referrer = make_referrer(manifest, *Digest::parse(kSha512), 321);
    CHECK(referrer.descriptor.media_type == kOciManifest);
    CHECK(referrer.descriptor.size == 321);
    CHECK(referrer.artifact_type == "a/sbom");
}

TEST_CASE("kinds of the conformance suite are taken") {
    good(image({}, ""));                                      // no layers
    good(R"({"schemaVersion":2,"config":)" + kConfig + "}");  // no layers field
    good(image(R"(,"unknown":{"deep":[1,2,{"x":null}]},"0x":1.5)"));
    good(image({}, descriptor("a/b", 3, R"(,"data":"e30=")")));
    good(image({}, descriptor("a/b", 3, {}, kSha512)));
    good(R"({"mediaType":"application/vnd.oci.artifact.manifest.v1+json","artifactType":"x/y",
             "blobs":[)" +
             kLayer + "]}",
         kOciArtifact);
    std::string annotations;
    for (int i = 0; i < 390; ++i) {
        annotations +=
            (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\":\"" + std::string(10'000, 'x') + '"';
    }
    CHECK(good(image(",\"annotations\":{" + annotations + "}")).annotations.size() == 390);
}

TEST_CASE("what is no manifest is refused with a sentence") {
    for (const std::string& json :
         std::vector<std::string>{"",
                                  "{",
                                  "[]",
                                  "null",
                                  "\"x\"",
                                  "{}",
                                  R"({"schemaVersion":2})",
                                  "\xff\xfe",
                                  "\xef\xbb\xbf" + image({}),  // the parser passes over it, clients may not
                                  R"({"schemaVersion":1,"config":)" + kConfig + "}",
                                  R"({"config":)" + kConfig + "}",
                                  R"({"schemaVersion":"2","config":)" + kConfig + "}",
                                  R"({"schemaVersion":2,"layers":[]})",
                                  R"({"schemaVersion":2,"config":[]})",
                                  image({}, "1"),
                                  image({}, "{}"),
                                  image({}, R"({"digest":1,"size":1})"),
                                  image(R"(,"annotations":{"a":1})"),
                                  image(R"(,"annotations":[])"),
                                  image(R"(,"artifactType":1)"),
                                  image(R"(,"subject":"x")"),
                                  image(R"(,"mediaType":7)")}) {
        const ApiError error = bad(json);
        CHECK(error.code == ErrorCode::manifest_invalid);
        CHECK(error.status == 400);
        CHECK_FALSE(error.message.empty());
    }
    CHECK(bad(image({}, descriptor("a/b", 1, {}, "sha256:xyz"))).code == ErrorCode::digest_invalid);
}

TEST_CASE("sizes are whole numbers a file can have") {
    for (const std::string size : {"-1",
                                   "1.5",
                                   "1e3",
                                   "\"1\"",
                                   "null",
                                   "18446744073709551615",
                                   "9223372036854775808",
                                   "99999999999999999999999"}) {
        CAPTURE(size);
        CHECK(
            bad(image({}, R"({"mediaType":"a/b","digest":")" + kSha + R"(","size":)" + size + "}"))
                .code == ErrorCode::manifest_invalid);
    }
}

TEST_CASE("schema 1 is unsupported, and says what to do") {
    const ApiError error = bad(R"({"schemaVersion":1,"fsLayers":[]})",
                               "application/vnd.docker.distribution.manifest.v1+prettyjws");
    CHECK(error.code == ErrorCode::unsupported);
    CHECK(error.message.find("skopeo") != std::string::npos);
    CHECK(bad(R"({"schemaVersion":1,"fsLayers":[]})", "").code == ErrorCode::unsupported);
}

TEST_CASE("limits hold: bytes, depth, descriptors") {
    CHECK(bad(std::string(kMaxManifestBytes + 1, ' ')).status == 413);
    CHECK(bad(std::string(1'000'000, '[')).code == ErrorCode::manifest_invalid);
    std::string deep = "1";
    for (std::size_t i = 0; i < kMaxJsonDepth - 1; ++i) deep = "[" + deep + "]";
    good(image(",\"x\":" + deep));
    CHECK(bad(image(",\"x\":[" + deep + "]")).code == ErrorCode::manifest_invalid);
    good(image(
        R"(,"x":"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"[")"));
    std::string layers = kLayer;
    for (std::size_t i = 0; i < kMaxDescriptors; ++i) layers += "," + kLayer;
    CHECK(bad(image({}, layers)).code == ErrorCode::manifest_invalid);
}
