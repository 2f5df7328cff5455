#include "repo/writer.h"

#include <algorithm>

#include "base/mutant.h"

namespace fastreg::repo {

namespace {

constexpr std::size_t kOpenWritesMax = 16'384;
constexpr int kRestampsMax = 3;
constexpr HlcTime kNoStampAfter = HlcTime{1} << 63U;  // the year 6429: a lie

}  // namespace

void Writer::put(Instant now, Token token, std::string_view repository, std::vector<Change> changes,
                 Outbox& out) {
    const auto refuse = [&](Error error) {
        out.emplace_back(PutDone{token, tl::unexpected<Error>(std::move(error))});
    };
    if (open_.size() >= kOpenWritesMax) {
        refuse({Errc::busy, 0, "too many writes are open; try again"});
        return;
    }
    if (changes.empty() || changes.size() > kChangesMax) {
        refuse({Errc::invalid_argument, 0,
                "a write needs 1 to " + std::to_string(kChangesMax) + " changes, got " +
                    std::to_string(changes.size())});
        return;
    }
    Write write;
    write.token = token;
    write.repository = repository;
    write.shard = shard_of_name(repository);
    write.deadline = now + mesh_.options.write_timeout;
    write.stamp = mesh_.hlc.tick(mesh_.wall_ms);
    write.parts.emplace_back();
    std::size_t cost = 0;
    std::set<std::string> keys;
    for (auto& change : changes) {
        if (!keys.insert(change.key).second) {
            refuse({Errc::invalid_argument, 0, "a write names the key '" + change.key + "' twice"});
            return;
        }
        Row row{write.repository, std::move(change.key), {}, write.stamp, mesh_.self,
                !change.value.has_value()};
        if (change.value) row.value = std::move(*change.value);
        if (auto status = wire::check_row(row); !status) {
            refuse(std::move(status.error()));
            return;
        }
        const auto size = wire::row_cost(row);
        if (cost + size > wire::kRowsPerMessageCost) {
            write.parts.emplace_back();
            cost = 0;
        }
        cost += size;
        write.parts.back().push_back(std::move(row));
    }
    const auto id = ++last_write_;
    send_all(now, id, open_.emplace(id, std::move(write)).first->second, out);
    check(now, id, out);
}

void Writer::cancel(Token token) {
    for (auto& [id, write] : open_) {
        if (write.token == token) write.silent = true;
    }
}

void Writer::send_all(Instant now, std::uint64_t id, Write& write, Outbox& out) {
    write.retry_at = now + mesh_.options.retry_delay;
    for (std::size_t part = 0; part < write.parts.size(); ++part) {
        auto& request = request_of_[{id, part}];
        if (request == 0) {
            request = mesh_.new_request();
            requests_.emplace(request, Part{id, part});
        }
        for (const auto& owner : mesh_.table.of(write.shard)) {
            if (write.durable[owner].contains(part)) continue;
            if (owner != mesh_.self && mesh_.table.reachable(owner)) {
                out.emplace_back(Send{owner, wire::RepoPut{request, write.parts[part]}});
            }
        }
    }
    keep_here(id, write, out);
}

void Writer::keep_here(std::uint64_t id, Write& write, Outbox& out) {
    if (!mesh_.owns(write.shard)) return;
    const bool alone = std::ranges::none_of(mesh_.table.of(write.shard), [&](const NodeId& owner) {
        return owner != mesh_.self && mesh_.table.reachable(owner);
    });
    for (std::size_t part = 0; part < write.parts.size(); ++part) {
        // Not before another owner took it: if this node's clock is the wrong one, all others refuse the
        // row, and it must not be seen by those who read it here.
        const bool taken = std::ranges::any_of(
            write.durable, [&](const auto& entry) { return entry.second.contains(part); });
        if ((!alone && !taken) || !write.at_own_disk.insert(part).second) continue;
        const auto accepted = replica_.accept(
            write.parts[part], {Waiter::Kind::local, mesh_.self, request_of_.at({id, part})}, out);
        write.newest = std::max(write.newest, accepted.newest);
        if (accepted.durable) write.durable[mesh_.self].insert(part);
    }
}

void Writer::on_ack(Instant now, const NodeId& from, const wire::RepoPutAck& ack, Outbox& out) {
    const auto request = requests_.find(ack.request);
    if (request == requests_.end()) return;
    const auto [id, part] = request->second;
    auto& write = open_.at(id);
    if (ack.answer == wire::RepoPutAck::Answer::stored) {
        write.durable[from].insert(part);
        write.trouble.erase(from);
        if (ack.newest < kNoStampAfter) write.newest = std::max(write.newest, ack.newest);
        static_cast<void>(mesh_.hlc.observe(mesh_.wall_ms, ack.newest).has_value());
        keep_here(id, write, out);
    } else {
        const bool lost = ack.answer == wire::RepoPutAck::Answer::not_owner;
        write.trouble[from] = lost ? "does not own the repository" : ack.text;
        if (from == mesh_.self) write.at_own_disk.erase(part);  // try again
    }
    check(now, id, out);
}

void Writer::on_unreachable(Instant now, const NodeId& node, Outbox& out) {
    std::vector<std::uint64_t> all;
    for (auto& [id, write] : open_) {
        write.trouble.try_emplace(node, "not reachable");
        all.push_back(id);
    }
    for (const auto id : all) check(now, id, out);
}

bool Writer::is_on(const NodeId& owner, const Write& write) {
    const auto durable = write.durable.find(owner);
    return durable != write.durable.end() && durable->second.size() == write.parts.size();
}

void Writer::check(Instant now, std::uint64_t id, Outbox& out) {
    const auto it = open_.find(id);
    if (it == open_.end()) return;
    auto& write = it->second;
    const auto& owners = mesh_.table.of(write.shard);
    if (owners.empty()) return;
    const auto done = std::ranges::count_if(owners, [&](const NodeId& owner) { return is_on(owner, write); });
    const std::size_t quorum = write_quorum(mutant(Mutant::write_quorum_of_one) ? 1 : owners.size());
    if (static_cast<std::size_t>(done) < quorum) {
        const auto hoped = std::ranges::count_if(
            owners, [&](const NodeId& owner) { return is_on(owner, write) || !mesh_.gone_for_writes(now, owner); });
        if (static_cast<std::size_t>(hoped) < quorum) {
            auto error = missing(write);
            finish(id, tl::unexpected<Error>(std::move(error)), out);
        }
        return;
    }
    // An owner had a later stamp for one of the keys: a clock runs ahead of ours, or somebody writes
    // at the same time. Without a later stamp this write would be acknowledged and never be seen.
    if (write.newest >= write.stamp && write.restamps < kRestampsMax) {
        restamp(now, id, write, out);
        check(now, id, out);
        return;
    }
    finish(id, {}, out);
}

void Writer::restamp(Instant now, std::uint64_t id, Write& write, Outbox& out) {
    ++write.restamps;
    write.stamp = mesh_.hlc.tick(mesh_.wall_ms);
    if (write.newest >= write.stamp) {
        // Over 10 s ahead of this node's clock; which of the clocks is wrong, the owners say. By chance, since
        // the clock does not follow: two writes of this node must not have one stamp.
        write.stamp = write.newest + 1 + mesh_.rng.below(1U << 16U);
    }
    write.newest = 0;
    write.durable.clear();
    write.at_own_disk.clear();
    for (std::size_t part = 0; part < write.parts.size(); ++part) {
        requests_.erase(request_of_[{id, part}]);
        request_of_[{id, part}] = 0;
        for (auto& row : write.parts[part]) row.hlc = write.stamp;
    }
    send_all(now, id, write, out);
}

void Writer::finish(std::uint64_t id, Status status, Outbox& out) {
    const auto it = open_.find(id);
    for (std::size_t part = 0; part < it->second.parts.size(); ++part) {
        const auto request = request_of_.find({id, part});
        if (request == request_of_.end()) continue;
        requests_.erase(request->second);
        request_of_.erase(request);
    }
    if (!it->second.silent) out.emplace_back(PutDone{it->second.token, std::move(status)});
    open_.erase(it);
}

Error Writer::missing(const Write& write) const {
    const auto& owners = mesh_.table.of(write.shard);
    std::string what = "writing to repository '" + write.repository + "': ";
    if (owners.empty()) {
        what += "this node knows of no owner yet, itself included; try again";
        return {Errc::unavailable, 0, std::move(what)};
    }
    what += std::to_string(write_quorum(owners.size())) + " of its " +
            std::to_string(owners.size()) + " owners must have it on disk; missing:";
    for (const auto& owner : owners) {
        if (is_on(owner, write)) continue;
        if (owner == mesh_.self && !write.trouble.contains(owner)) continue;  // it waits for another
        what += " " + mesh_.table.describe(owner);
        const auto trouble = write.trouble.find(owner);
        if (trouble != write.trouble.end()) what += ": " + trouble->second;
        what += ";";
    }
    return {Errc::unavailable, 0, what + " nothing was undone, try again"};
}

void Writer::on_deadline(Instant now, Outbox& out) {
    std::vector<std::uint64_t> late;
    std::vector<std::uint64_t> again;
    for (const auto& [id, write] : open_) {
        if (write.deadline <= now) {
            late.push_back(id);
        } else if (write.retry_at <= now) {
            again.push_back(id);
        }
    }
    for (const auto id : late) {
        auto error = missing(open_.at(id));
        finish(id, tl::unexpected<Error>(std::move(error)), out);
    }
    for (const auto id : again) {
        send_all(now, id, open_.at(id), out);
        check(now, id, out);  // the owners may be others now
    }
}

Instant Writer::next_deadline() const {
    Instant next = Instant::never();
    for (const auto& [id, write] : open_) {
        next = std::min({next, write.deadline, write.retry_at});
    }
    return next;
}

}  // namespace fastreg::repo
