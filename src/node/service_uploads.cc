// Uploads: sessions, their bodies, and the steps from the last byte to the 201.
#include <algorithm>

#include "base/log.h"
#include "node/service.h"
#include "node/service_reply.h"

namespace fastreg::node {

namespace r = registry;

namespace {

/// The disk or a limit refused the bytes: nothing more will go into this file.
bool is_over(const Error& e) {
    return e.code == Errc::no_space || e.code == Errc::io || e.code == Errc::too_large;
}
r::Answer body_refused(const Error& why) {
    keep_for_operator(why);
    return r::error_answer(r::from_body_error(why, r::ErrorCode::blob_upload_invalid));
}
r::Answer write_refused(const r::Name& name, const std::string& id, const r::UploadRefused& why) {
    if (why.offset) return r::upload_out_of_order(name, id, *why.offset);
    return r::error_answer(why.error);
}

}  // namespace

void Service::start_upload(r::StartUpload ask, const Asker& asker, OnAnswer answer) {
    // Mounting needs the source named: possession of a digest is not a grant.
    if (!ask.mount || ask.from.empty() || !r::is_repository(ask.from)) {
        return open_upload(ask, asker, std::move(answer));
    }
    const std::string from = ask.from;
    const std::string key = repo::blob_key(*ask.mount);
    core_.read_rows(from, repo::Query::one(key),
                    [this, ask = std::move(ask), asker, key, answer = std::move(answer)](
                        Result<std::vector<repo::Row>> rows, bool) {
                        if (!rows || rows->empty()) return open_upload(ask, asker, answer);
                        core_.write_rows(ask.name.repository, {{key, rows->front().value}},
                                         [this, ask, asker, answer](Status written) {
                                             if (!written) {
                                                 return say(answer, refusal(written.error(),
                                                                            r::ErrorCode::blob_unknown));
                                             }
                                             log::info("blob.mounted",
                                                       {{"repository", ask.name.repository},
                                                        {"digest", ask.mount->brief()},
                                                        {"from", ask.from},
                                                        {"client", asker.client},
                                                        {"ms", millis_of(core_.now() - asker.since)}});
                                             say(answer, r::blob_created(ask.name, *ask.mount));
                                         });
                    });
}

void Service::open_upload(const r::StartUpload& ask, const Asker& asker, OnAnswer answer) {
    r::UploadId id;
    secret_random(id.random);
    id.owner = core_.store().identity().node;
    const auto opened = uploads_.open(core_.now(), id, ask.name.repository);
    if (!opened) return say(answer, r::error_answer(opened.error()));
    const HashAlg alg = ask.digest ? ask.digest->alg : ask.algorithm;
    core_.store().begin_upload(
        [this, ask, asker, id, answer = std::move(answer)](Result<std::shared_ptr<store::UploadFile>> file) {
            if (!file) {
                uploads_.remove(id);
                return say(answer, refusal(file.error(), r::ErrorCode::blob_upload_unknown));
            }
            upload_files_[id] = {*file, asker.since};
            if (!ask.digest) {
                const auto text = r::make_upload_id(id, options_.upload_key, ask.name.repository);
                return say(answer, r::upload_started(ask.name, text));
            }
            r::PutUpload put;
            put.name = ask.name;
            put.id = r::make_upload_id(id, options_.upload_key, ask.name.repository);
            put.digest = *ask.digest;
            put.content_length = ask.content_length;
            put_upload(std::move(put), false, asker, answer);
        },
        alg);
}

std::optional<r::UploadId> Service::own_upload(const Name& name, const std::string& text,
                                               const OnAnswer& answer) {
    const auto id = r::verify_upload_id(text, options_.upload_key, name.repository);
    if (!id) {
        say(answer, r::error_answer(id.error()));
        return std::nullopt;
    }
    if (id->owner == core_.store().identity().node) return *id;
    const Member* owner = core_.gossip().find(id->owner);
    if (owner == nullptr || !owner->reachable() || owner->http.empty()) {
        say(answer, r::error_answer(r::make_error(r::ErrorCode::blob_upload_unknown,
                                                  "the node that holds this upload is gone; start again")));
    } else {
        answer(ServiceAnswer{ProxyTo{owner->id, owner->http}});
    }
    return std::nullopt;
}

void Service::patch_upload(r::PatchUpload ask, OnAnswer answer) {
    const auto id = own_upload(ask.name, ask.id, answer);
    if (!id) return;
    const auto write = uploads_.begin_write(core_.now(), *id, ask.name.repository, ask.content_range,
                                            ask.content_length);
    if (!write) return say(answer, write_refused(ask.name, ask.id, write.error()));
    UploadBody body{
        upload_files_[*id].file, write->most,
        [this, id = *id, ask](std::uint64_t bytes, Status read, OnAnswer then) {
            writing_.erase(id);
            const auto counted = uploads_.on_bytes(core_.now(), id, bytes);
            uploads_.end_write(core_.now(), id);
            if (!read) {
                if (is_over(read.error())) drop_upload(id);
                return say(then, body_refused(read.error()));
            }
            if (!counted) {
                drop_upload(id);
                return say(then, r::error_answer(counted.error()));
            }
            const auto view = uploads_.find(id, ask.name.repository);
            if (!view) return say(then, r::error_answer(view.error()));
            say(then, r::upload_progress(ask.name, ask.id, view->offset));
        }};
    take_body(*id, ask.content_length, std::move(body), std::move(answer));
}

void Service::put_upload(r::PutUpload ask, bool resumable, const Asker& asker, OnAnswer answer) {
    const auto id = own_upload(ask.name, ask.id, answer);
    if (!id) return;
    if (ask.content_length == 0U) {
        // Not while another request writes: it would be cut off, and the upload lost.
        const auto empty = uploads_.begin_write(core_.now(), *id, ask.name.repository, std::nullopt, 0);
        if (!empty) return say(answer, write_refused(ask.name, ask.id, empty.error()));
        return commit_upload(ask.name, *id, ask.digest, asker, std::move(answer));
    }
    const auto write = uploads_.begin_write(core_.now(), *id, ask.name.repository, ask.content_range,
                                            ask.content_length);
    if (!write) return say(answer, write_refused(ask.name, ask.id, write.error()));
    UploadBody body{
        upload_files_[*id].file, write->most,
        [this, id = *id, ask, asker, resumable](std::uint64_t bytes, Status read, OnAnswer then) {
            writing_.erase(id);
            const auto counted = uploads_.on_bytes(core_.now(), id, bytes);
            if (!read || !counted) {
                uploads_.end_write(core_.now(), id);
                if (!counted || !resumable || is_over(read.error())) drop_upload(id);
                if (!read) return say(then, body_refused(read.error()));
                return say(then, r::error_answer(counted.error()));
            }
            commit_upload(ask.name, id, ask.digest, asker, std::move(then));
            uploads_.end_write(core_.now(), id);  // of a commit that was refused
        }};
    take_body(*id, ask.content_length, std::move(body), std::move(answer));
}

void Service::take_body(const r::UploadId& id, std::optional<std::uint64_t> length, UploadBody body,
                        OnAnswer answer) {
    writing_.insert(id);
    if (!length) return answer(ServiceAnswer{std::move(body)});
    core_.store().ask_room(*length, [this, id, body = std::move(body),
                                     answer = std::move(answer)](const Status& room) {
        if (room) return answer(ServiceAnswer{body});
        writing_.erase(id);
        drop_upload(id);
        say(answer, body_refused(room.error()));
    });
}

void Service::commit_upload(const Name& name, const r::UploadId& id, const Digest& digest,
                            const Asker& asker, OnAnswer answer) {
    const auto begun = uploads_.begin_commit(core_.now(), id, name.repository);
    if (!begun) {
        return say(answer, write_refused(name, r::make_upload_id(id, options_.upload_key, name.repository),
                                   begun.error()));
    }
    core_.store().commit_upload(
        upload_files_[id].file, digest, true, store::Durability::durable,
        [this, name, id, digest, asker, answer = std::move(answer)](Result<store::BlobInfo> info) {
            if (!info) {
                const bool wrong = info.error().code == Errc::corrupt;
                drop_upload(id);
                if (wrong) {
                    return say(answer, r::error_answer(r::make_error(r::ErrorCode::digest_invalid,
                                                                     info.error().what)));
                }
                return say(answer, refusal(info.error(), r::ErrorCode::blob_upload_invalid));
            }
            uploads_.remove(id);
            Asker pusher = asker;  // since the session began
            if (const auto upload = upload_files_.extract(id)) pusher.since = upload.mapped().since;
            finish_push(name, digest, info->size, pusher, answer);
        });
}

void Service::finish_push(const Name& name, const Digest& digest, std::uint64_t size, const Asker& asker,
                          OnAnswer answer) {
    core_.on_pushed(digest, size);
    const repo::BlobLinkValue link{size, repo::BlobLinkValue::Origin::pushed, {}};
    core_.write_rows(name.repository, {{repo::blob_key(digest), link.encode()}},
                     [this, name, digest, size, asker, answer = std::move(answer)](Status written) {
                         if (!written) return say(answer, refusal(written.error(), r::ErrorCode::blob_unknown));
                         log::info("blob.pushed", {{"repository", name.repository},
                                                   {"digest", digest.brief()},
                                                   {"bytes", size},
                                                   {"client", asker.client},
                                                   {"ms", millis_of(core_.now() - asker.since)}});
                         say(answer, r::blob_created(name, digest));
                     });
}

void Service::upload_status(const r::UploadStatus& ask, OnAnswer answer) {
    const auto id = own_upload(ask.name, ask.id, answer);
    if (!id) return;
    const auto view = uploads_.find(*id, ask.name.repository);
    if (!view) return say(answer, r::error_answer(view.error()));
    say(answer, r::upload_status(ask.name, ask.id, view->offset));
}

void Service::cancel_upload(const r::CancelUpload& ask, OnAnswer answer) {
    const auto id = own_upload(ask.name, ask.id, answer);
    if (!id) return;
    const auto view = uploads_.find(*id, ask.name.repository);
    if (!view) return say(answer, r::error_answer(view.error()));
    if (view->state != r::UploadState::open) {
        return say(answer, r::error_answer(r::make_error(r::ErrorCode::blob_upload_invalid,
                                                         "the upload is being written; try again")));
    }
    drop_upload(*id);
    say(answer, r::upload_cancelled());
}

void Service::drop_upload(const r::UploadId& id) {
    uploads_.remove(id);
    const auto at = upload_files_.find(id);
    if (at == upload_files_.end()) return;
    core_.store().abort_upload(at->second.file, [](Status status) {
        if (!status) log::warn("upload.not_removed", {{"why", describe(status.error())}});
    });
    upload_files_.erase(at);
}

void Service::on_deadline() {
    // A body in hand ends by the deadlines of its connection, not by those of an idle session.
    for (const auto& id : writing_) (void)uploads_.on_bytes(core_.now(), id, 0);
    for (const auto& id : uploads_.expire(core_.now())) drop_upload(id);
}

}  // namespace fastreg::node
