// Manifests out: from a tag to a digest to the bytes, which are kept in memory while they are asked for;
// and their deletion. Pushing one is manifest_push.cc.
#include "node/service.h"
#include "node/service_reply.h"

namespace fastreg::node {

namespace r = registry;

void Service::get_manifest(r::GetManifest ask, OnAnswer answer) {
    if (const Digest* digest = r::digest_of(ask.reference)) {
        return send_manifest(ask.name, *digest, ask.head, ask.if_none_match, std::move(answer));
    }
    const std::string tag = std::get<std::string>(ask.reference);
    const std::string repository = ask.name.repository;
    core_.read_rows(
        repository, repo::Query::tag(repo::tag_key(tag)),
        [this, ask = std::move(ask), tag, answer = std::move(answer)](
            Result<std::vector<repo::Row>> rows, bool) {
            if (!rows) return say(answer, refusal(rows.error(), r::ErrorCode::manifest_unknown));
            if (rows->empty()) {
                return say(answer, refusal(r::ErrorCode::manifest_unknown,
                                           "no tag " + tag + " in " + ask.name.repository));
            }
            const auto value = repo::TagValue::decode(rows->back().value);
            if (!value) return say(answer, refusal(value.error(), r::ErrorCode::manifest_unknown));
            if (rows->size() == 2) {
                return send_manifest_of(rows->front(), value->manifest, ask.head, ask.if_none_match, answer);
            }
            send_manifest(ask.name, value->manifest, ask.head, ask.if_none_match, answer);
        });
}

// Whether a manifest is in a repository is its row there, wherever its bytes are.
void Service::send_manifest(const Name& name, const Digest& digest, bool head,
                            const std::string& if_none_match, OnAnswer answer) {
    core_.read_rows(
        name.repository, repo::Query::one(repo::manifest_key(digest)),
        [this, name, digest, head, if_none_match, answer = std::move(answer)](
            Result<std::vector<repo::Row>> rows, bool) {
            if (!rows) return say(answer, refusal(rows.error(), r::ErrorCode::manifest_unknown));
            if (rows->empty()) {
                return say(answer, refusal(r::ErrorCode::manifest_unknown,
                                           "no manifest " + digest.str() + " in " + name.repository));
            }
            send_manifest_of(rows->front(), digest, head, if_none_match, answer);
        });
}

void Service::send_manifest_of(const repo::Row& row, const Digest& digest, bool head,
                               const std::string& if_none_match, const OnAnswer& answer) {
    const auto value = repo::ManifestValue::decode(row.value);
    if (!value) return say(answer, refusal(value.error(), r::ErrorCode::manifest_unknown));
    if (r::matches_etag(if_none_match, digest)) return say(answer, r::not_modified(digest));
    if (head) return say(answer, r::manifest_head(digest, value->media_type, value->size));
    manifest_bytes(digest, value->size, true,
                   [digest, type = value->media_type, answer](Result<std::shared_ptr<const std::string>> bytes) {
                       if (!bytes) return say(answer, cannot_send(bytes.error()));
                       say(answer, r::manifest_answer(digest, type, **bytes));
                   });
}

void Service::manifest_bytes(const Digest& digest, std::uint64_t size, bool heal,
                             std::function<void(Result<std::shared_ptr<const std::string>>)> done) {
    if (const auto* bytes = manifests_.find(digest)) return done(*bytes);
    core_.downloads().acquire(digest, size, false, std::nullopt, [this, digest, size, heal,
                                                                  done = std::move(done)](Status here) {
        if (!here) return done(tl::unexpected<Error>(here.error()));
        core_.store().read_small(digest, store::Store::kSmallMax, [this, digest, size, heal,
                                                                   done](Result<Bytes> read) {
            if (read) {
                auto bytes = std::make_shared<const std::string>(as_text(*read));
                manifests_.put(digest, bytes, bytes->size());
                return done(std::move(bytes));
            }
            if (heal && !core_.store().find(digest)) return manifest_bytes(digest, size, false, done);
            done(tl::unexpected<Error>(read.error()));
        });
    });
}

void Service::delete_manifest(const r::DeleteManifest& ask, const Asker& asker, OnAnswer answer) {
    const std::string repository = ask.name.repository;
    const Digest* digest = r::digest_of(ask.reference);
    const std::string key = digest != nullptr ? repo::manifest_key(*digest)
                                              : repo::tag_key(std::get<std::string>(ask.reference));
    const std::string what = digest != nullptr ? digest->brief() : std::get<std::string>(ask.reference);
    const std::string_view event = digest != nullptr ? "manifest.deleted" : "tag.deleted";
    const auto deleted = [this, repository, event, what, asker, answer](Status written) {
        if (!written) return say(answer, refusal(written.error(), r::ErrorCode::manifest_unknown));
        log_deleted(event, repository, what, asker);
        say(answer, r::deleted());
    };
    const auto remove_row = [this, repository, key, deleted] {
        core_.write_rows(repository, {{key, std::nullopt}}, deleted);
    };
    core_.read_rows(
        repository, repo::Query::one(key),
        [this, repository, remove_row, answer, digest = digest != nullptr ? std::optional(*digest) : std::nullopt](
            Result<std::vector<repo::Row>> rows, bool) {
            if (!rows) return say(answer, refusal(rows.error(), r::ErrorCode::manifest_unknown));
            if (rows->empty()) {
                return say(answer, refusal(r::ErrorCode::manifest_unknown, "there is nothing of that name to delete"));
            }
            if (!digest) return remove_row();
            // Its tags first: who reads one never finds that its manifest is gone.
            delete_tags_of(repository, *digest, {}, [remove_row, answer](const Status& untagged) {
                if (!untagged) return say(answer, refusal(untagged.error(), r::ErrorCode::manifest_unknown));
                remove_row();
            });
        });
}

void Service::delete_tags_of(const std::string& repository, const Digest& digest, std::string after,
                             std::function<void(Status)> done) {
    core_.read_rows(
        repository, repo::Query::prefix(std::string(repo::kTagPrefix), std::move(after), kRowsPage),
        [this, repository, digest, done = std::move(done)](Result<std::vector<repo::Row>> page, bool more) {
            if (!page) return done(tl::unexpected<Error>(page.error()));
            std::vector<repo::Change> changes;
            for (const auto& tag : *page) {
                const auto value = repo::TagValue::decode(tag.value);
                if (value && value->manifest == digest) changes.push_back({tag.key, std::nullopt});
            }
            const std::string last = page->empty() ? std::string() : page->back().key;
            const auto go_on = [this, repository, digest, last, more, done](Status written) {
                if (!written || !more || last.empty()) return done(std::move(written));
                delete_tags_of(repository, digest, last, done);
            };
            if (changes.empty()) return go_on({});
            core_.write_rows(repository, std::move(changes), go_on);
        });
}

}  // namespace fastreg::node
