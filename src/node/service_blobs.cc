// Blobs out: from the file when it is here, as a stream while it arrives; and their deletion.
#include "node/service.h"
#include "node/service_reply.h"

namespace fastreg::node {

namespace r = registry;

void Service::get_blob(r::GetBlob ask, OnAnswer answer) {
    const std::string repository = ask.name.repository;
    const std::string key = repo::blob_key(ask.digest);
    core_.read_rows(
        repository, repo::Query::one(key),
        [this, ask = std::move(ask), answer = std::move(answer)](Result<std::vector<repo::Row>> rows, bool) {
            if (!rows) return say(answer, refusal(rows.error(), r::ErrorCode::blob_unknown));
            if (rows->empty()) {
                return say(answer, refusal(r::ErrorCode::blob_unknown,
                                           "no blob " + ask.digest.str() + " in " + ask.name.repository));
            }
            const auto link = repo::BlobLinkValue::decode(rows->front().value);
            if (!link) return say(answer, refusal(link.error(), r::ErrorCode::blob_unknown));
            auto plan = r::blob_plan(ask.digest, link->size, ask.range, ask.if_none_match);
            if (!plan.has_bytes() || ask.head) {
                return say(answer, r::Answer{std::move(plan.head), std::move(plan.body)});
            }
            send_blob(std::move(plan), ask.digest, link->size, answer);
        });
}

void Service::send_blob(r::BlobPlan plan, const Digest& digest, std::uint64_t size, OnAnswer answer) {
    if (!core_.store().find(digest) && plan.contiguous()) {
        return answer(ServiceAnswer{BlobAnswer{std::move(plan), digest, size, nullptr}});
    }
    core_.downloads().acquire(digest, size, false, std::nullopt, [this, plan = std::move(plan), digest, size,
                                                                  answer = std::move(answer)](Status here) {
        if (!here) return say(answer, cannot_send(here.error()));
        core_.downloads().open(digest, [this, plan, digest, size,
                                        answer](Result<std::shared_ptr<store::File>> file) {
            if (file) return answer(ServiceAnswer{BlobAnswer{plan, digest, size, std::move(*file)}});
            if (file.error().code != Errc::not_found) return say(answer, cannot_send(file.error()));
            send_blob(plan, digest, size, answer);  // withdrawn: from a peer, then
        });
    });
}

void Service::delete_blob(const r::DeleteBlob& ask, const Asker& asker, OnAnswer answer) {
    const std::string repository = ask.name.repository;
    const std::string key = repo::blob_key(ask.digest);
    core_.read_rows(
        repository, repo::Query::one(key),
        [this, repository, key, digest = ask.digest, asker, answer](Result<std::vector<repo::Row>> rows, bool) {
            if (!rows) return say(answer, refusal(rows.error(), r::ErrorCode::blob_unknown));
            if (rows->empty()) {
                return say(answer, refusal(r::ErrorCode::blob_unknown, "there is no such blob to delete"));
            }
            const auto deleted = [this, repository, digest, asker, answer](Status written) {
                if (!written) return say(answer, refusal(written.error(), r::ErrorCode::blob_unknown));
                log_deleted("blob.deleted", repository, digest.brief(), asker);
                say(answer, r::deleted());
            };
            core_.write_rows(repository, {{key, std::nullopt}}, deleted);
        });
}

}  // namespace fastreg::node
