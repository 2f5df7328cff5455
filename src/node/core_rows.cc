// Rows of repositories: questions and changes of the registry, and what the repo core wants kept or sent.
#include "base/log.h"
#include "node/core.h"
#include "wire/repo.h"

namespace fastreg::node {

namespace {

store::Row to_store(const repo::Row& row) {
    return {row.repository, row.key, row.value, row.hlc, row.writer, row.tombstone};
}

repo::Row to_repo(store::Row&& row) {
    return {std::move(row.repo), std::move(row.key), std::move(row.value), row.hlc, row.writer,
            row.tombstone};
}

}  // namespace

void Core::load_rows() {
    std::vector<repo::Row> rows;
    for (auto& row : parts_.store.take_rows()) rows.push_back(to_repo(std::move(row)));
    parts_.repo.load(parts_.net.wall_ms(), std::move(rows));
}

void Core::read_rows(std::string_view repository, repo::Query query, RowsAnswer answer) {
    if (auto status = may_speak(); !status) return answer(tl::unexpected<Error>(status.error()), false);
    const repo::Token token = next_token_++;
    reads_.emplace(token, std::move(answer));
    parts_.repo.get(parts_.now(), token, repository, std::move(query), parts_.repo_out);
    drain();
}

void Core::write_rows(std::string_view repository, std::vector<repo::Change> changes,
                      WriteAnswer answer) {
    if (auto status = may_speak(); !status) return answer(std::move(status));
    const repo::Token token = next_token_++;
    writes_.emplace(token, std::move(answer));
    parts_.repo.put(parts_.now(), parts_.net.wall_ms(), token, repository, std::move(changes),
                    parts_.repo_out);
    drain();
}

void Core::act(repo::Action& action) {
    if (auto* send = std::get_if<repo::Send>(&action)) {
        if (!parts_.send_directory(send->to, wire::encode(send->message))) {
            parts_.repo.on_unreachable(parts_.now(), send->to, parts_.repo_out);
        }
    } else if (auto* rows = std::get_if<repo::Persist>(&action)) {
        persist(*rows);
    } else if (const auto* drop = std::get_if<repo::Drop>(&action)) {
        std::vector<store::RowKey> keys;
        for (const auto& key : drop->keys) keys.push_back({key.repository, key.key});
        parts_.store.erase_rows(std::move(keys), [](Status status) {
            if (!status) log::warn("rows.not_erased", {{"why", describe(status.error())}});
        });
    } else if (const auto* put = std::get_if<repo::PutDone>(&action)) {
        if (const auto at = writes_.find(put->token); at != writes_.end()) {
            const auto answer = std::move(at->second);
            writes_.erase(at);
            answer(put->status);
        }
    } else if (auto* get = std::get_if<repo::GetDone>(&action)) {
        if (const auto at = reads_.find(get->token); at != reads_.end()) {
            const auto answer = std::move(at->second);
            reads_.erase(at);
            answer(std::move(get->rows), get->more);
        }
    }
}

void Core::persist(repo::Persist& action) {
    std::vector<store::Row> rows;
    rows.reserve(action.rows.size());
    for (const auto& row : action.rows) rows.push_back(to_store(row));
    parts_.store.persist_rows(std::move(rows), [this, token = action.token](Status status) {
        if (!status) log::error("rows.not_kept", {{"why", describe(status.error())}});
        parts_.repo.on_persisted(parts_.now(), token, status, parts_.repo_out);
        drain();
    });
}

}  // namespace fastreg::node
