// Keys and values of the rows of a repository. A value is a msgpack map (see wire/pack.h); fields may
// be added. Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/digest.h"
#include "base/result.h"
#include "wire/repo.h"

namespace fastreg::repo {

inline constexpr std::string_view kTagPrefix = "t/";
inline constexpr std::string_view kManifestPrefix = "m/";
inline constexpr std::string_view kBlobPrefix = "b/";

[[nodiscard]] std::string tag_key(std::string_view tag);
[[nodiscard]] std::string manifest_key(const Digest& digest);
[[nodiscard]] std::string blob_key(const Digest& digest);
/// The text behind the prefix, or nothing when the key has another one.
[[nodiscard]] std::optional<std::string_view> tag_of(std::string_view key);
[[nodiscard]] std::optional<Digest> manifest_of(std::string_view key);
[[nodiscard]] std::optional<Digest> blob_of(std::string_view key);

/// What a tag points at.
struct TagValue {
    Digest manifest;
    bool operator==(const TagValue&) const = default;
    [[nodiscard]] Bytes encode() const;
    [[nodiscard]] static Result<TagValue> decode(ByteView bytes);
};

/// The key of the manifest that a tag's row points at; nothing for other rows and for a deleted tag.
[[nodiscard]] std::optional<std::string> manifest_key_of(const wire::Row& row);

/// A manifest that this repository has. Texts: 255 bytes at most.
struct ManifestValue {
    std::string media_type;
    std::uint64_t size = 0;
    std::optional<Digest> subject;
    std::string artifact_type;
    /// JSON object of the manifest's annotations as pushed, for the referrers list; dropped when the
    /// value would pass kRowValueMax.
    std::string annotations;
    bool operator==(const ManifestValue&) const = default;
    [[nodiscard]] Bytes encode() const;
    [[nodiscard]] static Result<ManifestValue> decode(ByteView bytes);
};

/// "The blob is in this repository": the right to read it by this name.
struct BlobLinkValue {
    enum class Origin : std::uint8_t {
        pushed = 1,
        upstream_public = 2,   // an upstream gave it to anybody
        upstream_private = 3,  // an upstream gave it under `scope` only
    };
    std::uint64_t size = 0;
    Origin origin = Origin::pushed;
    std::string scope;  // of the credential, 255 bytes at most
    bool operator==(const BlobLinkValue&) const = default;
    [[nodiscard]] Bytes encode() const;
    [[nodiscard]] static Result<BlobLinkValue> decode(ByteView bytes);
};

}  // namespace fastreg::repo
