// A request becomes one of a closed list of questions, or an error to answer. Pure; any thread.
// Everything in a Route passed its grammar; what it asks for may still not exist.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/digest.h"
#include "http/range.h"
#include "http/request.h"
#include "registry/errors.h"
#include "registry/names.h"

namespace fastreg::registry {

struct Ping {};   // GET /v2/
struct Live {};   // GET /livez
struct Ready {};  // GET /readyz

struct GetManifest {
    Name name;
    Reference reference;
    bool head = false;
    std::string if_none_match;        // raw; see matches_etag
    std::vector<std::string> accept;  // media ranges without parameters; empty accepts all
};
struct PutManifest {
    Name name;
    Reference reference;
    std::string content_type;       // as sent, without parameters
    std::vector<std::string> tags;  // ?tag=, with a digest reference
    std::optional<Digest> digest;   // the reference, or ?digest=: what the body must hash to
};
struct DeleteManifest {
    Name name;
    Reference reference;
};
struct GetBlob {
    Name name;
    Digest digest;
    bool head = false;
    std::string range;  // see range_to_answer; for http::parse_range once the size is known
    std::string if_none_match;
};
struct DeleteBlob {
    Name name;
    Digest digest;
};
struct StartUpload {
    Name name;
    std::optional<Digest> mount;
    std::string from;                     // the repository to mount from, "" for any
    std::optional<Digest> digest;         // the body is the whole blob
    HashAlg algorithm = HashAlg::sha256;  // ?digest-algorithm=
    std::optional<std::uint64_t> content_length;
};
struct PatchUpload {
    Name name;
    std::string id;
    std::optional<http::ByteRange> content_range;
    std::optional<std::uint64_t> content_length;  // none: chunked
};
struct PutUpload {
    Name name;
    std::string id;
    Digest digest;
    std::optional<http::ByteRange> content_range;
    std::optional<std::uint64_t> content_length;
};
struct UploadStatus {
    Name name;
    std::string id;
};
struct CancelUpload {
    Name name;
    std::string id;
};
struct ListTags {
    Name name;
    std::optional<std::uint32_t> n;  // as asked; see page_size
    std::string last;
};
struct Referrers {
    Name name;
    Digest digest;
    std::string artifact_type;  // "" for all
};
struct Catalog {
    std::optional<std::uint32_t> n;
    std::string last;
};
struct Rejected {
    ApiError error;
    bool head = false;
    std::string allow;  // for 405: the Allow field
};

using Route = std::variant<Ping,
                           Live,
                           Ready,
                           GetManifest,
                           PutManifest,
                           DeleteManifest,
                           GetBlob,
                           DeleteBlob,
                           StartUpload,
                           PatchUpload,
                           PutUpload,
                           UploadStatus,
                           CancelUpload,
                           ListTags,
                           Referrers,
                           Catalog,
                           Rejected>;

[[nodiscard]] Route route(const http::Request& request);

/// The repository a route is about; nullptr for those without one.
[[nodiscard]] const Name* name_of(const Route& route);
/// Pushes (uploads, PutManifest): gated by `remote-writes`.
[[nodiscard]] bool is_write(const Route& route);
/// DeleteManifest, DeleteBlob: gated by `deletes`. Cancelling an own upload is a write.
[[nodiscard]] bool is_delete(const Route& route);

/// Page sizes (protocols.md 11): 100 when not asked, 1,000 at most; 0 is an empty page.
[[nodiscard]] std::uint32_t page_size(std::optional<std::uint32_t> asked);

/// If-None-Match against the entity tag of a digest ("*", a list, weak tags).
[[nodiscard]] bool matches_etag(std::string_view if_none_match, const Digest& digest);
/// If-Range against the entity tag of a digest: one strong tag, equal byte for byte (RFC 9110 13.1.5). A date
/// never matches, for blobs have no Last-Modified.
[[nodiscard]] bool matches_if_range(std::string_view if_range, const Digest& digest);
/// The Range field as far as it counts for a blob: "" when it does not. It is defined for GET only (RFC 9110
/// 14.2), and an If-Range that does not match switches it off.
[[nodiscard]] std::string range_to_answer(const http::Request& request, const Digest& digest);
/// May this media type be answered? Empty accepts and "*/*" take all.
[[nodiscard]] bool accepts(const std::vector<std::string>& accept, std::string_view media_type);

}  // namespace fastreg::registry
