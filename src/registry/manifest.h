// What a manifest says: its kind, the blobs and manifests it needs, its subject. Unknown fields are
// none of our business; the bytes themselves are kept and served as they came. Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/digest.h"
#include "registry/errors.h"

namespace fastreg::registry {

inline constexpr std::size_t kMaxManifestBytes = 4U << 20U;
inline constexpr std::size_t kMaxDescriptors = 10'000;
inline constexpr std::size_t kMaxJsonDepth = 64;

inline constexpr std::string_view kOciManifest = "application/vnd.oci.image.manifest.v1+json";
inline constexpr std::string_view kOciIndex = "application/vnd.oci.image.index.v1+json";
inline constexpr std::string_view kOciArtifact = "application/vnd.oci.artifact.manifest.v1+json";
inline constexpr std::string_view kDockerManifest =
    "application/vnd.docker.distribution.manifest.v2+json";
inline constexpr std::string_view kDockerList =
    "application/vnd.docker.distribution.manifest.list.v2+json";

struct Descriptor {
    std::string media_type;
    Digest digest;
    std::uint64_t size = 0;
    bool operator==(const Descriptor&) const = default;
};

using Annotations = std::vector<std::pair<std::string, std::string>>;  // sorted by key

enum class ManifestKind { image, index, artifact };

struct Manifest {
    ManifestKind kind = ManifestKind::image;
    std::string media_type;         // what GET answers as Content-Type
    std::vector<Descriptor> blobs;  // config and layers that must be here before the PUT is 201
    std::vector<Descriptor>
        foreign;  // layers with urls or of a non-distributable type: may be absent
    std::vector<Descriptor> manifests;  // children of an index
    std::optional<Descriptor> subject;
    std::string artifact_type;  // own field, else config.mediaType; what referrers filter by
    Annotations annotations;
};

/// `content_type` is that of the PUT (may be "", and may carry parameters); it wins, and must not
/// contradict the mediaType field. Without either (or with a type that says nothing, such as
/// application/json), the shape decides. Errors: MANIFEST_INVALID,
/// SIZE_INVALID (413) over kMaxManifestBytes, DIGEST_INVALID, UNSUPPORTED (415) for schema 1.
[[nodiscard]] ApiResult<Manifest> parse_manifest(ByteView bytes, std::string_view content_type);

/// One entry of a referrers answer.
struct Referrer {
    Descriptor descriptor;
    std::string artifact_type;
    Annotations annotations;
};
[[nodiscard]] Referrer make_referrer(const Manifest& manifest,
                                     const Digest& digest,
                                     std::uint64_t size);

/// Application type without parameters, trimmed, lower case: "Text/HTML; q=1" -> "text/html".
[[nodiscard]] std::string plain_media_type(std::string_view field);

}  // namespace fastreg::registry
