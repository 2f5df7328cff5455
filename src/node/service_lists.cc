// Lists: tags of a repository, referrers of a manifest, repositories of this node.
#include <algorithm>

#include "node/service.h"
#include "node/service_reply.h"

namespace fastreg::node {

namespace r = registry;

namespace {

/// Of one manifest, in one answer.
constexpr std::size_t kReferrersMax = 10'000;

}  // namespace

void Service::list_tags(r::ListTags ask, OnAnswer answer) {
    const std::uint32_t n = std::min(ask.n.value_or(options_.tags_page), options_.tags_page_max);
    const std::string after = ask.last.empty() ? "" : repo::tag_key(ask.last);
    const Name name = ask.name;
    // One row more than the page tells whether there is another one.
    core_.read_rows(
        name.repository, repo::Query::prefix(std::string(repo::kTagPrefix), after, std::size_t{n} + 1),
        [this, name, n, answer = std::move(answer)](Result<std::vector<repo::Row>> rows, bool more) {
            if (!rows) return say(answer, refusal(rows.error(), r::ErrorCode::name_unknown));
            std::vector<std::string> tags;
            for (const auto& row : *rows) {
                if (const auto tag = repo::tag_of(row.key)) tags.emplace_back(*tag);
            }
            const bool found = !tags.empty();
            if (tags.size() > n) {
                tags.resize(n);
                more = true;
            }
            if (found) return say(answer, r::tags_page(name, tags, more, n));
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
    add_referrers(std::make_shared<const r::Referrers>(std::move(ask)), {}, {}, std::move(answer));
}

void Service::add_referrers(std::shared_ptr<const r::Referrers> ask, std::vector<r::Referrer> found,
                            std::string after, OnAnswer answer) {
    core_.read_rows(
        ask->name.repository, repo::Query::prefix(std::string(repo::kManifestPrefix), std::move(after), kRowsPage),
        [this, ask, found = std::move(found), answer = std::move(answer)](Result<std::vector<repo::Row>> page,
                                                                          bool more) mutable {
            if (!page) return say(answer, refusal(page.error(), r::ErrorCode::name_unknown));
            for (const auto& row : *page) {
                const auto value = repo::ManifestValue::decode(row.value);
                const auto digest = repo::manifest_of(row.key);
                if (!value || !digest || value->subject != ask->digest) continue;
                if (found.size() == kReferrersMax) {
                    return say(answer, refusal(r::ErrorCode::unsupported,
                                               ask->digest.str() + " has more than " +
                                                   std::to_string(kReferrersMax) + " referrers; delete some"));
                }
                found.push_back({{value->media_type, *digest, value->size},
                                 value->artifact_type,
                                 r::annotations_from_json(value->annotations)});
            }
            if (!more || page->empty()) return say(answer, r::referrers_answer(found, ask->artifact_type));
            add_referrers(ask, std::move(found), page->back().key, std::move(answer));
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
