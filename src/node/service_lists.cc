// Lists: tags of a repository, referrers of a manifest, repositories of this node.
#include <algorithm>

#include "node/service.h"
#include "node/service_reply.h"

namespace fastreg::node {

namespace r = registry;

namespace {

constexpr std::size_t kAllRowsMax = 10'000;
constexpr std::size_t kRowsPage = 1000;

}  // namespace

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

void Service::list_tags(r::ListTags ask, OnAnswer answer) {
    const std::uint32_t n = std::min(ask.n.value_or(options_.tags_page), options_.tags_page_max);
    const std::string after = ask.last.empty() ? "" : repo::tag_key(ask.last);
    const Name name = ask.name;
    // One row more than the page tells whether there is another one.
    core_.read_rows(
        name.repository, repo::Query::prefix(std::string(repo::kTagPrefix), after, std::size_t{n} + 1),
        [this, name, n, answer = std::move(answer), asked_from_start = ask.last.empty()](
            Result<std::vector<repo::Row>> rows, bool more) {
            if (!rows) return say(answer, refusal(rows.error(), r::ErrorCode::name_unknown));
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
                                if (!any) return say(answer, refusal(any.error(), r::ErrorCode::name_unknown));
                                if (any->empty()) {
                                    return say(answer, refusal(r::ErrorCode::name_unknown,
                                                               "no repository " + name.repository));
                                }
                                say(answer, r::tags_page(name, {}, false, n));
                            });
        });
}

void Service::referrers(r::Referrers ask, OnAnswer answer) {
    all_rows(ask.name.repository, std::string(repo::kManifestPrefix),
             [ask, answer = std::move(answer)](Result<std::vector<repo::Row>> rows, bool) {
                 if (!rows) return say(answer, refusal(rows.error(), r::ErrorCode::name_unknown));
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
