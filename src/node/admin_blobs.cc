// What a node tells of its blobs, and does with them by hand: a list, one of them, pins, a verification of all.
#include <algorithm>
#include <charconv>

#include "base/log.h"
#include "node/admin_parts.h"

namespace fastreg::node {
namespace {

/// What an earlier pull left of a blob that nobody fetches now.
std::optional<store::PartialInfo> partial_of(const store::Store& store, const Digest& digest) {
    for (const auto& partial : store.partials()) {
        if (partial.digest == digest) return partial;
    }
    return std::nullopt;
}

/// Who sent it: remembered in this run only.
Json sources_of(Core& core, const Digest& digest, const std::optional<store::BlobInfo>& info,
                const std::optional<transfer::BlobStatus>& live) {
    const auto* shares = core.downloads().sources(digest);
    if (live) shares = &live->sources;
    Json sources = Json::array();
    if (shares != nullptr) {
        for (const auto& share : *shares) {
            const Member* member = core.gossip().find(share.node);
            sources.push_back({{"node_id", share.node.str()},
                               {"name", member != nullptr ? member->name : std::string()},
                               {"transport", name_of(share.road)},
                               {"chunks", share.chunks},
                               {"bytes", share.bytes}});
        }
    } else if (info) {
        const bool pushed = info->pushed;
        sources.push_back({{"node_id", pushed ? "client" : "unknown"},
                           {"transport", pushed ? Json("http") : Json()},
                           {"chunks", ChunkGrid(info->size).count()},
                           {"bytes", info->size}});
    }
    return sources;
}

}  // namespace

void Admin::blobs(const http::Request& request, const OnAdminAnswer& answer) {
    std::size_t limit = 1000;
    if (const auto text = request.query_value("limit")) {
        const auto read = std::from_chars(text->data(), text->data() + text->size(), limit);
        const bool whole = read.ec == std::errc{} && read.ptr == text->data() + text->size();
        if (!whole || limit < 1 || limit > 1000) {
            return answer(error_answer(400, "out_of_range", "limit must be a whole number from 1 to 1000"));
        }
    }
    const std::string after(request.query_value("after").value_or(""));
    if (!after.empty() && !Digest::parse(after)) {
        return answer(error_answer(400, "invalid_argument", "after must be a digest, as \"next\" of the page before"));
    }
    struct Row {
        std::uint64_t size = 0, bytes = 0;
        bool complete = false, home = false, pinned = false;
    };
    std::map<std::string, Row> rows;
    for (const auto& entry : core_.store().list()) {
        rows[entry.digest.str()] = {entry.info.size, entry.info.size, true, entry.info.home, entry.info.pinned};
    }
    for (const auto& partial : core_.store().partials()) {
        const ChunkGrid grid(partial.size);
        rows[partial.digest.str()] = {
            partial.size, std::min(partial.size, partial.map.set_count() * grid.chunk_size()), false, false};
    }
    Json list = Json::array();
    Json next;
    for (auto at = rows.upper_bound(after); at != rows.end(); ++at) {
        if (list.size() == limit) {
            next = list.back()["digest"];
            break;
        }
        list.push_back({{"digest", at->first},
                        {"size", at->second.size},
                        {"complete", at->second.complete},
                        {"bytes", at->second.bytes},
                        {"home", at->second.home},
                        {"pinned", at->second.pinned}});
    }
    answer(json_answer({{"blobs", std::move(list)}, {"next", std::move(next)}}));
}

void Admin::blob(const Digest& digest, OnAdminAnswer answer) {
    core_.holders(digest, [this, digest, answer = std::move(answer)](std::optional<std::uint64_t> announced,
                                                                     std::vector<directory::Holder> holders) {
        const auto info = core_.store().find(digest);
        const auto live = core_.transfer().status(digest);
        const auto rest = info || live ? std::nullopt : partial_of(core_.store(), digest);
        if (!info && !live && !rest && holders.empty()) {
            return answer(error_answer(404, "not_found", "this node does not have " + digest.str() +
                                                      ", and no member is known to have it"));
        }
        std::optional<std::uint64_t> size = announced;
        if (rest) size = rest->size;
        if (live && live->size) size = live->size;
        if (info) size = info->size;
        const auto whole = size ? Json(ChunkGrid(*size).count()) : Json();
        const ChunkMap none;
        const ChunkMap& part = live ? live->chunks : rest ? rest->map : none;
        const auto named = [this](const NodeId& id) {
            const Member* member = core_.gossip().find(id);
            return member != nullptr ? member->name : std::string();
        };
        Json who = Json::array();
        const NodeId self = core_.store().identity().node;
        if (info || live || rest) {
            who.push_back({{"node_id", self.str()},
                           {"name", core_.options().name},
                           {"complete", info.has_value()},
                           {"home", info && info->home},
                           {"chunks", info ? whole : Json(part.set_count())}});
        }
        for (const auto& holder : holders) {
            if (holder.node == self) continue;
            const bool complete = holder.kind != directory::HolderKind::partial;
            Json chunks = complete ? whole : Json();
            if (!complete && live) {
                const auto told = live->neighbours.find(holder.node);
                if (told != live->neighbours.end()) chunks = told->second;
            }
            who.push_back({{"node_id", holder.node.str()},
                           {"name", named(holder.node)},
                           {"complete", complete},
                           {"home", holder.kind == directory::HolderKind::home},
                           {"chunks", std::move(chunks)}});
        }
        const bool partly = !info && part.set_count() > 0;
        answer(json_answer({{"digest", digest.str()},
                   {"size", size ? Json(*size) : Json()},
                   {"chunk_size", size ? Json(ChunkGrid(*size).chunk_size()) : Json()},
                   {"chunks", whole},
                   {"complete", info.has_value()},
                   {"have", info ? whole : Json(part.set_count())},
                   {"map", partly ? Json(to_hex(part.to_bytes())) : Json()},
                   {"home", info && info->home},
                   {"pinned", info && info->pinned},
                   {"holders", std::move(who)},
                   {"sources", sources_of(core_, digest, info, live)}}));
    });
}

void Admin::pin(const std::string& body, bool pinned, const OnAdminAnswer& answer) {
    const Json json = Json::parse(body, nullptr, false);
    if (!json.is_object() || !json.contains("digest") || !json["digest"].is_string()) {
        return answer(error_answer(400, "invalid_argument", "send {\"digest\": \"sha256:...\"}"));
    }
    const auto digest = Digest::parse(json["digest"].get<std::string>());
    if (!digest) return answer(error_answer(400, "invalid_argument", digest.error().what));
    const auto info = core_.store().find(*digest);
    if (!info) return answer(error_answer(404, "not_found", "this node does not have " + digest->str()));
    const auto size = info->size;
    core_.store().set_pinned(*digest, size, pinned, [this, digest = *digest, size, pinned, answer](const Status& kept) {
        if (kept && pinned && !core_.store().find(digest)) {  // it went while this waited for its turn
            core_.store().set_pinned(digest, size, false, [](const Status&) {});
            return answer(error_answer(404, "not_found", "this node does not have " + digest.str() + " any more"));
        }
        if (!kept) return answer(error_answer(500, name_of(kept.error().code), describe(kept.error())));
        log::info(pinned ? "blob.pinned" : "blob.unpinned", {{"digest", digest.brief()}});
        answer(json_answer({{"digest", digest.str()}, {"pinned", pinned}}));
    });
}

void Admin::verify(const std::string& body, const OnAdminAnswer& answer) {
    if (verify_ && verify_->running) {
        return answer(error_answer(409, "busy", "a verification is running; see its progress with fastreg verify"));
    }
    const Json json = Json::parse(body.empty() ? "{}" : body, nullptr, false);
    if (!json.is_object()) {
        return answer(error_answer(400, "invalid_argument", "send {\"digest\": \"sha256:...\"} or {}"));
    }
    const Json which = json.value("digest", Json());
    if (!which.is_null() && !which.is_string()) {
        return answer(error_answer(400, "invalid_argument", "digest must be a string, or null for every blob"));
    }
    auto verify = std::make_unique<Verify>();
    if (which.is_string()) {
        const auto digest = Digest::parse(which.get<std::string>());
        if (!digest) return answer(error_answer(400, "invalid_argument", digest.error().what));
        const auto info = core_.store().find(*digest);
        if (!info) return answer(error_answer(404, "not_found", "this node does not have " + digest->str()));
        verify->todo.push_back({*digest, *info});
    } else {
        verify->todo = core_.store().list();
    }
    for (const auto& entry : verify->todo) verify->bytes_total += entry.info.size;
    verify_ = std::move(verify);
    answer(AdminAnswer{202, "application/json", verify_state().body});
    verify_next();
}

void Admin::verify_next() {
    if (const std::string state = facts_.state(); state == "stopping" || state == "leaving") {
        verify_->running = false;
        return;
    }
    if (verify_->next == verify_->todo.size()) {
        verify_->running = false;
        log::info("store.verified", {{"blobs", verify_->todo.size()},
                                     {"bytes", verify_->bytes},
                                     {"bad", verify_->bad.size()}});
        return;
    }
    const auto entry = verify_->todo[verify_->next];
    core_.store().verify(entry.digest, [self = self_, entry](Result<store::VerifyReport> report) {
        if (*self == nullptr) return;
        Verify& verify = *(*self)->verify_;
        ++verify.next;
        verify.bytes += entry.info.size;
        if (report && !report->good) {
            verify.bad.push_back({{"digest", entry.digest.str()},
                                  {"problem", "its bytes hash to " + report->found.str()},
                                  {"healed", false}});
        } else if (!report && report.error().code != Errc::not_found) {
            verify.bad.push_back({{"digest", entry.digest.str()},
                                  {"problem", describe(report.error())},
                                  {"healed", false}});
        }
        (*self)->verify_next();
    });
}

AdminAnswer Admin::verify_state() const {
    if (!verify_) {
        return json_answer({{"state", "idle"}, {"checked", 0}, {"total", 0},
                   {"bytes", 0}, {"bytes_total", 0}, {"bad", Json::array()}});
    }
    Json bad = verify_->bad;
    for (auto& entry : bad) {
        const auto digest = Digest::parse(entry["digest"].get<std::string>());
        entry["healed"] = digest && core_.store().find(*digest).has_value();
    }
    const bool through = verify_->next == verify_->todo.size();
    return json_answer({{"state", verify_->running ? "running" : through ? "done" : "stopped"},
               {"checked", verify_->next},
               {"total", verify_->todo.size()},
               {"bytes", verify_->bytes},
               {"bytes_total", verify_->bytes_total},
               {"bad", std::move(bad)}});
}

}  // namespace fastreg::node
