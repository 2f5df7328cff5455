#include "registry/manifest.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace fastreg::registry {

namespace {

using Json = nlohmann::json;

tl::unexpected<ApiError> invalid(std::string message) {
    return tl::unexpected(make_error(ErrorCode::manifest_invalid, std::move(message)));
}

// Depth of nesting, outside of strings; the JSON parser itself has no limit.
bool too_deep(std::string_view text) {
    std::size_t depth = 0;
    bool in_string = false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (in_string) {
            if (c == '\\') {
                ++i;
            } else if (c == '"') {
                in_string = false;
            }
            continue;
        }
        if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > kMaxJsonDepth) return true;
        } else if ((c == '}' || c == ']') && depth > 0) {
            --depth;
        }
    }
    return false;
}

bool is_schema1(std::string_view type) {
    return type == "application/vnd.docker.distribution.manifest.v1+json" ||
           type == "application/vnd.docker.distribution.manifest.v1+prettyjws";
}

// Types that HTTP libraries put there by themselves.
bool says_nothing(std::string_view type) {
    return type.empty() || type == "application/json" || type == "application/octet-stream" ||
           type == "text/plain" || type == "application/x-www-form-urlencoded";
}

bool is_foreign_type(std::string_view type) {
    return type.starts_with("application/vnd.docker.image.rootfs.foreign.diff.tar") ||
           type.starts_with("application/vnd.oci.image.layer.nondistributable.v1.tar");
}

std::optional<ManifestKind> kind_of_type(std::string_view type) {
    if (type == kOciManifest || type == kDockerManifest) return ManifestKind::image;
    if (type == kOciIndex || type == kDockerList) return ManifestKind::index;
    if (type == kOciArtifact) return ManifestKind::artifact;
    return std::nullopt;
}

std::optional<ManifestKind> kind_of_shape(const Json& json) {
    if (json.contains("manifests")) return ManifestKind::index;
    if (json.contains("config") || json.contains("layers")) return ManifestKind::image;
    if (json.contains("blobs")) return ManifestKind::artifact;
    return std::nullopt;
}

std::string_view default_type(ManifestKind kind) {
    switch (kind) {
        case ManifestKind::index:
            return kOciIndex;
        case ManifestKind::artifact:
            return kOciArtifact;
        case ManifestKind::image:
            break;
    }
    return kOciManifest;
}

// The value of a key that may be absent or null; nullptr then.
const Json* find(const Json& json, const char* key) {
    const auto it = json.find(key);
    return it == json.end() || it->is_null() ? nullptr : &*it;
}

ApiResult<std::string> text_of(const Json& json, const char* key) {
    const Json* value = find(json, key);
    if (value == nullptr) return std::string{};
    if (!value->is_string()) return invalid(std::string(key) + " must be a string");
    return value->get<std::string>();
}

ApiResult<Descriptor> descriptor_of(const Json& json, const std::string& where) {
    if (!json.is_object()) return invalid(where + " must be a descriptor (an object)");
    Descriptor descriptor;
    auto type = text_of(json, "mediaType");
    if (!type) return invalid(where + ": mediaType must be a string");
    descriptor.media_type = std::move(*type);
    const auto digest = text_of(json, "digest");
    if (!digest || digest->empty()) return invalid(where + ": the descriptor has no digest");
    auto parsed = Digest::parse(*digest);
    if (!parsed) {
        return tl::unexpected(
            make_error(ErrorCode::digest_invalid, where + ": " + parsed.error().what));
    }
    descriptor.digest = *parsed;
    const Json* size = find(json, "size");
    if (size == nullptr || !size->is_number_unsigned() ||
        size->get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX)) {
        return invalid(where + ": size must be a whole number of bytes, at least 0");
    }
    descriptor.size = size->get<std::uint64_t>();
    return descriptor;
}

ApiResult<Annotations> annotations_of(const Json& json) {
    Annotations annotations;
    const Json* map = find(json, "annotations");
    if (map == nullptr) return annotations;
    if (!map->is_object()) return invalid("annotations must be an object of strings");
    for (const auto& [key, value] : map->items()) {  // nlohmann::json keeps keys sorted
        if (!value.is_string()) return invalid("annotations must be an object of strings");
        annotations.emplace_back(key, value.get<std::string>());
    }
    return annotations;
}

// One list of descriptors under `key`; absent means empty.
ApiResult<void> read_list(const Json& json,
                          const char* key,
                          std::vector<Descriptor>& required,
                          std::vector<Descriptor>* foreign) {
    const Json* list = find(json, key);
    if (list == nullptr) return {};
    if (!list->is_array()) return invalid(std::string(key) + " must be an array");
    if (list->size() > kMaxDescriptors) {
        return invalid(std::string(key) + " has more than " + std::to_string(kMaxDescriptors) +
                       " entries");
    }
    std::size_t i = 0;
    for (const Json& item : *list) {
        auto descriptor = descriptor_of(item, std::string(key) + "[" + std::to_string(i++) + "]");
        if (!descriptor) return tl::unexpected(std::move(descriptor).error());
        const Json* urls = find(item, "urls");
        const bool elsewhere = is_foreign_type(plain_media_type(descriptor->media_type)) ||
                               (urls != nullptr && urls->is_array() && !urls->empty());
        (foreign != nullptr && elsewhere ? *foreign : required).push_back(std::move(*descriptor));
    }
    return {};
}

// What decides kind and media type; two answers for the same bytes are refused (CVE-2021-41190).
ApiResult<void> classify(const Json& json, std::string_view content_type, Manifest& manifest) {
    const auto field = text_of(json, "mediaType");
    if (!field) return tl::unexpected(field.error());
    const std::string put_type = plain_media_type(content_type);
    const std::string own_type = plain_media_type(*field);
    if (is_schema1(put_type) || is_schema1(own_type) || json.contains("fsLayers")) {
        ApiError error = make_error(ErrorCode::unsupported,
                                    "schema 1 manifests are not taken: push with a client of this "
                                    "decade, or convert with skopeo copy --format v2s2");
        error.status = 415;
        return tl::unexpected(std::move(error));
    }
    const bool typed = !says_nothing(put_type);
    if (typed && !own_type.empty() && put_type != own_type) {
        return invalid("Content-Type says " + put_type + ", mediaType says " + own_type);
    }
    const std::string& type = typed ? put_type : own_type;
    const auto by_type = kind_of_type(type);
    const auto by_shape = kind_of_shape(json);
    if (!by_type && !by_shape) {
        return invalid("neither the media type nor the fields say what kind of manifest this is");
    }
    manifest.kind = by_type ? *by_type : *by_shape;
    const bool index = manifest.kind == ManifestKind::index;
    if (index && (json.contains("layers") || json.contains("config"))) {
        return invalid("an index must not have layers or config");
    }
    if (!index && json.contains("manifests")) {
        return invalid("an image or artifact manifest must not have manifests");
    }
    if (typed) {
        manifest.media_type = content_type.substr(0, content_type.find(';'));
        while (manifest.media_type.ends_with(' ')) manifest.media_type.pop_back();
    } else {
        manifest.media_type = own_type.empty() ? std::string(default_type(manifest.kind)) : *field;
    }
    const Json* version = find(json, "schemaVersion");
    if (version == nullptr ? manifest.kind != ManifestKind::artifact
                           : !version->is_number_integer() || *version != 2) {
        return invalid("schemaVersion must be 2");
    }
    return {};
}

ApiResult<void> read_image(const Json& json, Manifest& manifest) {
    const Json* config = find(json, "config");
    if (config == nullptr) return invalid("an image manifest must have a config");
    auto descriptor = descriptor_of(*config, "config");
    if (!descriptor) return tl::unexpected(std::move(descriptor).error());
    if (manifest.artifact_type.empty()) manifest.artifact_type = descriptor->media_type;
    manifest.blobs.push_back(std::move(*descriptor));
    return read_list(json, "layers", manifest.blobs, &manifest.foreign);
}

}  // namespace

std::string plain_media_type(std::string_view field) {
    field = field.substr(0, field.find(';'));
    const std::size_t first = field.find_first_not_of(" \t");
    if (first == std::string_view::npos) return {};
    field = field.substr(first, field.find_last_not_of(" \t") - first + 1);
    std::string out(field);
    std::transform(out.begin(), out.end(), out.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    return out;
}

ApiResult<Manifest> parse_manifest(ByteView bytes, std::string_view content_type) {
    if (bytes.size() > kMaxManifestBytes) {
        ApiError error =
            make_error(ErrorCode::size_invalid,
                       "the manifest is over the limit of " + human_bytes(kMaxManifestBytes));
        error.status = 413;
        return tl::unexpected(std::move(error));
    }
    const std::string_view text = as_text(bytes);
    if (too_deep(text)) {
        return invalid("the manifest nests deeper than " + std::to_string(kMaxJsonDepth));
    }
    // RFC 8259, 8.1: must not be added. The parser passes over it; clients that read the bytes anew may not.
    if (text.starts_with("\xef\xbb\xbf")) return invalid("the manifest begins with a byte order mark");
    const Json json = Json::parse(text, nullptr, false);
    if (json.is_discarded()) return invalid("the manifest is not JSON");
    if (!json.is_object()) return invalid("the manifest is not a JSON object");

    Manifest manifest;
    if (auto done = classify(json, content_type, manifest); !done) {
        return tl::unexpected(std::move(done).error());
    }
    auto artifact_type = text_of(json, "artifactType");
    if (!artifact_type) return tl::unexpected(std::move(artifact_type).error());
    manifest.artifact_type = std::move(*artifact_type);
    auto annotations = annotations_of(json);
    if (!annotations) return tl::unexpected(std::move(annotations).error());
    manifest.annotations = std::move(*annotations);
    if (const Json* subject = find(json, "subject")) {
        auto descriptor = descriptor_of(*subject, "subject");
        if (!descriptor) return tl::unexpected(std::move(descriptor).error());
        manifest.subject = std::move(*descriptor);
    }

    ApiResult<void> read;
    switch (manifest.kind) {
        case ManifestKind::image:
            read = read_image(json, manifest);
            break;
        case ManifestKind::index:
            read = read_list(json, "manifests", manifest.manifests, nullptr);
            break;
        case ManifestKind::artifact:
            read = read_list(json, "blobs", manifest.blobs, &manifest.foreign);
            break;
    }
    if (!read) return tl::unexpected(std::move(read).error());
    return manifest;
}

Referrer make_referrer(const Manifest& manifest, const Digest& digest, std::uint64_t size) {
    return {{manifest.media_type, digest, size}, manifest.artifact_type, manifest.annotations};
}

}  // namespace fastreg::registry
