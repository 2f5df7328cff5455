#include "registry/uploads.h"

#include <algorithm>

namespace fastreg::registry {

namespace {

constexpr std::size_t kMacBytes = 16;

Mac mac_of(const UploadId& id,
           ByteView key,
           std::string_view repository,
           std::string_view principal) {
    Bytes text;
    const auto append = [&](ByteView part) { text.insert(text.end(), part.begin(), part.end()); };
    append(as_bytes("upload"));
    append(id.random);
    append(id.owner.bytes);
    append(as_bytes(repository));
    text.push_back(std::byte{0});
    append(as_bytes(principal));
    return hmac_sha256(key, text);
}

ApiError unknown_upload() {
    return make_error(ErrorCode::blob_upload_unknown,
                      "no such upload in this repository: it ended, expired, or never was; start "
                      "again with POST");
}

template <class T>
UploadResult<T> refused(ApiError error, std::optional<std::uint64_t> offset = {}) {
    return tl::unexpected(UploadRefused{std::move(error), offset});
}

template <class T>
UploadResult<T> out_of_order(std::uint64_t offset) {
    return refused<T>(make_error(ErrorCode::range_invalid,
                                 "the chunk does not start where the upload ends, at byte " +
                                     std::to_string(offset)),
                      offset);
}

ApiError busy_upload() {
    ApiError error = make_error(ErrorCode::blob_upload_invalid,
                                "another request is working on this upload; wait for its answer");
    error.status = 409;
    return error;
}

ApiError too_large(std::uint64_t limit) {
    ApiError error =
        make_error(ErrorCode::size_invalid, "the blob is over the limit of " + human_bytes(limit));
    error.status = 413;
    return error;
}

}  // namespace

std::string make_upload_id(const UploadId& id,
                           ByteView key,
                           std::string_view repository,
                           std::string_view principal) {
    const Mac mac = mac_of(id, key, repository, principal);
    return to_hex(id.random) + id.owner.str() + to_hex(ByteView(mac).first(kMacBytes));
}

ApiResult<UploadId> verify_upload_id(std::string_view text,
                                     ByteView key,
                                     std::string_view repository,
                                     std::string_view principal) {
    UploadId id;
    std::array<std::byte, kMacBytes> claimed{};
    if (text.size() != kUploadIdLength || !from_hex(text.substr(0, 32), id.random) ||
        !from_hex(text.substr(32, 32), id.owner.bytes) || !from_hex(text.substr(64), claimed)) {
        return tl::unexpected(unknown_upload());
    }
    const Mac mac = mac_of(id, key, repository, principal);
    if (!equal_constant_time(ByteView(mac).first(kMacBytes), claimed)) {
        return tl::unexpected(unknown_upload());
    }
    return id;
}

void Uploads::touch(Instant now, const UploadId& id, Session& session) {
    by_age_.erase({session.idle_since, id});
    session.idle_since = now;
    if (session.state != UploadState::committing) by_age_.insert({now, id});
}

ApiResult<void> Uploads::open(Instant now,
                              const UploadId& id,
                              std::string_view repository,
                              std::uint64_t offset) {
    if (sessions_.size() >= limits_.sessions) {
        ApiError error = make_error(ErrorCode::too_many_requests,
                                    "this node has " + std::to_string(limits_.sessions) +
                                        " uploads open already; finish some, or wait for the idle "
                                        "ones to expire");
        error.retry_after_s = 60;
        return tl::unexpected(std::move(error));
    }
    if (offset > limits_.blob_bytes) return tl::unexpected(too_large(limits_.blob_bytes));
    const auto [it, added] = sessions_.try_emplace(id);
    if (!added) return tl::unexpected(make_error(ErrorCode::unknown, "the upload id is in use"));
    it->second.repository = repository;
    it->second.offset = offset;
    touch(now, id, it->second);
    return {};
}

UploadResult<Uploads::Session*> Uploads::idle_session(const UploadId& id,
                                                      std::string_view repository) {
    const auto it = sessions_.find(id);
    if (it == sessions_.end() || it->second.repository != repository) {
        return refused<Session*>(unknown_upload());
    }
    if (it->second.state != UploadState::open) return refused<Session*>(busy_upload());
    return &it->second;
}

UploadResult<UploadWrite> Uploads::begin_write(Instant now,
                                               const UploadId& id,
                                               std::string_view repository,
                                               const std::optional<http::ByteRange>& range,
                                               std::optional<std::uint64_t> length) {
    auto found = idle_session(id, repository);
    if (!found) return tl::unexpected(std::move(found).error());
    Session& session = **found;
    if (range) {
        if (range->first != session.offset) return out_of_order<UploadWrite>(session.offset);
        if (length && *length != range->size()) {
            return refused<UploadWrite>(
                make_error(ErrorCode::size_invalid, "Content-Range and Content-Length disagree"));
        }
        length = range->size();
    }
    if (length && *length > limits_.blob_bytes - session.offset) {
        return refused<UploadWrite>(too_large(limits_.blob_bytes));
    }
    session.state = UploadState::writing;
    session.writer_left = length;
    touch(now, id, session);
    return UploadWrite{session.offset, length.value_or(limits_.blob_bytes - session.offset)};
}

ApiResult<void> Uploads::on_bytes(Instant now, const UploadId& id, std::uint64_t count) {
    const auto it = sessions_.find(id);
    if (it == sessions_.end() || it->second.state != UploadState::writing) {
        return tl::unexpected(unknown_upload());
    }
    Session& session = it->second;
    if (count > limits_.blob_bytes - session.offset) {
        return tl::unexpected(too_large(limits_.blob_bytes));
    }
    if (session.writer_left) {
        if (count > *session.writer_left) {
            return tl::unexpected(
                make_error(ErrorCode::size_invalid, "the body is longer than its Content-Range"));
        }
        *session.writer_left -= count;
    }
    session.offset += count;
    touch(now, id, session);
    return {};
}

void Uploads::end_write(Instant now, const UploadId& id) {
    const auto it = sessions_.find(id);
    if (it == sessions_.end() || it->second.state != UploadState::writing) return;
    it->second.state = UploadState::open;
    it->second.writer_left.reset();
    touch(now, id, it->second);
}

UploadResult<std::uint64_t> Uploads::begin_commit(Instant now,
                                                  const UploadId& id,
                                                  std::string_view repository) {
    const auto it = sessions_.find(id);
    if (it == sessions_.end() || it->second.repository != repository) {
        return refused<std::uint64_t>(unknown_upload());
    }
    Session& session = it->second;
    if (session.state == UploadState::committing) return refused<std::uint64_t>(busy_upload());
    if (session.state == UploadState::writing && session.writer_left.value_or(0) != 0) {
        return refused<std::uint64_t>(
            make_error(ErrorCode::size_invalid, "the body is shorter than its announced length"));
    }
    session.state = UploadState::committing;
    session.writer_left.reset();
    touch(now, id, session);
    return session.offset;
}

void Uploads::commit_failed(Instant now, const UploadId& id) {
    const auto it = sessions_.find(id);
    if (it == sessions_.end()) return;
    it->second.state = UploadState::open;
    touch(now, id, it->second);
}

void Uploads::remove(const UploadId& id) {
    const auto it = sessions_.find(id);
    if (it == sessions_.end()) return;
    by_age_.erase({it->second.idle_since, id});
    sessions_.erase(it);
}

ApiResult<Uploads::View> Uploads::find(const UploadId& id, std::string_view repository) const {
    const auto it = sessions_.find(id);
    if (it == sessions_.end() || it->second.repository != repository) {
        return tl::unexpected(unknown_upload());
    }
    return View{it->second.state, it->second.offset};
}

std::vector<UploadId> Uploads::expire(Instant now) {
    std::vector<UploadId> gone;
    while (!by_age_.empty() && by_age_.begin()->first + limits_.idle <= now) {
        gone.push_back(by_age_.begin()->second);
        remove(gone.back());
    }
    return gone;
}

Instant Uploads::next_deadline() const {
    return by_age_.empty() ? Instant::never() : by_age_.begin()->first + limits_.idle;
}

}  // namespace fastreg::registry
