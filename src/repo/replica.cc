#include "repo/replica.h"

#include <algorithm>

#include "base/hash.h"
#include "repo/mesh.h"
#include "repo/values.h"

namespace fastreg::repo {

namespace {

std::uint64_t row_hash(const Row& row) {
    std::string text = row.repository;
    text.push_back('\0');
    text.append(row.key);
    text.append(as_text(row.writer.bytes));
    return xxh3_64(as_bytes(text), row.hlc);
}

}  // namespace

void Replica::load(std::vector<Row> rows) {
    for (auto& row : rows) apply(std::move(row));
}

const Row* Replica::find(const Key& key) const {
    const auto shard = shards_.find(shard_of_name(key.first));
    if (shard == shards_.end()) return nullptr;
    const auto it = shard->second.rows.find(key);
    return it == shard->second.rows.end() ? nullptr : &it->second;
}

Replica::Accepted Replica::accept(std::vector<Row> rows, const Waiter& waiter, Outbox& out) {
    Accepted result;
    std::vector<Row> batch;
    for (auto& row : rows) {
        const Key key{row.repository, row.key};
        if (const Row* known = find(key); known != nullptr && !row.newer_than(*known)) {
            if (known->newer_than(row)) result.newest = std::max(result.newest, known->hlc);
            continue;
        }
        const auto [staged, added] = staged_.try_emplace(key, row);
        if (!added && row.newer_than(staged->second)) staged->second = row;
        if (staged->second.newer_than(row)) {
            result.newest = std::max(result.newest, staged->second.hlc);
        }
        // The winner, even when it is on its way already: an older row must not reach the disk last.
        batch.push_back(staged->second);
    }
    if (batch.empty()) {
        result.durable = true;
        return result;
    }
    const auto token = ++last_token_;
    staged_rows_ += batch.size();
    out.emplace_back(Persist{token, batch});
    pending_.emplace(token, Pending{std::move(batch), waiter, result.newest});
    return result;
}

std::optional<Replica::Finished> Replica::on_persisted(PersistToken token, const Status& status) {
    const auto found = pending_.find(token);
    if (found == pending_.end()) return std::nullopt;
    auto pending = std::move(found->second);
    pending_.erase(found);
    staged_rows_ -= pending.rows.size();
    Finished finished{pending.waiter, status, pending.newest, {}};
    for (auto& row : pending.rows) {
        const Key key{row.repository, row.key};
        const auto staged = staged_.find(key);
        if (staged != staged_.end() && !staged->second.newer_than(row)) staged_.erase(staged);
        if (!status) continue;
        if (const Row* known = find(key); known == nullptr || row.newer_than(*known)) {
            finished.shards.insert(shard_of_name(row.repository));
            apply(std::move(row));
        }
    }
    return finished;
}

void Replica::count_live(const Row& row, bool add) {
    if (row.tombstone) return;
    if (add) {
        ++live_[row.repository];
        return;
    }
    const auto it = live_.find(row.repository);
    if (--it->second == 0) live_.erase(it);
}

void Replica::apply(Row row) {
    auto& shard = shards_[shard_of_name(row.repository)];
    const auto [it, added] = shard.rows.try_emplace(Key{row.repository, row.key});
    if (added) {
        ++rows_;
        ++shard.sum.count;
    } else {
        shard.sum.hash ^= row_hash(it->second);
        count_live(it->second, false);
    }
    shard.sum.hash ^= row_hash(row);
    count_live(row, true);
    it->second = std::move(row);
}

void Replica::forget(Shard& shard, std::map<Key, Row>::iterator it) {
    shard.sum.hash ^= row_hash(it->second);
    --shard.sum.count;
    --rows_;
    count_live(it->second, false);
    shard.rows.erase(it);
}

Replica::Answer Replica::read(std::string_view repository, bool range, std::string_view key,
                              std::string_view after, std::size_t limit) const {
    Answer answer;
    const auto shard = shards_.find(shard_of_name(repository));
    if (shard == shards_.end()) return answer;
    const auto& rows = shard->second.rows;
    if (!range) {
        const auto it = rows.find(Key{repository, key});
        if (it != rows.end()) answer.rows.push_back(it->second);
        return answer;
    }
    auto it = rows.lower_bound(Key{repository, key});
    if (after >= key && !after.empty()) it = rows.upper_bound(Key{repository, after});
    std::size_t cost = 0;
    std::size_t live = 0;
    for (; it != rows.end() && it->first.first == repository; ++it) {
        if (!it->first.second.starts_with(key)) break;
        cost += wire::row_cost(it->second);
        const bool full = live == limit || answer.rows.size() == wire::kRowsPerMessageMax ||
                          cost > wire::kRowsPerMessageCost;
        if (full && !answer.rows.empty()) {
            answer.more = true;
            break;
        }
        if (!it->second.tombstone) ++live;
        answer.rows.push_back(it->second);
    }
    return answer;
}

Replica::Answer Replica::read_tag(std::string_view repository, std::string_view key) const {
    auto answer = read(repository, false, key, {}, 1);
    if (answer.rows.empty()) return answer;
    const auto points_at = manifest_key_of(answer.rows.front());
    if (!points_at) return answer;
    const Row* manifest = find({answer.rows.front().repository, *points_at});
    if (manifest != nullptr) answer.rows.insert(answer.rows.begin(), *manifest);
    return answer;
}

Replica::Answer Replica::page(const std::vector<ShardId>& shards,
                              const std::optional<Cursor>& after) const {
    Answer answer;
    std::size_t cost = 0;
    for (const auto number : shards) {
        if (after && number < after->shard) continue;
        const auto shard = shards_.find(number);
        if (shard == shards_.end()) continue;
        const auto& rows = shard->second.rows;
        auto it = after && number == after->shard
                      ? rows.upper_bound(Key{after->repository, after->key})
                      : rows.begin();
        for (; it != rows.end(); ++it) {
            cost += wire::row_cost(it->second);
            const bool full = answer.rows.size() == wire::kRowsPerMessageMax ||
                              cost > wire::kRowsPerMessageCost;
            if (full && !answer.rows.empty()) {
                answer.more = true;
                return answer;
            }
            answer.rows.push_back(it->second);
        }
    }
    return answer;
}

Replica::Sum Replica::sum(ShardId shard) const {
    const auto found = shards_.find(shard);
    return found == shards_.end() ? Sum{} : found->second.sum;
}

void Replica::drop_shard(ShardId number, Outbox& out) {
    const auto found = shards_.find(number);
    if (found == shards_.end()) return;
    Drop drop;
    auto& shard = found->second;
    while (!shard.rows.empty()) {
        const auto it = shard.rows.begin();
        drop.keys.push_back({it->first.first, it->first.second});
        forget(shard, it);
    }
    shards_.erase(found);
    if (!drop.keys.empty()) out.emplace_back(std::move(drop));
}

void Replica::drop_tombstones(std::uint64_t oldest_ms, Outbox& out) {
    Drop drop;
    for (auto& [number, shard] : shards_) {
        for (auto it = shard.rows.begin(); it != shard.rows.end();) {
            const auto here = it++;
            const bool old = here->second.tombstone && hlc_millis(here->second.hlc) < oldest_ms;
            if (!old || staged_.contains(here->first)) continue;
            drop.keys.push_back({here->first.first, here->first.second});
            forget(shard, here);
        }
    }
    if (!drop.keys.empty()) out.emplace_back(std::move(drop));
}

std::vector<std::string> Replica::catalog(std::string_view after, std::size_t limit) const {
    std::vector<std::string> names;
    auto it = after.empty() ? live_.begin() : live_.upper_bound(after);
    for (; it != live_.end() && names.size() < limit; ++it) names.push_back(it->first);
    return names;
}

}  // namespace fastreg::repo
