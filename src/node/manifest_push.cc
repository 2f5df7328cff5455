#include "node/manifest_push.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/log.h"
#include "node/service_reply.h"

namespace fastreg::node {

namespace r = registry;

namespace {

/// What a manifest names must be in the repository, and as large as the manifest says.
std::optional<r::Answer> check_descriptor(const r::Descriptor& descriptor, const std::vector<repo::Row>& rows,
                                          const std::string& repository) {
    if (rows.empty()) {
        return refusal(r::ErrorCode::manifest_blob_unknown,
                       "push " + descriptor.digest.str() + " to " + repository + " first");
    }
    std::optional<std::uint64_t> size;
    if (repo::manifest_of(rows.front().key)) {
        if (const auto value = repo::ManifestValue::decode(rows.front().value)) size = value->size;
    } else if (const auto link = repo::BlobLinkValue::decode(rows.front().value)) {
        size = link->size;
    }
    if (size == descriptor.size) return std::nullopt;
    return refusal(r::ErrorCode::size_invalid, descriptor.digest.str() + " does not have the " +
                                                   std::to_string(descriptor.size) +
                                                   " bytes that the manifest says");
}

}  // namespace

void ManifestPush::start(Core& core, Duration copy_patience, r::PutManifest ask, Asker asker, Bytes body,
                         OnAnswer answer) {
    auto parsed = r::parse_manifest(body, ask.content_type);
    if (!parsed) return say(answer, r::error_answer(parsed.error()));
    const auto& wanted = ask.digest;
    const Digest digest = digest_of(wanted ? wanted->alg : HashAlg::sha256, body);
    if (wanted && *wanted != digest) {
        return say(answer, refusal(r::ErrorCode::digest_invalid,
                                   "the manifest has the digest " + digest.str() + ", not " + wanted->str()));
    }
    const std::shared_ptr<ManifestPush> push(
        new ManifestPush(core, copy_patience, std::move(ask), std::move(asker), std::move(answer)));
    push->manifest_ = std::move(*parsed);
    push->digest_ = digest;
    push->size_ = body.size();
    push->body_ = std::move(body);
    push->check_parts();
}

void ManifestPush::check_parts() {
    std::map<std::string, r::Descriptor> parts;
    for (const auto& blob : manifest_.blobs) parts.emplace(repo::blob_key(blob.digest), blob);
    for (const auto& child : manifest_.manifests) parts.emplace(repo::manifest_key(child.digest), child);
    if (parts.empty()) return keep();
    open_ = parts.size();
    for (const auto& [key, part] : parts) {
        core_.read_rows(ask_.name.repository, repo::Query::one(key),
                        [self = shared_from_this(), part = part](Result<std::vector<repo::Row>> rows, bool) {
                            if (!rows) {
                                self->on_part_checked(refusal(rows.error(), r::ErrorCode::manifest_blob_unknown));
                            } else {
                                self->on_part_checked(check_descriptor(part, *rows, self->ask_.name.repository));
                            }
                        });
    }
}

void ManifestPush::on_part_checked(std::optional<r::Answer> refused) {
    if (refused && !refused_) refused_ = std::move(refused);
    if (--open_ != 0) return;
    if (refused_) return say(answer_, std::move(*refused_));
    keep();
}

void ManifestPush::keep() {
    core_.store().put_small(digest_, std::move(body_), true, store::Durability::durable,
                            [self = shared_from_this()](Status kept) {
                                if (!kept) {
                                    return say(self->answer_,
                                               refusal(kept.error(), r::ErrorCode::manifest_invalid));
                                }
                                self->core_.on_pushed(self->digest_, self->size_);
                                self->copy();
                            });
}

void ManifestPush::copy() {
    std::map<Digest, std::uint64_t> blobs{{digest_, size_}};
    for (const auto& blob : manifest_.blobs) blobs.emplace(blob.digest, blob.size);
    const Instant deadline = core_.now() + copy_patience_;
    open_ = blobs.size();
    for (const auto& [digest, size] : blobs) {
        core_.homes().ensure(digest, size, deadline,
                             [self = shared_from_this()](const Copies& copies) { self->on_copied(copies); });
    }
}

void ManifestPush::on_copied(const Copies& copies) {
    copies_min_ = std::min(copies_min_, copies.kept);
    if (!copies.enough()) {
        for (const auto& name : copies.missing) {
            if (std::find(missing_.begin(), missing_.end(), name) == missing_.end()) missing_.push_back(name);
        }
        if (copies.missing.empty()) missing_.emplace_back("another member");
    }
    if (--open_ != 0) return;
    if (missing_.empty()) return write_rows();
    std::string names;
    for (const auto& name : missing_) names += (names.empty() ? "" : ", ") + name;
    auto late = r::make_error(r::ErrorCode::unavailable, "not enough copies of the image yet; waiting for " +
                                                             names + "; nothing was undone, push again");
    late.retry_after_s = 5;
    say(answer_, r::error_answer(late));
}

void ManifestPush::write_rows() {
    repo::ManifestValue value;
    value.media_type = manifest_.media_type;
    value.size = size_;
    if (manifest_.subject) value.subject = manifest_.subject->digest;
    value.artifact_type = manifest_.artifact_type;
    value.annotations = r::annotations_json(manifest_.annotations);
    // Before the tags: who reads a tag finds its manifest on every quorum.
    write({{repo::manifest_key(digest_), value.encode()}}, [self = shared_from_this()] { self->write_tags(); });
}

void ManifestPush::write_tags() {
    std::set<std::string> tags(ask_.tags.begin(), ask_.tags.end());
    if (const auto* tag = std::get_if<std::string>(&ask_.reference)) tags.insert(*tag);
    if (tags.empty()) return tell_created();
    std::vector<repo::Change> changes;
    for (const auto& tag : tags) changes.push_back({repo::tag_key(tag), repo::TagValue{digest_}.encode()});
    write(std::move(changes), [self = shared_from_this()] { self->tell_created(); });
}

void ManifestPush::write(std::vector<repo::Change> changes, std::function<void()> then) {
    core_.write_rows(ask_.name.repository, std::move(changes),
                     [self = shared_from_this(), then = std::move(then)](Status written) {
                         if (!written) {
                             return say(self->answer_, refusal(written.error(), r::ErrorCode::manifest_unknown));
                         }
                         then();
                     });
}

void ManifestPush::tell_created() {
    std::string warning;
    if (copies_min_ < core_.options().replicas) {
        warning = std::to_string(copies_min_) + " of " + std::to_string(core_.options().replicas) + " copies";
    }
    log::info("manifest.pushed", {{"repository", ask_.name.repository},
                                  {"reference", r::str(ask_.reference)},
                                  {"digest", digest_.brief()},
                                  {"bytes", size_},
                                  {"copies", copies_min_},
                                  {"client", asker_.client},
                                  {"ms", millis_of(core_.now() - asker_.since)}});
    std::optional<Digest> subject;
    if (manifest_.subject) subject = manifest_.subject->digest;
    say(answer_, r::manifest_created(ask_.name, digest_, subject, ask_.tags, warning));
}

}  // namespace fastreg::node
