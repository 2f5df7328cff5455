#include "registry/route.h"

#include <algorithm>
#include <charconv>

#include "registry/manifest.h"

namespace fastreg::registry {

namespace {

using http::Method;
using http::Request;

Rejected reject(const Request& request, ApiError error, std::string allow = {}) {
    return {std::move(error), request.method == Method::head, std::move(allow)};
}

Rejected wrong_method(const Request& request, std::string_view allow) {
    ApiError error =
        make_error(ErrorCode::unsupported,
                   request.method_name + " is not done here; allowed: " + std::string(allow));
    return reject(request, std::move(error), std::string(allow));
}

Rejected not_an_endpoint(const Request& request) {
    ApiError error =
        make_error(ErrorCode::name_unknown, "no endpoint of the distribution API has this path");
    return reject(request, std::move(error));
}

ApiResult<Digest> digest_in(std::string_view text) {
    auto digest = Digest::parse(text);
    if (!digest) {
        return tl::unexpected(make_error(ErrorCode::digest_invalid, digest.error().what));
    }
    return *digest;
}

ApiResult<std::optional<std::uint32_t>> number_in_query(const Request& request,
                                                        std::string_view key) {
    const auto text = request.query_value(key);
    if (!text || text->empty()) return std::optional<std::uint32_t>{};
    std::uint32_t value = 0;
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
    if (error == std::errc::result_out_of_range && text->front() != '-') {
        return std::optional<std::uint32_t>(UINT32_MAX);
    }
    if (error != std::errc{} || end != text->data() + text->size()) {
        ApiError wrong = make_error(ErrorCode::unsupported,
                                    std::string(key) + " must be a number of at least 0");
        wrong.status = 400;
        return tl::unexpected(std::move(wrong));
    }
    return std::optional<std::uint32_t>(value);
}

ApiResult<std::optional<http::ByteRange>> content_range_of(const Request& request) {
    const auto field = request.headers.find("Content-Range");
    if (!field || field->empty()) return std::optional<http::ByteRange>{};
    auto range = http::parse_content_range(*field);
    if (!range) {
        ApiError error = make_error(ErrorCode::blob_upload_invalid, range.error().what);
        // A range that runs backwards is out of order, not malformed.
        if (range.error().code == Errc::out_of_range) error.status = 416;
        return tl::unexpected(std::move(error));
    }
    return std::optional<http::ByteRange>(*range);
}

std::vector<std::string> accept_of(const Request& request) {
    std::vector<std::string> accept;
    for (const std::string& item : request.headers.list("Accept")) {
        accept.push_back(plain_media_type(item));
    }
    return accept;
}

// Content-Type keeps its case: GET answers what PUT said, byte for byte.
std::string content_type_of(const Request& request) {
    std::string_view field = request.headers.get("Content-Type");
    field = field.substr(0, field.find(';'));
    while (!field.empty() && (field.back() == ' ' || field.back() == '\t')) field.remove_suffix(1);
    while (!field.empty() && (field.front() == ' ' || field.front() == '\t')) {
        field.remove_prefix(1);
    }
    return std::string(field);
}

// What the pushed manifest must hash to: the reference, or ?digest= beside a tag.
ApiResult<std::optional<Digest>> promised_digest(const Request& request,
                                                 const Reference& reference) {
    const Digest* named = digest_of(reference);
    std::optional<Digest> promised = named != nullptr ? std::optional(*named) : std::nullopt;
    for (const std::string& text : request.query_values("digest")) {
        auto digest = digest_in(text);
        if (!digest) return tl::unexpected(std::move(digest).error());
        if (promised && *promised != *digest) {
            return tl::unexpected(
                make_error(ErrorCode::digest_invalid,
                           "?digest=" + digest->str() + " contradicts " + promised->str()));
        }
        promised = *digest;
    }
    return promised;
}

Route route_manifest(const Request& request, Name name, std::string_view text) {
    auto reference = parse_reference(text);
    if (!reference) {
        const bool reads = request.method == Method::get || request.method == Method::head;
        ApiError error = std::move(reference).error();
        // Nothing can be there under a tag that no push could have made.
        if (reads && error.code == ErrorCode::tag_invalid) {
            error = make_error(ErrorCode::manifest_unknown, std::move(error.message));
        }
        return reject(request, std::move(error));
    }
    switch (request.method) {
        case Method::get:
        case Method::head:
            return GetManifest{std::move(name),
                               std::move(*reference),
                               request.method == Method::head,
                               std::string(request.headers.get("If-None-Match")),
                               accept_of(request)};
        case Method::put: {
            std::vector<std::string> tags = request.query_values("tag");
            for (const std::string& tag : tags) {
                if (!is_tag(tag)) {
                    return reject(request,
                                  make_error(ErrorCode::tag_invalid,
                                             "the query names a tag that breaks the grammar "
                                             "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}"));
                }
            }
            auto digest = promised_digest(request, *reference);
            if (!digest) return reject(request, std::move(digest).error());
            return PutManifest{std::move(name),
                               std::move(*reference),
                               content_type_of(request),
                               std::move(tags),
                               std::move(*digest)};
        }
        case Method::del:
            return DeleteManifest{std::move(name), std::move(*reference)};
        default:
            return wrong_method(request, "GET, HEAD, PUT, DELETE");
    }
}

Route route_blob(const Request& request, Name name, std::string_view text) {
    auto digest = digest_in(text);
    if (!digest) return reject(request, std::move(digest).error());
    switch (request.method) {
        case Method::get:
        case Method::head:
            return GetBlob{std::move(name),
                           *digest,
                           request.method == Method::head,
                           range_to_answer(request, *digest),
                           std::string(request.headers.get("If-None-Match"))};
        case Method::del:
            return DeleteBlob{std::move(name), *digest};
        default:
            return wrong_method(request, "GET, HEAD, DELETE");
    }
}

Route route_start_upload(const Request& request, Name name) {
    if (request.method != Method::post) return wrong_method(request, "POST");
    StartUpload start;
    start.name = std::move(name);
    start.content_length = request.content_length;
    if (const auto mount = request.query_value("mount"); mount && !mount->empty()) {
        auto digest = digest_in(*mount);
        if (!digest) return reject(request, std::move(digest).error());
        start.mount = *digest;
    }
    if (const auto from = request.query_value("from"); from && !from->empty()) {
        // What is no repository of ours cannot be mounted from: the answer is an ordinary upload.
        const auto source = parse_name(*from);
        if (source && source->registry.empty()) {
            start.from = source->repository;
        } else {
            start.mount.reset();
        }
    }
    if (const auto whole = request.query_value("digest"); whole && !whole->empty()) {
        auto digest = digest_in(*whole);
        if (!digest) return reject(request, std::move(digest).error());
        start.digest = *digest;
        start.algorithm = digest->alg;
    }
    if (const auto algorithm = request.query_value("digest-algorithm");
        algorithm && !algorithm->empty()) {
        if (*algorithm != "sha256" && *algorithm != "sha512") {
            return reject(
                request,
                make_error(ErrorCode::digest_invalid, "digest-algorithm must be sha256 or sha512"));
        }
        start.algorithm = *algorithm == "sha512" ? HashAlg::sha512 : HashAlg::sha256;
    }
    return start;
}

Route route_upload(const Request& request, Name name, std::string_view id) {
    switch (request.method) {
        case Method::get:
        case Method::head:
            return UploadStatus{std::move(name), std::string(id)};
        case Method::del:
            return CancelUpload{std::move(name), std::string(id)};
        case Method::patch: {
            auto range = content_range_of(request);
            if (!range) return reject(request, std::move(range).error());
            return PatchUpload{std::move(name), std::string(id), *range, request.content_length};
        }
        case Method::put: {
            const auto text = request.query_value("digest");
            if (!text || text->empty()) {
                return reject(request,
                              make_error(ErrorCode::digest_invalid,
                                         "the closing PUT of an upload must say ?digest="));
            }
            auto digest = digest_in(*text);
            if (!digest) return reject(request, std::move(digest).error());
            auto range = content_range_of(request);
            if (!range) return reject(request, std::move(range).error());
            return PutUpload{
                std::move(name), std::string(id), *digest, *range, request.content_length};
        }
        default:
            return wrong_method(request, "GET, PATCH, PUT, DELETE");
    }
}

Route route_tags(const Request& request, Name name) {
    if (request.method != Method::get && request.method != Method::head) {
        return wrong_method(request, "GET");
    }
    auto n = number_in_query(request, "n");
    if (!n) return reject(request, std::move(n).error());
    return ListTags{std::move(name), *n, std::string(request.query_value("last").value_or(""))};
}

Route route_referrers(const Request& request, Name name, std::string_view text) {
    if (request.method != Method::get && request.method != Method::head) {
        return wrong_method(request, "GET");
    }
    auto digest = digest_in(text);
    if (!digest) return reject(request, std::move(digest).error());
    return Referrers{
        std::move(name), *digest, std::string(request.query_value("artifactType").value_or(""))};
}

Route route_catalog(const Request& request) {
    if (request.method != Method::get && request.method != Method::head) {
        return wrong_method(request, "GET");
    }
    auto n = number_in_query(request, "n");
    if (!n) return reject(request, std::move(n).error());
    return Catalog{*n, std::string(request.query_value("last").value_or(""))};
}

// A verb is found from the right: a repository may be called "a/blobs" or "tags/list".
struct Split {
    enum class Verb {
        none,
        manifest,
        blob,
        start_upload,
        upload,
        tags,
        referrers
    } verb = Verb::none;
    std::string_view name;
    std::string_view tail;
};

Split split(std::string_view path) {
    using Verb = Split::Verb;
    const auto ends = [&](std::string_view suffix, Verb verb) -> Split {
        if (path.size() <= suffix.size() || !path.ends_with(suffix)) return {};
        return {verb, path.substr(0, path.size() - suffix.size()), {}};
    };
    if (Split s = ends("/tags/list", Verb::tags); s.verb != Verb::none) return s;
    if (Split s = ends("/blobs/uploads/", Verb::start_upload); s.verb != Verb::none) return s;
    if (Split s = ends("/blobs/uploads", Verb::start_upload); s.verb != Verb::none) return s;
    const std::size_t slash = path.rfind('/');
    if (slash == std::string_view::npos) return {};
    const std::string_view tail = path.substr(slash + 1);
    const std::string_view before = path.substr(0, slash);
    const auto after = [&](std::string_view middle, Verb verb) -> Split {
        if (before.size() <= middle.size() || !before.ends_with(middle)) return {};
        return {verb, before.substr(0, before.size() - middle.size()), tail};
    };
    if (Split s = after("/manifests", Verb::manifest); s.verb != Verb::none) return s;
    if (Split s = after("/blobs/uploads", Verb::upload); s.verb != Verb::none) return s;
    if (Split s = after("/blobs", Verb::blob); s.verb != Verb::none) return s;
    return after("/referrers", Verb::referrers);
}

}  // namespace

Route route(const Request& request) {
    const std::string_view path = request.path;
    const bool reads = request.method == Method::get || request.method == Method::head;
    if (path == "/livez" || path == "/readyz") {
        if (!reads) return wrong_method(request, "GET, HEAD");
        return path == "/livez" ? Route(Live{}) : Route(Ready{});
    }
    if (path == "/v2/" || path == "/v2") {
        return reads ? Route(Ping{}) : Route(wrong_method(request, "GET, HEAD"));
    }
    if (!path.starts_with("/v2/")) return not_an_endpoint(request);
    const std::string_view rest = path.substr(4);
    if (rest == "_catalog") return route_catalog(request);

    const Split parts = split(rest);
    if (parts.verb == Split::Verb::none) return not_an_endpoint(request);
    auto name = parse_name(parts.name, request.query_value("ns").value_or(""));
    if (!name) return reject(request, std::move(name).error());
    switch (parts.verb) {
        case Split::Verb::manifest:
            return route_manifest(request, std::move(*name), parts.tail);
        case Split::Verb::blob:
            return route_blob(request, std::move(*name), parts.tail);
        case Split::Verb::start_upload:
            return route_start_upload(request, std::move(*name));
        case Split::Verb::upload:
            return route_upload(request, std::move(*name), parts.tail);
        case Split::Verb::tags:
            return route_tags(request, std::move(*name));
        case Split::Verb::referrers:
            return route_referrers(request, std::move(*name), parts.tail);
        case Split::Verb::none:
            break;
    }
    return not_an_endpoint(request);
}

const Name* name_of(const Route& route) {
    return std::visit(
        [](const auto& r) -> const Name* {
            if constexpr (requires { r.name; }) {
                return &r.name;
            } else {
                return nullptr;
            }
        },
        route);
}

bool is_write(const Route& route) {
    return std::holds_alternative<PutManifest>(route) ||
           std::holds_alternative<StartUpload>(route) ||
           std::holds_alternative<PatchUpload>(route) || std::holds_alternative<PutUpload>(route) ||
           std::holds_alternative<CancelUpload>(route);
}

bool is_delete(const Route& route) {
    return std::holds_alternative<DeleteManifest>(route) ||
           std::holds_alternative<DeleteBlob>(route);
}

std::uint32_t page_size(std::optional<std::uint32_t> asked) {
    return std::min<std::uint32_t>(asked.value_or(100), 1000);
}

bool matches_etag(std::string_view if_none_match, const Digest& digest) {
    const std::string wanted = digest.str();
    while (!if_none_match.empty()) {
        const std::size_t comma = if_none_match.find(',');
        std::string_view tag = if_none_match.substr(0, comma);
        while (!tag.empty() && (tag.front() == ' ' || tag.front() == '\t')) tag.remove_prefix(1);
        while (!tag.empty() && (tag.back() == ' ' || tag.back() == '\t')) tag.remove_suffix(1);
        if (tag == "*") return true;
        if (tag.starts_with("W/")) tag.remove_prefix(2);
        if (tag.size() >= 2 && tag.front() == '"' && tag.back() == '"') {
            tag = tag.substr(1, tag.size() - 2);
        }
        if (tag == wanted) return true;
        if (comma == std::string_view::npos) break;
        if_none_match.remove_prefix(comma + 1);
    }
    return false;
}

bool matches_if_range(std::string_view if_range, const Digest& digest) {
    return http::trim(if_range) == '"' + digest.str() + '"';
}

std::string range_to_answer(const Request& request, const Digest& digest) {
    if (request.method != Method::get) return {};
    const auto if_range = request.headers.find("If-Range");
    if (if_range && !matches_if_range(*if_range, digest)) return {};
    return std::string(request.headers.get("Range"));
}

bool accepts(const std::vector<std::string>& accept, std::string_view media_type) {
    if (accept.empty()) return true;
    const std::string type = plain_media_type(media_type);
    return std::any_of(accept.begin(), accept.end(), [&](const std::string& range) {
        if (range == "*/*" || range == "*" || range == type) return true;
        if (!range.ends_with("/*")) return false;
        return type.starts_with(range.substr(0, range.size() - 1));
    });
}

}  // namespace fastreg::registry
