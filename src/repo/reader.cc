#include "repo/reader.h"

#include <algorithm>
#include <optional>

#include "base/mutant.h"
#include "repo/values.h"

namespace fastreg::repo {

namespace {

constexpr std::size_t kOpenReadsMax = 16'384;
constexpr int kHedgesToAskAgain = 3;  // then a silent owner is asked once more
constexpr std::size_t kAnswerCostMax = std::size_t{16} << 20U;  // bytes of one whole answer

}  // namespace

void Reader::get(Instant now, Token token, std::string_view repository, Query query, Outbox& out) {
    const auto refuse = [&](Errc code, std::string what) {
        out.emplace_back(GetDone{token, fail(code, std::move(what)), false});
    };
    if (open_.size() >= kOpenReadsMax) return refuse(Errc::busy, "too many reads are open; try again");
    if (repository.empty() || repository.size() > wire::kRepositoryMax ||
        query.key.size() > wire::kRowKeyMax || query.after.size() > wire::kRowKeyMax ||
        (!query.range && query.key.empty())) {
        return refuse(Errc::invalid_argument, "a read needs a repository of 1 to 255 bytes and a key "
                                              "of at most 512");
    }
    if (query.limit == 0 || query.limit > kQueryLimitMax) {
        return refuse(Errc::invalid_argument,
                      "a read asks for 1 to " + std::to_string(kQueryLimitMax) + " rows");
    }
    Read read;
    read.token = token;
    read.repository = repository;
    read.shard = shard_of_name(repository);
    read.query = std::move(query);
    read.deadline = now + mesh_.options.read_timeout;
    round(now, std::move(read), out);
}

void Reader::cancel(Token token) {
    std::erase_if(open_, [&](const auto& entry) { return entry.second.token == token; });
}

void Reader::round(Instant now, Read read, Outbox& out) {
    const auto request = mesh_.new_request();
    read.answers.clear();
    read.asked.clear();
    read.waiting.clear();
    read.trouble.clear();
    read.hedges = 0;
    read.hedge_at = now + mesh_.options.hedge_delay;
    const auto it = open_.emplace(request, std::move(read)).first;
    ask_self(it->second);
    if (enough(it->second)) return join(now, it, out);
    if (!give_up(it, out)) ask(request, it->second, 0, out);
}

bool Reader::give_up(Open::iterator it, Outbox& out) {
    const Read& read = it->second;
    const auto& owners = mesh_.table.of(read.shard);
    const auto hoped = std::ranges::count_if(owners, [&](const NodeId& owner) {
        return read.answers.contains(owner) || !mesh_.gone(owner);
    });
    if (owners.empty() || static_cast<std::size_t>(hoped) >= read_quorum(owners.size())) return false;
    out.emplace_back(GetDone{read.token, tl::unexpected<Error>(missing(read)), false});
    open_.erase(it);
    return true;
}

void Reader::ask_self(Read& read) const {
    if (!sync_.ready(read.shard) || read.answers.contains(mesh_.self)) return;
    const auto& q = read.query;
    read.answers.emplace(mesh_.self, q.follow ? replica_.read_tag(read.repository, q.key)
                                              : replica_.read(read.repository, q.range, q.key, q.after,
                                                              q.limit - read.rows.size()));
}

void Reader::ask(RequestId request, Read& read, std::size_t extra, Outbox& out) {
    const auto& owners = mesh_.table.of(read.shard);
    std::vector<NodeId> fresh;
    std::vector<NodeId> again;
    std::size_t busy = 0;
    for (const auto& owner : owners) {
        if (read.answers.contains(owner) || read.waiting.contains(owner)) {
            ++busy;
        } else if (owner != mesh_.self && mesh_.table.reachable(owner)) {
            (read.trouble.contains(owner) ? again : fresh).push_back(owner);
        }
    }
    const auto send = [&](const NodeId& owner) {
        read.asked.insert(owner);
        read.waiting.insert(owner);
        const auto& q = read.query;
        out.emplace_back(
            Send{owner, wire::RepoGet{request, read.repository, q.range, q.key, q.after,
                                      static_cast<std::uint32_t>(q.limit - read.rows.size()), q.follow}});
    };
    mesh_.rng.shuffle(fresh);
    const auto goal = mesh_.voices_of_read(owners.size()) + extra;
    for (const auto& owner : fresh) {
        if (busy >= goal) return;
        ++busy;
        send(owner);
    }
    if (extra == 0) return;  // who could not answer is asked again by the timer only
    for (const auto& owner : again) send(owner);
}

bool Reader::enough(const Read& read) const {
    const auto& owners = mesh_.table.of(read.shard);
    const auto count = std::ranges::count_if(
        owners, [&](const NodeId& owner) { return read.answers.contains(owner); });
    return !owners.empty() && static_cast<std::size_t>(count) >=
                                  mesh_.voices_of_read(mutant(Mutant::read_quorum_of_one) ? 1 : owners.size());
}

bool Reader::plausible(const Read& read, const Replica::Answer& answer) {
    const auto& q = read.query;
    if (!q.range) {
        const std::size_t most = q.follow ? 2 : 1;
        if (answer.more || answer.rows.size() > most) return false;
        if (answer.rows.empty()) return true;
        const Row& asked = answer.rows.back();
        if (asked.repository != read.repository || asked.key != q.key) return false;
        const Row& first = answer.rows.front();
        return &first == &asked ||
               (first.repository == read.repository && first.key == manifest_key_of(asked));
    }
    if (answer.more && answer.rows.empty()) return false;
    std::string_view last = q.after;
    for (const auto& row : answer.rows) {
        const bool in_order = row.key > last || (last.empty() && &row == &answer.rows.front());
        if (row.repository != read.repository || !row.key.starts_with(q.key) || !in_order) {
            return false;
        }
        last = row.key;
    }
    return true;
}

void Reader::on_reply(Instant now, const NodeId& from, const wire::RepoGetReply& reply,
                      Outbox& out) {
    const auto it = open_.find(reply.request);
    if (it == open_.end() || !it->second.asked.contains(from)) return;
    Read& read = it->second;
    if (read.answers.contains(from)) return;
    read.waiting.erase(from);
    Replica::Answer answer{reply.rows, reply.more};
    if (reply.answer == wire::RepoGetReply::Answer::rows && plausible(read, answer)) {
        for (const auto& row : answer.rows) {
            // Only moves the clock; what an owner has stored is true, whatever its stamp.
            static_cast<void>(mesh_.hlc.observe(mesh_.wall_ms, row.hlc).has_value());
        }
        read.answers.emplace(from, std::move(answer));
    } else if (reply.answer == wire::RepoGetReply::Answer::not_ready) {
        read.trouble[from] = "still copying the repository";
    } else if (reply.answer == wire::RepoGetReply::Answer::not_owner) {
        read.trouble[from] = "does not own the repository";
    } else {
        read.trouble[from] = "answered something else";
    }
    ask_self(read);
    if (enough(read)) return join(now, it, out);
    ask(it->first, read, 0, out);
}

void Reader::on_unreachable(Instant, const NodeId& node, Outbox& out) {
    for (auto it = open_.begin(); it != open_.end();) {
        const auto at = it++;
        if (at->second.waiting.erase(node) > 0) at->second.trouble[node] = "not reachable";
        if (!give_up(at, out) && at->second.trouble.contains(node)) ask(at->first, at->second, 0, out);
    }
}

void Reader::drop_unagreed(const Read& read, Winners& winners) {
    const auto tag = winners.find(read.query.key);
    const auto points_at = tag == winners.end() ? std::nullopt : manifest_key_of(*tag->second);
    const bool agreed = points_at && std::ranges::all_of(read.answers, [&](const auto& entry) {
        const auto& rows = entry.second.rows;
        return rows.size() == 2 && rows.front().key == points_at;
    });
    std::erase_if(winners, [&](const auto& entry) {
        return entry.first != read.query.key && !(agreed && entry.first == *points_at);
    });
}

void Reader::join(Instant now, Open::iterator it, Outbox& out) {
    Read read = std::move(it->second);
    open_.erase(it);
    // Behind the smallest last key of the truncated answers somebody may have rows unseen.
    std::optional<std::string> bound;
    for (const auto& [node, answer] : read.answers) {
        if (!answer.more) continue;
        const auto& last = answer.rows.back().key;
        if (!bound || last < *bound) bound = last;
    }
    Winners winners;
    for (const auto& [node, answer] : read.answers) {
        for (const auto& row : answer.rows) {
            if (bound && row.key > *bound) break;
            if (mutant(Mutant::tombstone_ignored_by_repair) && row.tombstone) continue;
            const auto [place, added] = winners.try_emplace(row.key, &row);
            const bool newer = row.newer_than(*place->second) != mutant(Mutant::older_row_wins);
            if (!added && newer) place->second = &row;
        }
    }
    if (read.query.follow) drop_unagreed(read, winners);
    std::map<NodeId, std::vector<Row>> repairs;
    for (const auto& [node, answer] : read.answers) {
        auto theirs = answer.rows.begin();
        for (const auto& [key, row] : winners) {
            while (theirs != answer.rows.end() && theirs->key < key) ++theirs;
            const bool has = theirs != answer.rows.end() && theirs->key == key;
            if (!has || row->newer_than(*theirs)) repairs[node].push_back(*row);
        }
    }
    repair(repairs, out);

    bool more = bound.has_value();
    std::size_t left = winners.size();
    for (const auto& [key, row] : winners) {
        --left;
        if (row->tombstone) continue;
        if (read.rows.size() == read.query.limit || read.cost > kAnswerCostMax) {
            more = true;
            ++left;
            break;
        }
        read.cost += wire::row_cost(*row);
        read.rows.push_back(*row);
    }
    const bool full = read.rows.size() == read.query.limit || read.cost > kAnswerCostMax;
    if (bound && !full && left == 0) {
        read.query.after = *bound;
        if (now < read.deadline) return round(now, std::move(read), out);
        out.emplace_back(GetDone{read.token, tl::unexpected<Error>(missing(read)), false});
        return;
    }
    out.emplace_back(GetDone{read.token, std::move(read.rows), read.query.range && more});
}

void Reader::repair(const std::map<NodeId, std::vector<Row>>& repairs, Outbox& out) {
    for (const auto& [node, rows] : repairs) {
        if (node == mesh_.self) {
            replica_.accept(rows, Waiter{}, out);
            continue;
        }
        wire::RepoPut put;
        std::size_t cost = 0;
        for (const auto& row : rows) {
            const auto size = wire::row_cost(row);
            if (cost + size > wire::kRowsPerMessageCost) {
                out.emplace_back(Send{node, std::move(put)});
                put = {};
                cost = 0;
            }
            cost += size;
            put.rows.push_back(row);
        }
        out.emplace_back(Send{node, std::move(put)});
    }
}

Error Reader::missing(const Read& read) const {
    const auto& owners = mesh_.table.of(read.shard);
    std::string what = "reading repository '" + read.repository + "': ";
    if (owners.empty()) {
        what += "this node knows of no owner yet, itself included; try again";
        return {Errc::unavailable, 0, std::move(what)};
    }
    what += std::to_string(read_quorum(owners.size())) + " of its " +
            std::to_string(owners.size()) + " owners must answer; missing:";
    for (const auto& owner : owners) {
        if (read.answers.contains(owner)) continue;
        what += " " + mesh_.table.describe(owner);
        const auto trouble = read.trouble.find(owner);
        if (trouble != read.trouble.end()) {
            what += ": " + trouble->second;
        } else if (owner == mesh_.self) {
            what += ": still copying the repository";
        }
        what += ";";
    }
    return {Errc::unavailable, 0, what + " try again"};
}

void Reader::on_deadline(Instant now, Outbox& out) {
    std::vector<RequestId> due;
    for (const auto& [request, read] : open_) {
        if (read.deadline <= now || read.hedge_at <= now) due.push_back(request);
    }
    for (const auto request : due) {
        const auto it = open_.find(request);
        if (it == open_.end()) continue;
        Read& read = it->second;
        ask_self(read);
        if (enough(read)) {
            join(now, it, out);
        } else if (read.deadline <= now) {
            out.emplace_back(GetDone{read.token, tl::unexpected<Error>(missing(read)), false});
            open_.erase(it);
        } else {
            read.hedge_at = now + mesh_.options.hedge_delay;
            if (++read.hedges % kHedgesToAskAgain == 0) {
                for (const auto& owner : read.waiting) read.trouble[owner] = "no answer";
                read.waiting.clear();
            }
            ask(request, read, 1, out);
        }
    }
}

Instant Reader::next_deadline() const {
    Instant next = Instant::never();
    for (const auto& [request, read] : open_) next = std::min({next, read.deadline, read.hedge_at});
    return next;
}

}  // namespace fastreg::repo
