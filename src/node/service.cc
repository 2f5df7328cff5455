#include "node/service.h"

#include <algorithm>

#include "base/log.h"

namespace fastreg::node {

namespace r = registry;

namespace {

constexpr std::size_t kManifestCacheBytes = 8U << 20U;
constexpr std::size_t kAllRowsMax = 10'000;
constexpr std::size_t kRowsPage = 1000;

r::Answer error(r::ErrorCode code, std::string message) {
    return r::error_answer(r::make_error(code, std::move(message)));
}
r::Answer error(const Error& e, r::ErrorCode missing) {
    return r::error_answer(r::from_error(e, missing));
}
void say(const OnAnswer& answer, r::Answer what) {
    answer(ServiceAnswer{std::move(what)});
}

/// What a manifest names must be in the repository, and as large as the manifest says.
std::optional<r::Answer> check_descriptor(const r::Descriptor& descriptor, const std::vector<repo::Row>& rows,
                                          const std::string& repository) {
    if (rows.empty()) {
        return error(r::ErrorCode::manifest_blob_unknown,
                     "push " + descriptor.digest.str() + " to " + repository + " first");
    }
    std::optional<std::uint64_t> size;
    if (repo::manifest_of(rows.front().key)) {
        if (const auto value = repo::ManifestValue::decode(rows.front().value)) size = value->size;
    } else if (const auto link = repo::BlobLinkValue::decode(rows.front().value)) {
        size = link->size;
    }
    if (size == descriptor.size) return std::nullopt;
    return error(r::ErrorCode::size_invalid, descriptor.digest.str() + " does not have the " +
                                                 std::to_string(descriptor.size) +
                                                 " bytes that the manifest says");
}

/// Counts parallel steps down; the first error is kept.
struct Join {
    std::size_t left = 0;
    std::optional<r::Answer> refused;
    std::function<void()> done;
    void step() {
        if (--left == 0) done();
    }
};

}  // namespace

Service::Service(Core& core, ServiceOptions options)
    : core_(core), options_(std::move(options)), uploads_(options_.uploads) {}

void Service::set_limits(const ServiceOptions& options) {
    options_ = options;
}

void Service::handle(r::Route route, const Client& client, OnAnswer answer) {
    const bool changes = r::is_write(route) || r::is_delete(route);
    if (changes && !options_.remote_writes && !client.proxied && (!client.loopback || client.forwarded)) {
        return say(answer, error(r::ErrorCode::denied,
                                 "this node takes pushes from its own host only; start it with "
                                 "--remote-writes allow to take them from elsewhere"));
    }
    if (r::is_delete(route) && !options_.deletes) {
        return say(answer, error(r::ErrorCode::unsupported,
                                 "deleting is off; start the node with --deletes allow"));
    }
    if (const Name* name = r::name_of(route); name != nullptr && !(name->registry.empty() && name->ns.empty())) {
        return say(answer, error(r::ErrorCode::name_unknown,
                                 "this node has no upstream for " +
                                     (name->registry.empty() ? name->ns : name->registry)));
    }
    if (changes && !draining_.empty()) {
        auto busy = r::make_error(r::ErrorCode::unavailable, "this node is " + draining_);
        busy.retry_after_s = 5;
        return say(answer, r::error_answer(busy));
    }
    std::visit(
        [&](auto& ask) {
            using T = std::decay_t<decltype(ask)>;
            if constexpr (std::is_same_v<T, r::Ping>) {
                say(answer, r::ping_answer());
            } else if constexpr (std::is_same_v<T, r::Live>) {
                say(answer, r::health_answer(true));
            } else if constexpr (std::is_same_v<T, r::Ready>) {
                say(answer, r::health_answer(draining_.empty(), draining_));
            } else if constexpr (std::is_same_v<T, r::GetManifest>) {
                get_manifest(std::move(ask), std::move(answer));
            } else if constexpr (std::is_same_v<T, r::PutManifest>) {
                answer(ServiceAnswer{WholeBody{
                    options_.manifest_bytes, [this, ask = std::move(ask)](Bytes body, OnAnswer then) {
                        put_manifest(ask, std::move(body), std::move(then));
                    }}});
            } else if constexpr (std::is_same_v<T, r::DeleteManifest>) {
                delete_manifest(ask, std::move(answer));
            } else if constexpr (std::is_same_v<T, r::GetBlob>) {
                get_blob(std::move(ask), std::move(answer));
            } else if constexpr (std::is_same_v<T, r::DeleteBlob>) {
                delete_blob(ask, std::move(answer));
            } else if constexpr (std::is_same_v<T, r::StartUpload>) {
                start_upload(std::move(ask), std::move(answer));
            } else if constexpr (std::is_same_v<T, r::PatchUpload>) {
                patch_upload(std::move(ask), std::move(answer));
            } else if constexpr (std::is_same_v<T, r::PutUpload>) {
                put_upload(std::move(ask), std::move(answer));
            } else if constexpr (std::is_same_v<T, r::UploadStatus>) {
                upload_status(ask, std::move(answer));
            } else if constexpr (std::is_same_v<T, r::CancelUpload>) {
                cancel_upload(ask, std::move(answer));
            } else if constexpr (std::is_same_v<T, r::ListTags>) {
                list_tags(std::move(ask), std::move(answer));
            } else if constexpr (std::is_same_v<T, r::Referrers>) {
                referrers(std::move(ask), std::move(answer));
            } else if constexpr (std::is_same_v<T, r::Catalog>) {
                catalog(ask, std::move(answer));
            } else {
                auto refused = r::error_answer(ask.error);
                if (!ask.allow.empty()) refused.head.headers.set("Allow", ask.allow);
                say(answer, std::move(refused));
            }
        },
        route);
}

void Service::all_rows(const std::string& repository, const std::string& prefix, RowsAnswer done) {
    // One closure that calls itself until the last page.
    auto rows = std::make_shared<std::vector<repo::Row>>();
    auto next = std::make_shared<std::function<void(std::string)>>();
    *next = [this, repository, prefix, rows, done, weak = std::weak_ptr(next)](std::string after) {
        auto self = weak.lock();
        core_.read_rows(repository, repo::Query::prefix(prefix, std::move(after), kRowsPage),
                        [rows, done, self](Result<std::vector<repo::Row>> page, bool more) {
                            if (!page) return done(std::move(page), false);
                            for (auto& row : *page) rows->push_back(std::move(row));
                            if (!more || page->empty() || rows->size() >= kAllRowsMax) {
                                return done(std::move(*rows), more);
                            }
                            (*self)(rows->back().key);
                        });
    };
    (*next)({});
}

// --- manifests ---------------------------------------------------------------------------------

void Service::get_manifest(r::GetManifest ask, OnAnswer answer) {
    if (const Digest* digest = r::digest_of(ask.reference)) {
        return send_manifest(ask.name, *digest, ask.head, ask.if_none_match, std::move(answer));
    }
    const std::string tag = std::get<std::string>(ask.reference);
    const std::string repository = ask.name.repository;
    core_.read_rows(
        repository, repo::Query::one(repo::tag_key(tag)),
        [this, ask = std::move(ask), tag, answer = std::move(answer)](
            Result<std::vector<repo::Row>> rows, bool) {
            if (!rows) return say(answer, error(rows.error(), r::ErrorCode::manifest_unknown));
            if (rows->empty()) {
                return say(answer, error(r::ErrorCode::manifest_unknown,
                                         "no tag " + tag + " in " + ask.name.repository));
            }
            const auto value = repo::TagValue::decode(rows->front().value);
            if (!value) return say(answer, error(value.error(), r::ErrorCode::manifest_unknown));
            send_manifest(ask.name, value->manifest, ask.head, ask.if_none_match, answer);
        });
}

void Service::send_manifest(const Name& name, const Digest& digest, bool head,
                            const std::string& if_none_match, OnAnswer answer) {
    core_.read_rows(
        name.repository, repo::Query::one(repo::manifest_key(digest)),
        [this, name, digest, head, if_none_match, answer = std::move(answer)](
            Result<std::vector<repo::Row>> rows, bool) {
            if (!rows) return say(answer, error(rows.error(), r::ErrorCode::manifest_unknown));
            if (rows->empty()) {
                return say(answer, error(r::ErrorCode::manifest_unknown,
                                         "no manifest " + digest.str() + " in " + name.repository));
            }
            const auto value = repo::ManifestValue::decode(rows->front().value);
            if (!value) return say(answer, error(value.error(), r::ErrorCode::manifest_unknown));
            if (r::matches_etag(if_none_match, digest)) return say(answer, r::not_modified(digest));
            if (head) return say(answer, r::manifest_head(digest, value->media_type, value->size));
            manifest_bytes(digest, value->size,
                           [digest, type = value->media_type,
                            answer](Result<std::shared_ptr<const std::string>> bytes) {
                               if (!bytes) {
                                   return say(answer, error(bytes.error(), r::ErrorCode::manifest_unknown));
                               }
                               say(answer, r::manifest_answer(digest, type, **bytes));
                           });
        });
}

void Service::manifest_bytes(const Digest& digest, std::uint64_t size,
                             std::function<void(Result<std::shared_ptr<const std::string>>)> done) {
    if (const auto at = manifests_.find(digest); at != manifests_.end()) {
        manifest_ages_.splice(manifest_ages_.begin(), manifest_ages_, at->second.age);
        return done(at->second.bytes);
    }
    core_.downloads().acquire(digest, size, false, std::nullopt, [this, digest, done = std::move(done)](Status here) {
        if (!here) return done(fail(Errc::unavailable, describe(here.error())));
        core_.store().read_small(digest, store::Store::kSmallMax, [this, digest, done](Result<Bytes> read) {
            if (!read) return done(tl::unexpected<Error>(read.error()));
            auto bytes = std::make_shared<const std::string>(as_text(*read));
            cache_manifest(digest, bytes);
            done(std::move(bytes));
        });
    });
}

void Service::cache_manifest(const Digest& digest, std::shared_ptr<const std::string> bytes) {
    if (manifests_.contains(digest)) return;
    manifest_bytes_ += bytes->size();
    manifest_ages_.push_front(digest);
    manifests_.emplace(digest, Cached{std::move(bytes), manifest_ages_.begin()});
    while (manifest_bytes_ > kManifestCacheBytes) {
        const auto oldest = manifests_.find(manifest_ages_.back());
        manifest_bytes_ -= oldest->second.bytes->size();
        manifests_.erase(oldest);
        manifest_ages_.pop_back();
    }
}

void Service::put_manifest(r::PutManifest ask, Bytes body, OnAnswer answer) {
    auto parsed = r::parse_manifest(body, ask.content_type);
    if (!parsed) return say(answer, r::error_answer(parsed.error()));
    const Digest* wanted = r::digest_of(ask.reference);
    const Digest digest = digest_of(wanted != nullptr ? wanted->alg : HashAlg::sha256, body);
    if (wanted != nullptr && *wanted != digest) {
        return say(answer, error(r::ErrorCode::digest_invalid,
                                 "the manifest has the digest " + digest.str() + ", not " + wanted->str()));
    }
    struct Push {
        r::PutManifest ask;
        r::Manifest manifest;
        Bytes body;
        Digest digest;
        std::uint64_t size = 0;
        std::size_t copies_min = SIZE_MAX;
        std::vector<std::string> missing;
        OnAnswer answer;
    };
    auto push = std::make_shared<Push>(
        Push{std::move(ask), std::move(*parsed), std::move(body), digest, 0, SIZE_MAX, {}, std::move(answer)});
    push->size = push->body.size();

    const auto write_rows = [this, push] {
        const r::Manifest& m = push->manifest;
        repo::ManifestValue value;
        value.media_type = m.media_type;
        value.size = push->size;
        if (m.subject) value.subject = m.subject->digest;
        value.artifact_type = m.artifact_type;
        value.annotations = r::annotations_json(m.annotations);
        std::vector<repo::Change> changes;
        changes.push_back({repo::manifest_key(push->digest), value.encode()});
        const Bytes target = repo::TagValue{push->digest}.encode();
        if (const auto* tag = std::get_if<std::string>(&push->ask.reference)) {
            changes.push_back({repo::tag_key(*tag), target});
        }
        for (const auto& tag : push->ask.tags) changes.push_back({repo::tag_key(tag), target});
        core_.write_rows(push->ask.name.repository, std::move(changes), [this, push](Status written) {
            if (!written) return say(push->answer, error(written.error(), r::ErrorCode::manifest_unknown));
            std::string warning;
            if (push->copies_min < core_.options().replicas) {
                warning = std::to_string(push->copies_min) + " of " +
                          std::to_string(core_.options().replicas) + " copies";
            }
            log::info("manifest.pushed", {{"repository", push->ask.name.repository},
                                          {"reference", r::str(push->ask.reference)},
                                          {"digest", push->digest.brief()},
                                          {"copies", push->copies_min}});
            std::optional<Digest> subject;
            if (push->manifest.subject) subject = push->manifest.subject->digest;
            say(push->answer, r::manifest_created(push->ask.name, push->digest, subject, push->ask.tags, warning));
        });
    };

    const auto copy = [this, push, write_rows] {
        auto join = std::make_shared<Join>();
        join->done = [push, write_rows, join_weak = std::weak_ptr(join)] {
            if (push->missing.empty()) return write_rows();
            std::string names;
            for (const auto& name : push->missing) names += (names.empty() ? "" : ", ") + name;
            auto late = r::make_error(r::ErrorCode::unavailable,
                                      "not enough copies of the image yet; waiting for " + names +
                                          "; nothing was undone, push again");
            late.retry_after_s = 5;
            say(push->answer, r::error_answer(late));
        };
        std::map<Digest, std::uint64_t> needed{{push->digest, push->size}};
        for (const auto& blob : push->manifest.blobs) needed.emplace(blob.digest, blob.size);
        const Instant deadline = core_.now() + options_.push_timeout;
        join->left = needed.size();
        for (const auto& [blob, size] : needed) {
            core_.homes().ensure(blob, size, deadline, [push, join](const Copies& copies) {
                push->copies_min = std::min(push->copies_min, copies.kept);
                if (!copies.enough()) {
                    for (const auto& name : copies.missing) {
                        if (std::find(push->missing.begin(), push->missing.end(), name) == push->missing.end()) {
                            push->missing.push_back(name);
                        }
                    }
                    if (copies.missing.empty()) push->missing.emplace_back("another member");
                }
                join->step();
            });
        }
    };

    const auto keep = [this, push, copy] {
        core_.store().put_small(push->digest, std::move(push->body), true, store::Durability::durable,
                                [this, push, copy](Status kept) {
                                    if (!kept) {
                                        return say(push->answer,
                                                   error(kept.error(), r::ErrorCode::manifest_invalid));
                                    }
                                    core_.on_pushed(push->digest, push->size);
                                    copy();
                                });
    };

    // Everything the manifest names must be in this repository.
    auto join = std::make_shared<Join>();
    join->done = [push, keep, join_weak = std::weak_ptr(join)] {
        const auto joined = join_weak.lock();
        if (joined && joined->refused) return say(push->answer, std::move(*joined->refused));
        keep();
    };
    std::map<std::string, const r::Descriptor*> needed;
    for (const auto& blob : push->manifest.blobs) needed.emplace(repo::blob_key(blob.digest), &blob);
    for (const auto& child : push->manifest.manifests) needed.emplace(repo::manifest_key(child.digest), &child);
    if (needed.empty()) return keep();
    join->left = needed.size();
    for (const auto& [key, descriptor] : needed) {
        core_.read_rows(push->ask.name.repository, repo::Query::one(key),
                        [join, descriptor = *descriptor, push](Result<std::vector<repo::Row>> rows, bool) {
                            if (!rows) {
                                if (!join->refused) {
                                    join->refused = error(rows.error(), r::ErrorCode::manifest_blob_unknown);
                                }
                            } else if (!join->refused) {
                                join->refused = check_descriptor(descriptor, *rows, push->ask.name.repository);
                            }
                            join->step();
                        });
    }
}

void Service::delete_manifest(const r::DeleteManifest& ask, OnAnswer answer) {
    const std::string repository = ask.name.repository;
    const auto write = [this, repository, answer](std::vector<repo::Change> changes) {
        core_.write_rows(repository, std::move(changes), [answer](Status written) {
            if (!written) return say(answer, error(written.error(), r::ErrorCode::manifest_unknown));
            say(answer, r::deleted());
        });
    };
    const Digest* digest = r::digest_of(ask.reference);
    const std::string key = digest != nullptr ? repo::manifest_key(*digest)
                                              : repo::tag_key(std::get<std::string>(ask.reference));
    core_.read_rows(
        repository, repo::Query::one(key),
        [this, repository, key, write, answer,
         digest = digest != nullptr ? std::optional(*digest) : std::nullopt](
            Result<std::vector<repo::Row>> rows, bool) {
            if (!rows) return say(answer, error(rows.error(), r::ErrorCode::manifest_unknown));
            if (rows->empty()) {
                return say(answer, error(r::ErrorCode::manifest_unknown, "there is nothing of that name to delete"));
            }
            if (!digest) return write({{key, std::nullopt}});
            all_rows(repository, std::string(repo::kTagPrefix),
                     [key, write, answer, digest = *digest](Result<std::vector<repo::Row>> tags, bool) {
                         if (!tags) return say(answer, error(tags.error(), r::ErrorCode::manifest_unknown));
                         std::vector<repo::Change> changes{{key, std::nullopt}};
                         for (const auto& tag : *tags) {
                             const auto value = repo::TagValue::decode(tag.value);
                             if (value && value->manifest == digest) changes.push_back({tag.key, std::nullopt});
                         }
                         write(std::move(changes));
                     });
        });
}

// --- blobs -------------------------------------------------------------------------------------

void Service::get_blob(r::GetBlob ask, OnAnswer answer) {
    const std::string repository = ask.name.repository;
    const std::string key = repo::blob_key(ask.digest);
    core_.read_rows(
        repository, repo::Query::one(key),
        [this, ask = std::move(ask), answer = std::move(answer)](Result<std::vector<repo::Row>> rows, bool) {
            if (!rows) return say(answer, error(rows.error(), r::ErrorCode::blob_unknown));
            if (rows->empty()) {
                return say(answer, error(r::ErrorCode::blob_unknown,
                                         "no blob " + ask.digest.str() + " in " + ask.name.repository));
            }
            const auto link = repo::BlobLinkValue::decode(rows->front().value);
            if (!link) return say(answer, error(link.error(), r::ErrorCode::blob_unknown));
            auto plan = r::blob_plan(ask.digest, link->size, ask.range, ask.if_none_match);
            if (!plan.has_bytes() || ask.head) {
                return say(answer, r::Answer{std::move(plan.head), std::move(plan.body)});
            }
            const auto local = [this, answer](r::BlobPlan sent, const Digest& digest, std::uint64_t size) {
                auto file = core_.store().open_blob(digest);
                if (!file) return say(answer, error(file.error(), r::ErrorCode::blob_unknown));
                core_.store().touch(digest);
                answer(ServiceAnswer{BlobAnswer{std::move(sent), digest, size, std::move(*file)}});
            };
            const auto info = core_.store().find(ask.digest);
            if (info && info->verified) return local(std::move(plan), ask.digest, link->size);
            if (!info && plan.contiguous()) {
                return answer(ServiceAnswer{BlobAnswer{std::move(plan), ask.digest, link->size, nullptr}});
            }
            core_.downloads().acquire(ask.digest, link->size, false, std::nullopt,
                                      [local, plan, answer, digest = ask.digest, size = link->size](Status here) {
                                          if (!here) {
                                              return say(answer, error(here.error(), r::ErrorCode::blob_unknown));
                                          }
                                          local(plan, digest, size);
                                      });
        });
}

void Service::delete_blob(const r::DeleteBlob& ask, OnAnswer answer) {
    const std::string repository = ask.name.repository;
    const std::string key = repo::blob_key(ask.digest);
    core_.read_rows(
        repository, repo::Query::one(key),
        [this, repository, key, answer](Result<std::vector<repo::Row>> rows, bool) {
            if (!rows) return say(answer, error(rows.error(), r::ErrorCode::blob_unknown));
            if (rows->empty()) {
                return say(answer, error(r::ErrorCode::blob_unknown, "there is no such blob to delete"));
            }
            core_.write_rows(repository, {{key, std::nullopt}}, [answer](Status written) {
                if (!written) return say(answer, error(written.error(), r::ErrorCode::blob_unknown));
                say(answer, r::deleted());
            });
        });
}

// --- lists -------------------------------------------------------------------------------------

void Service::list_tags(r::ListTags ask, OnAnswer answer) {
    const std::uint32_t n = std::min(ask.n.value_or(options_.tags_page), options_.tags_page_max);
    const std::string after = ask.last.empty() ? "" : repo::tag_key(ask.last);
    const Name name = ask.name;
    // One row more than the page tells whether there is another one.
    core_.read_rows(
        name.repository, repo::Query::prefix(std::string(repo::kTagPrefix), after, std::size_t{n} + 1),
        [this, name, n, answer = std::move(answer), asked_from_start = ask.last.empty()](
            Result<std::vector<repo::Row>> rows, bool more) {
            if (!rows) return say(answer, error(rows.error(), r::ErrorCode::name_unknown));
            std::vector<std::string> tags;
            for (const auto& row : *rows) {
                if (const auto tag = repo::tag_of(row.key)) tags.emplace_back(*tag);
            }
            if (tags.size() > n) {
                tags.resize(n);
                more = true;
            }
            if (!tags.empty() || !asked_from_start || n == 0) {
                return say(answer, r::tags_page(name, tags, more, n));
            }
            core_.read_rows(name.repository, repo::Query::prefix("", "", 1),
                            [name, n, answer](Result<std::vector<repo::Row>> any, bool) {
                                if (!any) return say(answer, error(any.error(), r::ErrorCode::name_unknown));
                                if (any->empty()) {
                                    return say(answer, error(r::ErrorCode::name_unknown,
                                                             "no repository " + name.repository));
                                }
                                say(answer, r::tags_page(name, {}, false, n));
                            });
        });
}

void Service::referrers(r::Referrers ask, OnAnswer answer) {
    all_rows(ask.name.repository, std::string(repo::kManifestPrefix),
             [ask, answer = std::move(answer)](Result<std::vector<repo::Row>> rows, bool) {
                 if (!rows) return say(answer, error(rows.error(), r::ErrorCode::name_unknown));
                 std::vector<r::Referrer> found;
                 for (const auto& row : *rows) {
                     const auto value = repo::ManifestValue::decode(row.value);
                     const auto digest = repo::manifest_of(row.key);
                     if (!value || !digest || value->subject != ask.digest) continue;
                     found.push_back({{value->media_type, *digest, value->size},
                                      value->artifact_type,
                                      r::annotations_from_json(value->annotations)});
                 }
                 say(answer, r::referrers_answer(found, ask.artifact_type));
             });
}

void Service::catalog(const r::Catalog& ask, OnAnswer answer) {
    const std::uint32_t n = std::min(ask.n.value_or(options_.tags_page), options_.tags_page_max);
    auto names = core_.repo().catalog(ask.last, std::size_t{n} + 1);
    const bool more = names.size() > n;
    if (more) names.resize(n);
    say(answer, r::catalog_page(names, more, n));
}

}  // namespace fastreg::node
