#include "repo/repo.h"

#include <algorithm>

#include "repo/reader.h"
#include "repo/replica.h"
#include "repo/sync.h"
#include "repo/writer.h"

namespace fastreg::repo {

namespace {

constexpr std::size_t kStagedRowsMax = 100'000;  // on their way to a slow disk
constexpr Duration kTombstoneSweep = 3600s;

}  // namespace

struct Repo::Parts {
    Parts(NodeId self, BootEpoch epoch, Options options, Rng rng)
        : mesh{self, options, rng, {}, {}, 0, 0, epoch > 1},
          sync(mesh, replica),
          writer(mesh, replica),
          reader(mesh, replica, sync) {}


    void on_put(const NodeId& from, const wire::RepoPut& put, Outbox& out) {
        using Answer = wire::RepoPutAck::Answer;
        const auto answer = [&](Answer a, HlcTime newest, std::string text) {
            if (put.request == 0) return;
            out.emplace_back(
                Send{from, wire::RepoPutAck{put.request, a, newest, std::move(text)}});
        };
        // A row stamped by a clock that is right again can be replaced at once, and what goes with it.
        std::uint64_t replaceable_ms = 0;
        for (const auto& row : put.rows) {
            const Row* known = replica.find({row.repository, row.key});
            if (known != nullptr) replaceable_ms = std::max(replaceable_ms, hlc_millis(known->hlc) + 1);
        }
        for (const auto& row : put.rows) {
            if (!mesh.owns(shard_of_name(row.repository))) {
                return answer(Answer::not_owner, 0, {});
            }
            mesh.hear(row.hlc);
            const auto status = mesh.hlc.observe(mesh.wall_ms, row.hlc);
            if (!status && hlc_millis(row.hlc) > replaceable_ms) {
                ++refused;
                return answer(Answer::refused, 0, status.error().what);
            }
        }
        if (replica.staged() + put.rows.size() > kStagedRowsMax) {
            return answer(Answer::refused, 0, "its disk is too slow, writes are queued up");
        }
        Waiter waiter{Waiter::Kind::owner, from, put.request};
        if (put.request == 0) waiter = Waiter{};
        const auto accepted = replica.accept(put.rows, waiter, out);
        if (accepted.durable) answer(Answer::stored, accepted.newest, {});
    }

    void on_get(const NodeId& from, const wire::RepoGet& get, Outbox& out) {
        wire::RepoGetReply reply{get.request, wire::RepoGetReply::Answer::rows, {}, false};
        const auto shard = shard_of_name(get.repository);
        if (!mesh.owns(shard)) {
            reply.answer = wire::RepoGetReply::Answer::not_owner;
        } else if (!sync.ready(shard)) {
            reply.answer = wire::RepoGetReply::Answer::not_ready;
        } else {
            auto rows = get.follow ? replica.read_tag(get.repository, get.key)
                                   : replica.read(get.repository, get.range, get.key, get.after, get.limit);
            reply.rows = std::move(rows.rows);
            reply.more = rows.more;
        }
        out.emplace_back(Send{from, std::move(reply)});
    }

    Mesh mesh;
    Replica replica;
    Sync sync;
    Writer writer;
    Reader reader;
    Instant next_sweep{};
    std::uint64_t refused = 0;
};

Repo::Repo(NodeId self, BootEpoch epoch, Options options, Rng rng)
    : parts_(std::make_unique<Parts>(self, epoch, options, rng)) {}
Repo::~Repo() = default;

void Repo::load(std::uint64_t wall_ms, std::vector<Row> rows) {
    auto& p = *parts_;
    p.mesh.wall_ms = wall_ms;
    for (const auto& row : rows) {
        p.mesh.hear(row.hlc);
        // A row from ahead of this clock stays readable; writes over it are stamped by its owners' ack.
        static_cast<void>(p.mesh.hlc.observe(wall_ms, row.hlc).has_value());
    }
    p.replica.load(std::move(rows));
}

void Repo::remember(const Memory& memory) {
    parts_->sync.remember(memory);
}

void Repo::on_member(Instant now, const Member& member, Outbox& out) {
    auto& p = *parts_;
    const bool was_reachable = p.mesh.table.reachable(member.id);
    if (member.reachable()) p.mesh.met.insert(member.id);
    const auto changes = p.mesh.table.on_member(now, member);
    if (member.state == MemberState::left && !changes.empty()) p.mesh.both_until = now + kDeadOwnerGrace;
    if (!changes.empty()) p.sync.on_owner_changes(now, changes, out);
    p.sync.on_member(now, member, was_reachable, out);
    if (!member.reachable() && member.id != p.mesh.self) on_unreachable(now, member.id, out);
}

void Repo::on_message(Instant now, std::uint64_t wall_ms, const NodeId& from,
                      const wire::RepoMessage& message, Outbox& out) {
    auto& p = *parts_;
    if (from == p.mesh.self) return;
    p.mesh.see_time(now, wall_ms);
    struct Visitor {
        Parts& p;
        Instant now;
        const NodeId& from;
        Outbox& out;
        void operator()(const wire::RepoPut& m) { p.on_put(from, m, out); }
        void operator()(const wire::RepoPutAck& m) { p.writer.on_ack(now, from, m, out); }
        void operator()(const wire::RepoGet& m) { p.on_get(from, m, out); }
        void operator()(const wire::RepoGetReply& m) { p.reader.on_reply(now, from, m, out); }
        void operator()(const wire::RepoSummary& m) { p.sync.on_summary(now, from, m, out); }
        void operator()(const wire::RepoPull& m) { p.sync.on_pull(from, m, out); }
        void operator()(const wire::RepoPage& m) { p.sync.on_page(now, from, m, out); }
    };
    std::visit(Visitor{p, now, from, out}, message);
}

void Repo::on_unreachable(Instant now, const NodeId& node, Outbox& out) {
    auto& p = *parts_;
    p.sync.on_unreachable(now, node, out);
    p.writer.on_unreachable(now, node, out);
    p.reader.on_unreachable(now, node, out);
}

void Repo::on_persisted(Instant now, PersistToken token, const Status& status, Outbox& out) {
    auto& p = *parts_;
    const auto finished = p.replica.on_persisted(token, status);
    if (!finished) return;
    p.sync.on_landed(now, finished->shards, out);
    wire::RepoPutAck ack{finished->waiter.request, wire::RepoPutAck::Answer::stored,
                         finished->newest, {}};
    if (!status) {
        ack.answer = wire::RepoPutAck::Answer::refused;
        ack.text = describe_outside(status.error());
    }
    switch (finished->waiter.kind) {
        case Waiter::Kind::nobody: break;
        case Waiter::Kind::owner: out.emplace_back(Send{finished->waiter.node, ack}); break;
        case Waiter::Kind::local: p.writer.on_ack(now, p.mesh.self, ack, out); break;
        case Waiter::Kind::copy:
            p.sync.on_copied(now, finished->waiter.node, finished->waiter.request, status, out);
            break;
    }
}

void Repo::put(Instant now, std::uint64_t wall_ms, Token token, std::string_view repository,
               std::vector<Change> changes, Outbox& out) {
    parts_->mesh.see_time(now, wall_ms);
    parts_->writer.put(now, token, repository, std::move(changes), out);
}

void Repo::get(Instant now, Token token, std::string_view repository, Query query, Outbox& out) {
    parts_->reader.get(now, token, repository, std::move(query), out);
}

void Repo::cancel(Token token) {
    parts_->writer.cancel(token);
    parts_->reader.cancel(token);
}

void Repo::hand_over(Instant now, Outbox& out) {
    parts_->sync.hand_over(now, out);
}

std::size_t Repo::to_hand_over() const {
    return parts_->sync.to_hand_over();
}

std::vector<std::string> Repo::catalog(std::string_view after, std::size_t limit) const {
    return parts_->replica.catalog(after, limit);
}

void Repo::on_deadline(Instant now, std::uint64_t wall_ms, Outbox& out) {
    auto& p = *parts_;
    p.mesh.see_time(now, wall_ms);
    if (const auto changes = p.mesh.table.on_deadline(now); !changes.empty()) {
        p.sync.on_owner_changes(now, changes, out);
        std::erase_if(p.mesh.met, [&](const NodeId& node) { return p.mesh.table.find(node) == nullptr; });
    }
    p.sync.on_deadline(now, out);
    p.writer.on_deadline(now, out);
    p.reader.on_deadline(now, out);
    if (p.next_sweep <= now) {
        p.next_sweep = now + kTombstoneSweep;
        const auto keep = p.mesh.options.tombstone_keep_ms;
        if (p.mesh.sober_ms() > keep) p.replica.drop_tombstones(p.mesh.sober_ms() - keep, out);
    }
}

Instant Repo::next_deadline() const {
    const auto& p = *parts_;
    return std::min({p.mesh.table.next_deadline(), p.sync.next_deadline(),
                     p.writer.next_deadline(), p.reader.next_deadline(), p.next_sweep});
}

Stats Repo::stats() const {
    const auto& p = *parts_;
    return {p.replica.rows(),   p.replica.repositories(),           p.sync.owned(),
            p.sync.copying(),   p.writer.open() + p.reader.open(), p.sync.refused() + p.refused};
}

Memory Repo::memory() const {
    return parts_->sync.memory();
}

std::uint64_t Repo::memory_changes() const {
    return parts_->sync.memory_changes();
}

const std::vector<NodeId>& Repo::owners(std::string_view repository) const {
    return parts_->mesh.table.of(shard_of_name(repository));
}

}  // namespace fastreg::repo
