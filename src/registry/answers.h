// Answers of the distribution API as HTTP heads and bodies, with every field a client looks at.
// Pure; any thread. Bodies of blobs are not here: the head says which bytes the driver must send.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "http/range.h"
#include "http/response.h"
#include "registry/errors.h"
#include "registry/manifest.h"
#include "registry/names.h"

namespace fastreg::registry {

/// A small whole answer. For HEAD the driver leaves the body out; the length stays.
struct Answer {
    http::ResponseHead head;
    std::string body;
};

[[nodiscard]] Answer error_answer(const ApiError& error);
/// 200 "{}" with Docker-Distribution-Api-Version.
[[nodiscard]] Answer ping_answer();
/// 200, or 503 with the reason in the body.
[[nodiscard]] Answer health_answer(bool ok, std::string_view reason = {});

/// 200 with the manifest's bytes exactly as they were put.
[[nodiscard]] Answer manifest_answer(const Digest& digest,
                                     std::string_view media_type,
                                     std::string bytes);
/// 200 to HEAD when only the size is known.
[[nodiscard]] Answer manifest_head(const Digest& digest,
                                   std::string_view media_type,
                                   std::uint64_t size);
[[nodiscard]] Answer not_modified(const Digest& digest);
/// 201. `tags` are those stored by ?tag=, `warning` e.g. "1 of 2 copies".
[[nodiscard]] Answer manifest_created(const Name& name,
                                      const Digest& digest,
                                      const std::optional<Digest>& subject = {},
                                      const std::vector<std::string>& tags = {},
                                      std::string_view warning = {});
/// 202 to every DELETE of a manifest, tag or blob.
[[nodiscard]] Answer deleted();

/// How a blob is to be sent: 200 with everything, 206 with one range, 206 multipart, 416, 400, 304.
/// `pieces` lists the body in order when the driver must send one.
struct BlobPiece {
    std::string text;                      // multipart delimiters, sent before the range
    std::optional<http::ByteRange> range;  // of the blob
};
struct BlobPlan {
    http::ResponseHead head;  // content_length is that of the whole body
    std::vector<BlobPiece> pieces;
    std::string body;  // for 416 and 400: the JSON to send instead
    /// 200 or 206.
    [[nodiscard]] bool has_bytes() const { return head.status == 200 || head.status == 206; }
    /// The one range, when the body is one contiguous piece of the blob (false: multipart or none).
    [[nodiscard]] bool contiguous() const;
};
/// `range` as range_to_answer gives it, `if_none_match` as the request had it ("" when absent).
[[nodiscard]] BlobPlan blob_plan(const Digest& digest,
                                 std::uint64_t size,
                                 std::string_view range,
                                 std::string_view if_none_match = {});

/// Bytes an upload chunk should have at least; a hint, smaller ones are taken.
inline constexpr std::uint64_t kChunkMinLength = 1;

/// 202 to POST. Also what a mount that could not be done answers.
[[nodiscard]] Answer upload_started(const Name& name, std::string_view id);
/// 202 to PATCH. `offset` = bytes received so far.
[[nodiscard]] Answer upload_progress(const Name& name, std::string_view id, std::uint64_t offset);
/// 204 to GET of the upload.
[[nodiscard]] Answer upload_status(const Name& name, std::string_view id, std::uint64_t offset);
/// 416 to a chunk with a gap or a replay.
[[nodiscard]] Answer upload_out_of_order(const Name& name,
                                         std::string_view id,
                                         std::uint64_t offset);
/// 204 to DELETE of the upload.
[[nodiscard]] Answer upload_cancelled();
/// 201 to PUT, single POST and mount.
[[nodiscard]] Answer blob_created(const Name& name,
                                  const Digest& digest,
                                  std::string_view warning = {});

/// `tags` in ASCII order, all > last, already cut to the page; `more` adds the Link field.
[[nodiscard]] Answer tags_page(const Name& name,
                               std::span<const std::string> tags,
                               bool more,
                               std::uint32_t n);
[[nodiscard]] Answer catalog_page(std::span<const std::string> repositories,
                                  bool more,
                                  std::uint32_t n);
/// The elements of the sorted `all` that a page holds, and whether more follow.
struct Page {
    std::span<const std::string> items;
    bool more = false;
};
[[nodiscard]] Page page_of(std::span<const std::string> all,
                           std::string_view last,
                           std::uint32_t n);

/// 200 always: an image index of the referrers, empty when there are none. With `artifact_type` the
/// list is filtered here and OCI-Filters-Applied is set.
[[nodiscard]] Answer referrers_answer(std::span<const Referrer> referrers,
                                      std::string_view artifact_type = {});

/// Relative: "/v2/<name>/blobs/uploads/<id>".
[[nodiscard]] std::string upload_location(const Name& name, std::string_view id);

}  // namespace fastreg::registry
