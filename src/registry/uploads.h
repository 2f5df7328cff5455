// Upload sessions: their ids, which any node can verify, and the rules of their bytes, which only
// the node that owns a session decides. Told the time; no fd, no clock, no randomness of its own.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/ids.h"
#include "base/instant.h"
#include "http/range.h"
#include "registry/errors.h"

namespace fastreg::registry {

/// 128 random bits and the node that owns the session. In text: 32 hex digits, 32 hex digits of the
/// node, 32 hex digits of HMAC-SHA256(key, random || node || repository NUL principal) cut to 128
/// bits: an id cannot be guessed, moved to another repository, or made up.
struct UploadId {
    std::array<std::byte, 16> random{};
    NodeId owner;
    auto operator<=>(const UploadId&) const = default;
};
inline constexpr std::size_t kUploadIdLength = 96;

/// `key` is the mesh's, the same on every node, so that whoever gets the request can proxy it.
[[nodiscard]] std::string make_upload_id(const UploadId& id,
                                         ByteView key,
                                         std::string_view repository,
                                         std::string_view principal = {});
/// BLOB_UPLOAD_UNKNOWN (404) for everything that is not an id made for this repository.
[[nodiscard]] ApiResult<UploadId> verify_upload_id(std::string_view text,
                                                   ByteView key,
                                                   std::string_view repository,
                                                   std::string_view principal = {});

/// Protocol limits (protocols.md 5 and 11).
struct UploadLimits {
    std::size_t sessions = 10'000;
    Duration idle = std::chrono::hours(1);
    std::uint64_t blob_bytes = 1ULL << 40U;
};

enum class UploadState { open, writing, committing };

/// What a request on a session may do: take bytes from `offset` on.
struct UploadWrite {
    std::uint64_t offset = 0;
    std::uint64_t most = 0;  // bytes; on_bytes() refuses more
};
/// Why it may not. `offset` is set with 416, for the Range field of the answer.
struct UploadRefused {
    ApiError error;
    std::optional<std::uint64_t> offset;
};
template <class T>
using UploadResult = tl::expected<T, UploadRefused>;

/// The sessions this node owns. One thread (the loop).
class Uploads {
  public:
    explicit Uploads(UploadLimits limits = {}) : limits_(limits) {}

    /// POST. 429 TOOMANYREQUESTS over the limit. `offset` > 0 restores a session after a restart.
    [[nodiscard]] ApiResult<void> open(Instant now,
                                       const UploadId& id,
                                       std::string_view repository,
                                       std::uint64_t offset = 0);
    /// PATCH or the body of the closing PUT: one writer at a time. A Content-Range must start where
    /// the session ends and agree with `length` (416, 400); without one the bytes are appended.
    [[nodiscard]] UploadResult<UploadWrite> begin_write(Instant now,
                                                        const UploadId& id,
                                                        std::string_view repository,
                                                        const std::optional<http::ByteRange>& range,
                                                        std::optional<std::uint64_t> length);
    /// Bytes of the current writer that are in the partial file. SIZE_INVALID (413) past the blob
    /// limit.
    [[nodiscard]] ApiResult<void> on_bytes(Instant now, const UploadId& id, std::uint64_t count);
    /// The writer is through or its connection broke; what arrived stays.
    void end_write(Instant now, const UploadId& id);
    /// The closing PUT has all bytes. From `writing` (its own body) or `open`.
    [[nodiscard]] UploadResult<std::uint64_t> begin_commit(Instant now,
                                                           const UploadId& id,
                                                           std::string_view repository);
    /// The commit failed and the client may try again; a session whose bytes have the wrong digest
    /// is removed with `remove` instead.
    void commit_failed(Instant now, const UploadId& id);
    /// Committed, cancelled, or found to be worthless.
    void remove(const UploadId& id);

    struct View {
        UploadState state = UploadState::open;
        std::uint64_t offset = 0;
    };
    /// GET and DELETE of the upload; 404 for another repository's.
    [[nodiscard]] ApiResult<View> find(const UploadId& id, std::string_view repository) const;

    [[nodiscard]] std::size_t size() const { return sessions_.size(); }
    /// Sessions idle for the limit; they are gone here, their partial files are the caller's to
    /// drop.
    [[nodiscard]] std::vector<UploadId> expire(Instant now);
    [[nodiscard]] Instant next_deadline() const;

  private:
    struct Session {
        std::string repository;
        UploadState state = UploadState::open;
        std::uint64_t offset = 0;
        std::optional<std::uint64_t> writer_left;  // of the announced length
        Instant idle_since;
    };
    void touch(Instant now, const UploadId& id, Session& session);
    [[nodiscard]] UploadResult<Session*> idle_session(const UploadId& id,
                                                      std::string_view repository);

    UploadLimits limits_;
    std::map<UploadId, Session> sessions_;
    std::set<std::pair<Instant, UploadId>> by_age_;  // all but the committing ones
};

}  // namespace fastreg::registry
