#include "directory/directory.h"

#include <algorithm>

#include "directory/announcer.h"
#include "directory/asker.h"
#include "directory/keeper.h"

namespace fastreg::directory {

struct Directory::Parts {
    Parts(NodeId self, BootEpoch epoch, Options options, Rng rng)
        : mesh{self, epoch, options, rng, {}, 0},
          keeper(mesh),
          announcer(mesh, keeper),
          asker(mesh, keeper) {}

    void on_owner_changes(Instant now, const std::vector<OwnerChange>& changes, Outbox& out) {
        if (changes.empty()) return;
        keeper.on_owner_changes(now, changes, out);
        announcer.on_owner_changes(now, changes, out);
    }

    Mesh mesh;
    Keeper keeper;
    Announcer announcer;
    Asker asker;
};

Directory::Directory(NodeId self, BootEpoch epoch, Options options, Rng rng)
    : parts_(std::make_unique<Parts>(self, epoch, options, rng)) {}
Directory::~Directory() = default;

void Directory::on_member(Instant now, const Member& member, Outbox& out) {
    auto& p = *parts_;
    std::optional<Member> before;
    if (const Member* known = p.mesh.table.find(member.id)) before = *known;
    const auto changes = p.mesh.table.on_member(now, member);
    p.on_owner_changes(now, changes, out);
    p.keeper.on_member(member, before, out);
    p.announcer.on_member(now, member, out);
    if (!member.reachable() && member.id != p.mesh.self) on_unreachable(now, member.id, out);
}

void Directory::on_message(Instant now, const NodeId& from, const wire::DirectoryMessage& message,
                           Outbox& out) {
    auto& p = *parts_;
    if (from == p.mesh.self) return;
    struct Visitor {
        Parts& p;
        Instant now;
        const NodeId& from;
        Outbox& out;
        void operator()(const wire::Announce& m) { p.keeper.on_announce(now, from, m, out); }
        void operator()(const wire::AnnounceAck& m) { p.announcer.on_ack(now, from, m, out); }
        void operator()(const wire::ShardSummary& m) { p.keeper.on_summary(from, m, out); }
        void operator()(const wire::ShardSummaryReply& m) {
            p.announcer.on_summary_reply(now, from, m, out);
        }
        void operator()(const wire::Lookup& m) { p.keeper.on_lookup(now, from, m, out); }
        void operator()(const wire::LookupReply& m) { p.asker.on_reply(now, from, m, out); }
        void operator()(const wire::ShardPull& m) { p.keeper.on_pull(from, m, out); }
        void operator()(const wire::ShardPage& m) { p.keeper.on_page(now, from, m, out); }
        void operator()(const wire::WrongHint& m) {
            const bool true_after_all = m.holder == p.mesh.self && p.announcer.has(m.digest);
            if (!true_after_all) p.keeper.on_wrong_hint(m.digest, m.holder);
        }
    };
    std::visit(Visitor{p, now, from, out}, message);
}

void Directory::on_unreachable(Instant now, const NodeId& node, Outbox& out) {
    parts_->keeper.on_unreachable(now, node, out);
    parts_->announcer.on_unreachable(now, node);
    parts_->asker.on_unreachable(now, node, out);
}

void Directory::on_have(Instant now, const Digest& digest, std::uint64_t size, HolderKind kind,
                        Outbox& out) {
    parts_->announcer.on_have(now, digest, size, kind, out);
}

void Directory::on_gone(Instant now, const Digest& digest, Outbox& out) {
    parts_->announcer.on_gone(now, digest, out);
}

void Directory::on_wrong_hint(Instant, const Digest& digest, const NodeId& holder, Outbox& out) {
    auto& p = *parts_;
    if (holder == p.mesh.self) return;
    for (const auto& owner : p.mesh.table.of(shard_of(digest))) {
        if (owner == p.mesh.self) {
            p.keeper.on_wrong_hint(digest, holder);
        } else if (p.mesh.table.reachable(owner)) {
            out.emplace_back(Send{owner, wire::WrongHint{digest, holder}});
        }
    }
}

void Directory::look_up(Instant now, LookupId id, const Digest& digest, Intent intent,
                        Outbox& out) {
    parts_->asker.look_up(now, id, digest, intent, out);
}

void Directory::cancel(LookupId id) {
    parts_->asker.cancel(id);
}

void Directory::on_deadline(Instant now, Outbox& out) {
    auto& p = *parts_;
    p.on_owner_changes(now, p.mesh.table.on_deadline(now), out);
    p.keeper.on_deadline(now, out);
    p.announcer.on_deadline(now, out);
    p.asker.on_deadline(now, out);
}

Instant Directory::next_deadline() const {
    const auto& p = *parts_;
    return std::min({p.mesh.table.next_deadline(), p.keeper.next_deadline(),
                     p.announcer.next_deadline(), p.asker.next_deadline()});
}

Stats Directory::stats() const {
    const auto& p = *parts_;
    return {p.announcer.count(), p.keeper.ledger().size(),  p.keeper.owned(),
            p.keeper.copying(),  p.announcer.sent(),        p.announcer.declined(),
            p.asker.open()};
}

const std::vector<NodeId>& Directory::owners(const Digest& digest) const {
    return parts_->mesh.table.of(shard_of(digest));
}

}  // namespace fastreg::directory
