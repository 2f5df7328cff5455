#include "registry/answers.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "registry/route.h"

namespace fastreg::registry {

namespace {

using OrderedJson = nlohmann::ordered_json;

constexpr std::string_view kApiVersion = "registry/2.0";
constexpr std::string_view kOctetStream = "application/octet-stream";

std::string dump(const OrderedJson& json) {
    return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

Answer empty_answer(int status) {
    Answer answer;
    answer.head.status = status;
    answer.head.headers.add("Docker-Distribution-Api-Version", std::string(kApiVersion));
    if (!http::never_has_body(status)) answer.head.content_length = 0;
    return answer;
}

Answer json_answer(int status, std::string body, std::string_view type = "application/json") {
    Answer answer = empty_answer(status);
    answer.head.headers.add("Content-Type", std::string(type));
    answer.head.content_length = body.size();
    answer.body = std::move(body);
    return answer;
}

void add_digest(http::Headers& headers, const Digest& digest) {
    headers.add("Docker-Content-Digest", digest.str());
    headers.add("ETag", '"' + digest.str() + '"');
}

// A path under /v2/ for this name, as the client asked for it.
std::string base_path(const Name& name) {
    std::string path = "/v2/";
    if (!name.registry.empty()) path += name.registry + '/';
    return path + name.repository;
}

// The upload's answers keep `ns`, so that the next request names the same registry.
std::string ns_query(const Name& name) {
    return name.ns.empty() ? std::string{} : "?ns=" + http::percent_encode(name.ns);
}

void add_warning(http::Headers& headers, std::string_view warning) {
    if (!warning.empty()) {
        headers.add("Warning", "199 fastreg \"" + std::string(warning) + '"');
    }
}

// "Range: 0-<last>"; with no bytes yet it reads 0-0, as Docker's registry writes it.
std::string received_range(std::uint64_t offset) {
    return "0-" + std::to_string(offset == 0 ? 0 : offset - 1);
}

Answer upload_answer(int status, const Name& name, std::string_view id, std::uint64_t offset) {
    Answer answer = empty_answer(status);
    answer.head.headers.add("Location", upload_location(name, id));
    answer.head.headers.add("Range", received_range(offset));
    answer.head.headers.add("Docker-Upload-UUID", std::string(id));
    return answer;
}

OrderedJson descriptor_json(const Referrer& referrer) {
    OrderedJson json = {{"mediaType", referrer.descriptor.media_type},
                 {"digest", referrer.descriptor.digest.str()},
                 {"size", referrer.descriptor.size}};
    if (!referrer.artifact_type.empty()) json["artifactType"] = referrer.artifact_type;
    if (!referrer.annotations.empty()) {
        OrderedJson map = OrderedJson::object();
        for (const auto& [key, value] : referrer.annotations) map[key] = value;
        json["annotations"] = std::move(map);
    }
    return json;
}

void add_next_link(http::Headers& headers,
                   const std::string& path,
                   std::span<const std::string> items,
                   bool more,
                   std::uint32_t n,
                   std::string_view ns) {
    if (!more || items.empty()) return;
    std::string link =
        '<' + path + "?last=" + http::percent_encode(items.back()) + "&n=" + std::to_string(n);
    if (!ns.empty()) link += "&ns=" + http::percent_encode(ns);
    headers.add("Link", link + ">; rel=\"next\"");
}

// Not in any blob by chance: the digest names the blob, so the text cannot be inside it on purpose.
std::string boundary_of(const Digest& digest) {
    return "fastreg-" + digest.hex().substr(0, 40);
}

BlobPlan multipart_plan(BlobPlan plan,
                        const Digest& digest,
                        std::uint64_t size,
                        const std::vector<http::ByteRange>& ranges) {
    const std::string boundary = boundary_of(digest);
    std::uint64_t length = 0;
    std::string lead;
    for (const http::ByteRange& range : ranges) {
        BlobPiece piece;
        piece.text = lead + "--" + boundary + "\r\nContent-Type: " + std::string(kOctetStream) +
                     "\r\nContent-Range: " + http::content_range(range, size) + "\r\n\r\n";
        piece.range = range;
        length += piece.text.size() + range.size();
        plan.pieces.push_back(std::move(piece));
        lead = "\r\n";
    }
    plan.pieces.push_back({"\r\n--" + boundary + "--\r\n", std::nullopt});
    length += plan.pieces.back().text.size();
    plan.head.status = 206;
    plan.head.headers.set("Content-Type", "multipart/byteranges; boundary=" + boundary);
    plan.head.content_length = length;
    return plan;
}

}  // namespace

Answer error_answer(const ApiError& error) {
    Answer answer = json_answer(error.status, to_json(error));
    if (error.retry_after_s > 0) {
        answer.head.headers.add("Retry-After", std::to_string(error.retry_after_s));
    }
    return answer;
}

Answer ping_answer() {
    return json_answer(200, "{}");
}

Answer health_answer(bool ok, std::string_view reason) {
    std::string body = ok ? "ok\n" : "not ready\n";
    if (!reason.empty()) body = std::string(reason) + '\n';
    return json_answer(ok ? 200 : 503, std::move(body), "text/plain; charset=utf-8");
}

Answer manifest_head(const Digest& digest, std::string_view media_type, std::uint64_t size) {
    Answer answer = empty_answer(200);
    answer.head.headers.add("Content-Type", std::string(media_type));
    add_digest(answer.head.headers, digest);
    answer.head.content_length = size;
    return answer;
}

Answer manifest_answer(const Digest& digest, std::string_view media_type, std::string bytes) {
    Answer answer = manifest_head(digest, media_type, bytes.size());
    answer.body = std::move(bytes);
    return answer;
}

Answer not_modified(const Digest& digest) {
    Answer answer = empty_answer(304);
    add_digest(answer.head.headers, digest);
    return answer;
}

Answer manifest_created(const Name& name,
                        const Digest& digest,
                        const std::optional<Digest>& subject,
                        const std::vector<std::string>& tags,
                        std::string_view warning) {
    Answer answer = empty_answer(201);
    http::Headers& headers = answer.head.headers;
    headers.add("Location", base_path(name) + "/manifests/" + digest.str());
    headers.add("Docker-Content-Digest", digest.str());
    if (subject) headers.add("OCI-Subject", subject->str());
    for (const std::string& tag : tags) headers.add("OCI-Tag", tag);
    add_warning(headers, warning);
    return answer;
}

Answer deleted() {
    return empty_answer(202);
}

bool BlobPlan::contiguous() const {
    return pieces.size() == 1 && pieces.front().text.empty() && pieces.front().range.has_value();
}

BlobPlan blob_plan(const Digest& digest,
                   std::uint64_t size,
                   std::string_view range,
                   std::string_view if_none_match) {
    BlobPlan plan;
    plan.head.headers.add("Docker-Distribution-Api-Version", std::string(kApiVersion));
    add_digest(plan.head.headers, digest);
    if (matches_etag(if_none_match, digest)) {
        plan.head.status = 304;
        return plan;
    }
    plan.head.headers.add("Accept-Ranges", "bytes");
    plan.head.headers.add("Cache-Control", "max-age=31536000, immutable");
    plan.head.headers.add("Content-Type", std::string(kOctetStream));

    const auto refuse = [&](int status, ErrorCode code, std::string message) {
        ApiError error = make_error(code, std::move(message));
        error.status = status;
        plan.body = to_json(error);
        plan.head.status = status;
        plan.head.headers.set("Content-Type", "application/json");
        plan.head.content_length = plan.body.size();
    };
    const http::RangeAnswer asked = http::parse_range(range, size);
    if (std::holds_alternative<http::RangeUnsatisfiable>(asked)) {
        refuse(416, ErrorCode::range_invalid, "the range lies outside of the blob");
        plan.head.headers.add("Content-Range", http::content_range_unsatisfied(size));
    } else if (std::holds_alternative<http::RangeTooMany>(asked)) {
        refuse(400,
               ErrorCode::range_invalid,
               "at most " + std::to_string(http::kMaxRanges) +
                   " ranges, together no larger than the blob");
    } else if (const auto* one = std::get_if<http::ByteRange>(&asked)) {
        plan.head.status = 206;
        plan.head.headers.add("Content-Range", http::content_range(*one, size));
        plan.head.content_length = one->size();
        plan.pieces.push_back({{}, *one});
    } else if (const auto* many = std::get_if<std::vector<http::ByteRange>>(&asked)) {
        return multipart_plan(std::move(plan), digest, size, *many);
    } else {
        plan.head.content_length = size;
        if (size > 0) plan.pieces.push_back({{}, http::ByteRange{0, size - 1}});
    }
    return plan;
}

std::string upload_location(const Name& name, std::string_view id) {
    return base_path(name) + "/blobs/uploads/" + std::string(id) + ns_query(name);
}

Answer upload_started(const Name& name, std::string_view id) {
    Answer answer = upload_answer(202, name, id, 0);
    answer.head.headers.add("OCI-Chunk-Min-Length", std::to_string(kChunkMinLength));
    return answer;
}

Answer upload_progress(const Name& name, std::string_view id, std::uint64_t offset) {
    return upload_answer(202, name, id, offset);
}

Answer upload_status(const Name& name, std::string_view id, std::uint64_t offset) {
    return upload_answer(204, name, id, offset);
}

Answer upload_out_of_order(const Name& name, std::string_view id, std::uint64_t offset) {
    Answer answer = upload_answer(416, name, id, offset);
    answer.body = to_json(make_error(
        ErrorCode::range_invalid,
        "the chunk does not start where the upload ends, at byte " + std::to_string(offset)));
    answer.head.headers.add("Content-Type", "application/json");
    answer.head.content_length = answer.body.size();
    return answer;
}

Answer upload_cancelled() {
    return empty_answer(204);
}

Answer blob_created(const Name& name, const Digest& digest, std::string_view warning) {
    Answer answer = empty_answer(201);
    answer.head.headers.add("Location", base_path(name) + "/blobs/" + digest.str());
    answer.head.headers.add("Docker-Content-Digest", digest.str());
    add_warning(answer.head.headers, warning);
    return answer;
}

Page page_of(std::span<const std::string> all, std::string_view last, std::uint32_t n) {
    const auto first = last.empty() ? all.begin() : std::upper_bound(all.begin(), all.end(), last);
    const auto left = static_cast<std::size_t>(all.end() - first);
    const std::size_t take = std::min<std::size_t>(left, n);
    return {std::span<const std::string>(first, take), left > take};
}

Answer tags_page(const Name& name, std::span<const std::string> tags, bool more, std::uint32_t n) {
    OrderedJson list = OrderedJson::array();
    for (const std::string& tag : tags) list.push_back(tag);
    const std::string shown =
        name.registry.empty() ? name.repository : name.registry + '/' + name.repository;
    Answer answer = json_answer(200, dump(OrderedJson{{"name", shown}, {"tags", std::move(list)}}));
    add_next_link(answer.head.headers, base_path(name) + "/tags/list", tags, more, n, name.ns);
    return answer;
}

Answer catalog_page(std::span<const std::string> repositories, bool more, std::uint32_t n) {
    OrderedJson list = OrderedJson::array();
    for (const std::string& repository : repositories) list.push_back(repository);
    Answer answer = json_answer(200, dump(OrderedJson{{"repositories", std::move(list)}}));
    add_next_link(answer.head.headers, "/v2/_catalog", repositories, more, n, {});
    return answer;
}

Answer referrers_answer(std::span<const Referrer> referrers, std::string_view artifact_type) {
    OrderedJson list = OrderedJson::array();
    for (const Referrer& referrer : referrers) {
        if (artifact_type.empty() || referrer.artifact_type == artifact_type) {
            list.push_back(descriptor_json(referrer));
        }
    }
    const OrderedJson index = {
        {"schemaVersion", 2}, {"mediaType", kOciIndex}, {"manifests", std::move(list)}};
    Answer answer = json_answer(200, dump(index), kOciIndex);
    if (!artifact_type.empty()) {
        answer.head.headers.add("OCI-Filters-Applied", "artifactType");
    }
    return answer;
}

}  // namespace fastreg::registry
