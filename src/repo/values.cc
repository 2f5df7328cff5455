#include "repo/values.h"

#include "wire/pack.h"

namespace fastreg::repo {

namespace {

constexpr std::size_t kTextMax = 255;

std::string_view cut(std::string_view text) {
    return text.substr(0, kTextMax);
}

std::optional<Digest> digest_behind(std::string_view prefix, std::string_view key) {
    if (!key.starts_with(prefix)) return std::nullopt;
    auto digest = Digest::parse(key.substr(prefix.size()));
    if (!digest) return std::nullopt;
    return *digest;
}

}  // namespace

std::string tag_key(std::string_view tag) {
    return std::string(kTagPrefix).append(tag);
}
std::string manifest_key(const Digest& digest) {
    return std::string(kManifestPrefix) + digest.str();
}
std::string blob_key(const Digest& digest) {
    return std::string(kBlobPrefix) + digest.str();
}

std::optional<std::string_view> tag_of(std::string_view key) {
    if (!key.starts_with(kTagPrefix)) return std::nullopt;
    return key.substr(kTagPrefix.size());
}
std::optional<Digest> manifest_of(std::string_view key) {
    return digest_behind(kManifestPrefix, key);
}
std::optional<Digest> blob_of(std::string_view key) {
    return digest_behind(kBlobPrefix, key);
}

Bytes TagValue::encode() const {
    return wire::MapWriter().put(1, manifest).finish();
}

Result<TagValue> TagValue::decode(ByteView bytes) {
    FR_TRY_ASSIGN(auto in, wire::MapReader::parse(bytes));
    in.require(1);
    TagValue value{in.digest(1)};
    FR_TRY(in.status());
    return value;
}

std::optional<std::string> manifest_key_of(const wire::Row& row) {
    if (row.tombstone || !tag_of(row.key)) return std::nullopt;
    const auto value = TagValue::decode(row.value);
    if (!value) return std::nullopt;
    return manifest_key(value->manifest);
}

Bytes ManifestValue::encode() const {
    const auto write = [&](bool with_annotations) {
        wire::MapWriter map;
        map.put(1, cut(media_type)).put(2, size);
        if (subject) map.put(3, *subject);
        if (!artifact_type.empty()) map.put(4, cut(artifact_type));
        if (with_annotations && !annotations.empty()) map.put(5, std::string_view(annotations));
        return map.finish();
    };
    auto bytes = write(true);
    if (bytes.size() > wire::kRowValueMax) bytes = write(false);
    return bytes;
}

Result<ManifestValue> ManifestValue::decode(ByteView bytes) {
    FR_TRY_ASSIGN(auto in, wire::MapReader::parse(bytes));
    ManifestValue value;
    value.media_type = in.text(1, kTextMax);
    value.size = in.number(2);
    if (in.has(3)) value.subject = in.digest(3);
    value.artifact_type = in.text(4, kTextMax);
    value.annotations = in.text(5, wire::kRowValueMax);
    FR_TRY(in.status());
    return value;
}

Bytes BlobLinkValue::encode() const {
    wire::MapWriter map;
    map.put(1, size).put(2, static_cast<std::uint64_t>(origin));
    if (!scope.empty()) map.put(3, cut(scope));
    return map.finish();
}

Result<BlobLinkValue> BlobLinkValue::decode(ByteView bytes) {
    FR_TRY_ASSIGN(auto in, wire::MapReader::parse(bytes));
    BlobLinkValue value;
    value.size = in.number(1);
    const auto origin = in.number(2, 1, 3);
    if (origin == 0) in.reject("has no origin");
    value.origin = static_cast<Origin>(origin);
    value.scope = in.text(3, kTextMax);
    FR_TRY(in.status());
    return value;
}

}  // namespace fastreg::repo
