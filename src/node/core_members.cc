// Membership: joining the mesh, what the gossip core wants done and says of others, and the peers that are
// remembered over a restart.
#include <algorithm>

#include "base/log.h"
#include "node/core.h"
#include "wire/gossip.h"
#include "wire/pack.h"

namespace fastreg::node {

namespace {

constexpr Duration kSavePeersEvery = 60s;
constexpr Duration kSavePeersSoon = 1s;  // after a change
/// A new node that was given seeds and has met none of them may be the first of its mesh.
constexpr Duration kAloneAfter = 30s;
constexpr std::size_t kPeersSaved = 64;
/// Who is away since before the start is given up by then, and the shards copied. A member that hangs must not keep
/// this node from its clients for longer.
constexpr Duration kCatchUpWithin = kDeadOwnerGrace + 10s;
static_assert(kDeadOwnerGrace == 120s, "Core::ready() says so");

enum PeerKey { kName = 1, kGossip = 2, kTransfer = 3, kHttp = 4, kZone = 5, kWhole = 6, kWholeEpoch = 7 };

/// `whole`: see repo::Memory; of the run `epoch` of this node.
Bytes encode_peer(const Member& member, ByteView whole, BootEpoch epoch) {
    wire::MapWriter map;
    map.put(kName, member.name).put(kGossip, member.gossip).put(kTransfer, member.transfer);
    map.put(kHttp, member.http).put(kZone, member.zone);
    if (!whole.empty()) map.put_bytes(kWhole, whole).put(kWholeEpoch, epoch);
    return map.finish();
}

/// Nothing of an older run than the last one, and so nothing of a backup that meta.db was restored from: what was
/// acknowledged since may be missing.
Bytes decode_whole(const store::PeerRecord& record, BootEpoch last) {
    auto map = wire::MapReader::parse(record.value);
    if (!map) return {};
    const auto whole = map->bytes(kWhole, kShardCount / 8);
    const auto epoch = map->number(kWholeEpoch);
    if (!map->status() || epoch != last) return {};
    return {whole.begin(), whole.end()};
}

std::optional<Member> decode_peer(const store::PeerRecord& record) {
    auto map = wire::MapReader::parse(record.value);
    if (!map) return std::nullopt;
    Member member;
    member.id = record.node;
    member.name = map->text(kName, 256);
    member.gossip = map->endpoint(kGossip);
    member.transfer = map->endpoint(kTransfer);
    member.http = map->endpoint(kHttp);
    member.zone = map->text(kZone, 256);
    if (!map->status() || member.gossip.empty()) return std::nullopt;
    return member;
}

}  // namespace

gossip::Self Core::self_of(const store::Store& store, const CoreOptions& options) {
    const auto identity = store.identity();
    return {identity.node,   identity.boot_epoch, options.name, options.zone,
            options.gossip,  options.transfer,    options.rdma, options.http};
}

void Core::set_rdma(const Endpoint& address) {
    const Endpoint before = parts_.gossip.self().rdma;
    if (before == address) return;
    log::info("rdma.address", {{"now", address.str()}, {"before", before.str()}});
    CoreOptions options = parts_.options;
    options.rdma = address;
    parts_.gossip.update_self(parts_.now(), self_of(parts_.store, options), parts_.gossip_out);
    drain();
}

void Core::start(const std::vector<Endpoint>& seeds) {
    const Member self = parts_.gossip.self();
    for (const auto& home : parts_.store.homes()) {
        if (!parts_.store.find(home.digest)) homes_.restore(home.digest, home.size);
    }
    homes_.on_start();
    std::vector<Member> known;
    repo::Memory whole;
    for (const auto& record : parts_.store.take_peers()) {
        auto member = decode_peer(record);
        if (!member || member->id == self.id) continue;
        known.push_back(std::move(*member));
        if (auto shards = decode_whole(record, parts_.epoch - 1); !shards.empty()) whole.emplace(record.node, shards);
    }
    parts_.repo.remember(whole);
    // Who owned rows and shards with this node when it last ran owns them still, until it answers or its
    // grace ends: a node that has met nobody yet must not speak for a mesh.
    for (Member peer : known) {
        peer.state = MemberState::dead;
        peer.state_since = parts_.now();
        member_changed(peer);
    }
    member_changed(self);
    if (known.empty() && !seeds.empty()) alone_until_ = parts_.now() + kAloneAfter;
    judge_seeds_until_ = parts_.now() + kAloneAfter;
    catch_up_until_ = parts_.now() + kCatchUpWithin;
    seeds_.insert(seeds.begin(), seeds.end());
    started_ = true;
    for (const auto& entry : parts_.store.list()) {
        const auto kind = entry.info.home ? directory::HolderKind::home : directory::HolderKind::cache;
        parts_.directory.on_have(parts_.now(), entry.digest, entry.info.size, kind, parts_.directory_out);
    }
    parts_.gossip.start(parts_.now(), seeds, known, parts_.gossip_out);
    save_peers_at_ = parts_.now() + kSavePeersSoon;
    drain();
}

void Core::join(const Endpoint& seed) {
    parts_.gossip.add_seed(parts_.now(), seed, parts_.gossip_out);
    drain();
}

void Core::withdraw(const Endpoint& seed) {
    if (!seeds_.contains(seed)) parts_.gossip.remove_seed(seed);
}

void Core::set_seeds(const std::vector<Endpoint>& seeds) {
    parts_.gossip.set_seeds(seeds);
    seeds_ = {seeds.begin(), seeds.end()};
    const bool refused = !foreign_seeds_.empty();
    std::erase_if(foreign_seeds_, [this](const auto& entry) { return !seeds_.contains(entry.first); });
    if (refused && foreign_seeds_.empty()) held_back_ = false;  // the operator took them away
}

void Core::on_foreign(const Endpoint& address, const std::string& why) {
    if (!seeds_.contains(address)) return;
    foreign_seeds_[address] = why;
    const auto counts = parts_.gossip.counts();
    const bool met = counts.alive + counts.suspect + counts.stopping + counts.dead + counts.left > 0;
    // One that has long answered for a mesh of its own goes on, with the warning.
    if (!met && parts_.now() < judge_seeds_until_) held_back_ = true;
}

void Core::on_dialled(const Endpoint& address) {
    foreign_seeds_.erase(address);
}

void Core::act(gossip::Action& action) {
    if (auto* send = std::get_if<gossip::Send>(&action)) {
        auto frame = wire::encode(send->message);
        if (Meters* meters = parts_.options.meters) {
            meters->gossip_out.add(wire::kFrameHeaderSize + frame.body.size());
        }
        parts_.net.send_control(send->to, send->address, wire::Purpose::gossip, std::move(frame));
    } else if (const auto* change = std::get_if<gossip::MemberChanged>(&action)) {
        const Member& member = change->member;
        log::info("member.changed", {{"name", member.name},
                                     {"id", member.id.brief()},
                                     {"state", name_of(member.state)},
                                     {"was", change->before ? name_of(*change->before) : "unknown"},
                                     {"gossip", member.gossip.str()}});
        if (Meters* meters = parts_.options.meters) {
            const bool was_suspect = change->before == MemberState::suspect;
            if (member.state == MemberState::suspect) meters->suspicions_raised.add();
            if (was_suspect && member.state == MemberState::dead) meters->suspicions_confirmed.add();
            if (was_suspect && member.state == MemberState::alive) meters->suspicions_refuted.add();
        }
        member_changed(member);
    } else if (const auto* forgotten = std::get_if<gossip::MemberForgotten>(&action)) {
        parts_.transfer.on_forgotten(forgotten->id);
    } else if (const auto* keep = std::get_if<gossip::KeepLinks>(&action)) {
        parts_.net.keep_links(keep->members);
    } else if (const auto* refuted = std::get_if<gossip::Refuted>(&action)) {
        log::warn("member.refuted", {{"accused_of", name_of(refuted->accused_of)},
                                     {"by", refuted->by.brief()},
                                     {"incarnation", refuted->incarnation}});
    } else if (const auto* conflict = std::get_if<gossip::IdentityConflict>(&action)) {
        report_conflict(*conflict);
    } else if (const auto* answered = std::get_if<gossip::ProbeAnswered>(&action)) {
        if (Meters* meters = parts_.options.meters) meters->probe_rtt.observe(seconds_of(answered->took));
    } else if (const auto* warn = std::get_if<gossip::Warn>(&action)) {
        log::warn("gossip", {{"what", warn->text}});
    }
}

void Core::report_conflict(const gossip::IdentityConflict& conflict) {
    conflict_ = Conflict{conflict.other.str(), conflict.why, parts_.now()};
    if (Meters* meters = parts_.options.meters) meters->identity_conflicts.add();
    log::error("member.identity_conflict",
               {{"node_id", parts_.self.str()},
                {"other", conflict.other.str()},
                {"seen_epoch", conflict.seen_epoch},
                {"why", conflict.why},
                {"do", "two processes run with one node_id: stop the one whose data directory was copied, "
                       "empty that directory and start it again; it joins under an id of its own"}});
}

std::vector<std::string> Core::warnings() const {
    std::vector<std::string> all;
    // Gossip repeats a conflict that lasts every warn_every.
    if (conflict_ && parts_.now() < conflict_->seen + 2 * parts_.options.gossip_options.warn_every) {
        all.push_back("another process runs with this node's id" +
                      (conflict_->other.empty() ? "" : " at " + conflict_->other) + " (" + conflict_->why +
                      "): stop the one whose data directory was copied, empty that directory and start it again");
    }
    for (const auto& [seed, why] : foreign_seeds_) all.push_back("seed " + seed.str() + " refused this node: " + why);
    return all;
}

void Core::member_changed(const Member& member) {
    const Instant now = parts_.now();
    parts_.owners.on_member(now, member);
    parts_.directory.on_member(now, member, parts_.directory_out);
    parts_.repo.on_member(now, member, parts_.repo_out);
    if (member.id == parts_.self) return;
    if (member.reachable()) {
        held_back_ = false;
        alone_until_ = {};  // it has met its mesh: who dies now is dead, not unmet
    }
    if (started_) save_peers_at_ = std::min(save_peers_at_, now + kSavePeersSoon);
    parts_.transfer.on_member(now, member, parts_.transfer_out);
    homes_.on_member(member);
}

Status Core::may_speak() const {
    if (held_back_ && !foreign_seeds_.empty()) {
        const auto& [seed, why] = *foreign_seeds_.begin();
        return fail(Errc::unavailable, "this node has met no member of its mesh: seed " + seed.str() +
                                           " refused it: " + why);
    }
    const auto counts = parts_.gossip.counts();
    if ((parts_.now() >= alone_until_ && !held_back_) || counts.alive + counts.suspect > 0) return {};
    return fail(Errc::unavailable, "this node has met none of its seeds yet; try again, or look at "
                                   "the seeds of its configuration");
}

void Core::note_caught_up() {
    if (caught_up_ || !started_) return;
    caught_up_ = may_speak() && parts_.repo.stats().shards_copying == 0;
}

Status Core::ready() const {
    FR_TRY(may_speak());
    const auto rows = parts_.repo.stats();
    const auto counts = parts_.gossip.counts();
    if (rows.shards_copying > 0 && counts.alive + counts.suspect == 0) {
        return fail(Errc::unavailable, "this node has met no member of its mesh since its start and does not "
                                       "speak for them while they may come back");
    }
    // Only after a start: who takes over a shard later answers for all the others, and for this one in a second.
    if (caught_up_ || parts_.now() >= catch_up_until_) return {};
    return fail(Errc::unavailable, "this node is still copying the rows of " + std::to_string(rows.shards_copying) +
                                       " of the " + std::to_string(rows.shards_owned) +
                                       " shards that it owns; owners that are away are waited for until they "
                                       "can be given up, 120 s at most");
}

void Core::note_whole() {
    if (parts_.repo.memory_changes() == whole_changes_ || !started_) return;
    whole_changes_ = parts_.repo.memory_changes();
    save_peers_at_ = std::min(save_peers_at_, parts_.now() + kSavePeersSoon);
}

void Core::save_peers() {
    save_peers_at_ = parts_.now() + kSavePeersEvery;
    const auto whole = parts_.repo.memory();
    std::vector<store::PeerRecord> records;
    // The dead, too, while their grace lasts, and those that this run has not met: a cut may end after a restart
    // of this node, and a node that forgets an owner takes fewer than a quorum for one.
    for (const NodeId& id : parts_.owners.ranked(0, kPeersSaved)) {
        if (id == parts_.self) continue;
        const auto shards = whole.find(id);
        records.push_back({id, encode_peer(*parts_.owners.find(id), shards == whole.end() ? Bytes{} : shards->second,
                                           parts_.epoch)});
    }
    parts_.store.save_peers(std::move(records), [](Status status) {
        if (!status) log::warn("peers.not_saved", {{"why", describe(status.error())}});
    });
}

}  // namespace fastreg::node
