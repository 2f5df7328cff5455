#include "node/core.h"

#include <algorithm>

#include "base/log.h"
#include "wire/directory.h"
#include "wire/gossip.h"
#include "wire/pack.h"
#include "wire/repo.h"

namespace fastreg::node {

namespace {

constexpr Duration kSavePeersEvery = 60s;
constexpr Duration kSavePeersSoon = 1s;  // after a change
/// A new node that was given seeds and has met none of them may be the first of its mesh.
constexpr Duration kAloneAfter = 30s;
constexpr std::size_t kPeersSaved = 64;

constexpr bool in_family(std::uint8_t type, wire::FrameType first, wire::FrameType last) {
    return type >= static_cast<std::uint8_t>(first) && type <= static_cast<std::uint8_t>(last);
}

gossip::Self self_of(const store::Store& store, const CoreOptions& options) {
    const auto identity = store.identity();
    return {identity.node,   identity.boot_epoch, options.name, options.zone,
            options.gossip,  options.transfer,    options.rdma, options.http};
}

Member member_of(const gossip::Self& self) {
    Member member;
    member.id = self.id;
    member.boot_epoch = self.boot_epoch;
    member.name = self.name;
    member.zone = self.zone;
    member.gossip = self.gossip;
    member.transfer = self.transfer;
    member.rdma = self.rdma;
    member.http = self.http;
    return member;
}

enum PeerKey { kName = 1, kGossip = 2, kTransfer = 3, kHttp = 4, kZone = 5 };

Bytes encode_peer(const Member& member) {
    wire::MapWriter map;
    map.put(kName, member.name).put(kGossip, member.gossip).put(kTransfer, member.transfer);
    map.put(kHttp, member.http).put(kZone, member.zone);
    return map.finish();
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

store::Row to_store(const repo::Row& row) {
    return {row.repository, row.key, row.value, row.hlc, row.writer, row.tombstone};
}

repo::Row to_repo(store::Row&& row) {
    return {std::move(row.repo), std::move(row.key), std::move(row.value), row.hlc, row.writer,
            row.tombstone};
}

}  // namespace

Core::Core(Net& net, store::Store& store, CoreOptions options, Rng rng)
    : parts_{net,
             store,
             store.identity().node,
             store.identity().boot_epoch,
             options,
             {},
             gossip::Gossip(self_of(store, options), options.gossip_options, rng.fork()),
             {store.identity().node, store.identity().boot_epoch, options.directory_options, rng.fork()},
             {store.identity().node, store.identity().boot_epoch, options.repo_options, rng.fork()},
             transfer::Transfer(store.identity().node, options.zone, options.transfer_options, *this,
                                rng.fork()),
             {},
             {},
             {},
             {},
             [this] { drain(); }},
      downloads_(parts_),
      homes_(parts_, downloads_) {
    std::vector<repo::Row> rows;
    for (auto& row : store.take_rows()) rows.push_back(to_repo(std::move(row)));
    parts_.repo.load(net.wall_ms(), std::move(rows));
    store.observe({[this](const Digest& digest, const store::BlobInfo& info, store::WithdrawReason why) {
        on_withdrawn(digest, info, why);
    }});
}

Core::~Core() {
    parts_.store.observe({});
}

void Core::start(const std::vector<Endpoint>& seeds) {
    const Member self = member_of(self_of(parts_.store, parts_.options));
    for (const auto& home : parts_.store.homes()) {
        if (!parts_.store.find(home.digest)) homes_.restore(home.digest, home.size);
    }
    std::vector<Member> known;
    for (const auto& record : parts_.store.take_peers()) {
        auto member = decode_peer(record);
        if (member && member->id != self.id) known.push_back(std::move(*member));
    }
    // Who owned rows and shards with this node when it last ran owns them still, until it answers or its
    // grace ends: a node that has met nobody yet must not speak for a mesh.
    for (Member peer : known) {
        peer.state = MemberState::dead;
        peer.state_since = parts_.now();
        member_changed(peer);
    }
    member_changed(self);
    if (known.empty() && !seeds.empty()) alone_until_ = parts_.now() + kAloneAfter;
    started_ = true;
    for (const auto& entry : parts_.store.list()) {
        const auto kind = entry.info.home ? directory::HolderKind::home : directory::HolderKind::cache;
        parts_.directory.on_have(parts_.now(), entry.digest, entry.info.size, kind, parts_.directory_out);
    }
    parts_.gossip.start(parts_.now(), seeds, known, parts_.gossip_out);
    save_peers_at_ = parts_.now() + kSavePeersEvery;
    drain();
}

void Core::join(const Endpoint& seed) {
    parts_.gossip.add_seed(parts_.now(), seed, parts_.gossip_out);
    drain();
}

void Core::stop() {
    save_peers();
    parts_.gossip.stop(parts_.now(), parts_.gossip_out);
    drain();
}

void Core::leave() {
    parts_.gossip.leave(parts_.now(), parts_.gossip_out);
    drain();
}

void Core::on_frame(NodeId from, wire::Purpose purpose, const wire::Frame& frame) {
    using wire::FrameType;
    const auto reject = [&](const Error& error) {
        log::warn("frame.rejected", {{"from", from.brief()}, {"type", frame.type}, {"why", error.what}});
    };
    const Instant now = parts_.now();
    if (in_family(frame.type, FrameType::gossip_first, FrameType::gossip_last)) {
        if (purpose != wire::Purpose::gossip) return;
        if (Meters* meters = parts_.options.meters) {
            meters->gossip_in.add(wire::kFrameHeaderSize + frame.body.size());
        }
        const auto message = wire::decode_gossip(frame);
        if (!message) return reject(message.error());
        parts_.gossip.on_message(now, from, *message, parts_.gossip_out);
    } else if (in_family(frame.type, FrameType::directory_first, FrameType::directory_last)) {
        const auto message = wire::decode_directory(frame);
        if (!message) return reject(message.error());
        parts_.directory.on_message(now, from, *message, parts_.directory_out);
    } else if (in_family(frame.type, FrameType::repo_first, FrameType::repo_last)) {
        const auto message = wire::decode_repo(frame);
        if (!message) return reject(message.error());
        parts_.repo.on_message(now, parts_.net.wall_ms(), from, *message, parts_.repo_out);
    } else if (in_family(frame.type, FrameType::node_first, FrameType::node_last)) {
        const auto message = wire::decode_node(frame);
        if (!message) return reject(message.error());
        homes_.on_message(from, *message);
    }
    drain();
}

void Core::on_link_up(NodeId peer, wire::Purpose purpose) {
    if (purpose == wire::Purpose::gossip) parts_.gossip.on_link_up(parts_.now(), peer, parts_.gossip_out);
    drain();
}

void Core::on_link_down(NodeId peer, wire::Purpose purpose) {
    if (purpose == wire::Purpose::gossip) {
        parts_.gossip.on_link_down(parts_.now(), peer, parts_.gossip_out);
    } else {
        parts_.directory.on_unreachable(parts_.now(), peer, parts_.directory_out);
        parts_.repo.on_unreachable(parts_.now(), peer, parts_.repo_out);
    }
    drain();
}

void Core::on_send_failed(NodeId to, const Endpoint& address, wire::Purpose purpose) {
    if (purpose == wire::Purpose::gossip) {
        parts_.gossip.on_send_failed(parts_.now(), to, address, false, parts_.gossip_out);
        drain();
    } else {
        on_link_down(to, purpose);
    }
}

void Core::on_transfer(NodeId from, const wire::TransferMessage& message) {
    parts_.transfer.on_message(parts_.now(), from, message, parts_.transfer_out);
    drain();
}

void Core::on_fetch_end(NodeId from, RequestId request, transfer::ChunkOutcome outcome,
                        std::uint64_t bytes) {
    downloads_.on_fetch_end(from, request, outcome, bytes);
}

void Core::on_fetch_bytes(NodeId from, RequestId request, std::uint64_t bytes) {
    parts_.transfer.on_bytes(parts_.now(), from, request, bytes);
}

void Core::on_serve_end(NodeId to, RequestId request, bool ok) {
    parts_.transfer.on_served(parts_.now(), to, request, ok, parts_.transfer_out);
    drain();
}

void Core::on_data_link_down(NodeId peer) {
    parts_.transfer.on_link_down(parts_.now(), peer, parts_.transfer_out);
    drain();
}

void Core::on_deadline() {
    const Instant now = parts_.now();
    if (parts_.gossip.next_deadline() <= now) parts_.gossip.on_deadline(now, parts_.gossip_out);
    if (parts_.directory.next_deadline() <= now) parts_.directory.on_deadline(now, parts_.directory_out);
    if (parts_.repo.next_deadline() <= now) {
        parts_.repo.on_deadline(now, parts_.net.wall_ms(), parts_.repo_out);
    }
    if (parts_.transfer.next_deadline() <= now) parts_.transfer.on_deadline(now, parts_.transfer_out);
    if (parts_.owners.next_deadline() <= now) parts_.owners.on_deadline(now);
    if (homes_.next_deadline() <= now) homes_.on_deadline(now);
    if (parts_.store.next_deadline() <= now) parts_.store.tick(now);
    if (save_peers_at_ <= now) save_peers();
    drain();
}

void Core::drain() {
    if (draining_) return;
    draining_ = true;
    const auto run = [this](auto& box) {
        if (box.empty()) return false;
        auto batch = std::exchange(box, {});
        for (auto& action : batch) act(action);
        return true;
    };
    while (run(parts_.gossip_out) || run(parts_.directory_out) || run(parts_.repo_out) ||
           run(parts_.transfer_out)) {
    }
    draining_ = false;
    arm();
}

void Core::arm() {
    Instant next = std::min({parts_.gossip.next_deadline(), parts_.directory.next_deadline(),
                             parts_.repo.next_deadline(), parts_.transfer.next_deadline(),
                             parts_.owners.next_deadline(), homes_.next_deadline()});
    next = std::min({next, parts_.store.next_deadline(), save_peers_at_});
    parts_.net.set_deadline(next);
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
    } else if (const auto* keep = std::get_if<gossip::KeepLinks>(&action)) {
        parts_.net.keep_links(keep->members);
    } else if (const auto* refuted = std::get_if<gossip::Refuted>(&action)) {
        log::warn("member.refuted", {{"accused_of", name_of(refuted->accused_of)},
                                     {"by", refuted->by.brief()},
                                     {"incarnation", refuted->incarnation}});
    } else if (const auto* conflict = std::get_if<gossip::IdentityConflict>(&action)) {
        log::error("member.identity_conflict",
                   {{"other", conflict->other.str()},
                    {"why", conflict->why},
                    {"do", "two nodes share one data directory's node_id; remove the data of one"}});
    } else if (const auto* warn = std::get_if<gossip::Warn>(&action)) {
        log::warn("gossip", {{"what", warn->text}});
    }
}

void Core::member_changed(const Member& member) {
    const Instant now = parts_.now();
    parts_.owners.on_member(now, member);
    parts_.directory.on_member(now, member, parts_.directory_out);
    parts_.repo.on_member(now, member, parts_.repo_out);
    if (member.id == parts_.self) return;
    if (started_) save_peers_at_ = std::min(save_peers_at_, now + kSavePeersSoon);
    parts_.transfer.on_member(now, member, parts_.transfer_out);
    homes_.on_member(member);
}

void Core::act(directory::Action& action) {
    if (auto* send = std::get_if<directory::Send>(&action)) {
        if (!parts_.send_directory(send->to, wire::encode(send->message))) {
            parts_.directory.on_unreachable(parts_.now(), send->to, parts_.directory_out);
        }
    } else if (const auto* found = std::get_if<directory::Found>(&action)) {
        if (const auto ask = asks_.find(found->id); ask != asks_.end()) {
            const auto answer = std::move(ask->second);
            asks_.erase(ask);
            answer(found->holders);
            return;
        }
        downloads_.on_found(*found);
        homes_.on_found(*found);
    } else if (const auto* failed = std::get_if<directory::LookupFailed>(&action)) {
        if (const auto ask = asks_.find(failed->id); ask != asks_.end()) {
            const auto answer = std::move(ask->second);
            asks_.erase(ask);
            answer({});
            return;
        }
        downloads_.on_lookup_failed(*failed);
        homes_.on_lookup_failed(*failed);
    }
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

void Core::act(transfer::Action& action) {
    namespace t = transfer;
    if (auto* send = std::get_if<t::Send>(&action)) {
        const Endpoint address = parts_.transfer_address(send->to);
        if (address.empty()) {
            parts_.transfer.on_link_down(parts_.now(), send->to, parts_.transfer_out);
        } else {
            parts_.net.send_data(send->to, address, std::move(send->message));
        }
    } else if (const auto* fetch = std::get_if<t::FetchChunk>(&action)) {
        downloads_.fetch(*fetch);
    } else if (const auto* cancel = std::get_if<t::CancelFetch>(&action)) {
        parts_.net.cancel_fetch(cancel->from, cancel->request);
    } else if (const auto* serve = std::get_if<t::ServeChunk>(&action)) {
        downloads_.serve(*serve);
    } else if (const auto* stop = std::get_if<t::CancelServe>(&action)) {
        parts_.net.cancel_serve(stop->to, stop->request);
    } else if (const auto* ask = std::get_if<t::LookUp>(&action)) {
        downloads_.look_up(*ask);
    } else if (const auto* open = std::get_if<t::OpenPartial>(&action)) {
        downloads_.open_partial(*open);
    } else if (const auto* chain = std::get_if<t::NeedChain>(&action)) {
        downloads_.need_chain(*chain);
    } else if (const auto* have = std::get_if<t::Have>(&action)) {
        downloads_.have(have->digest);
    } else if (const auto* wrong = std::get_if<t::Unverify>(&action)) {
        downloads_.unverify(*wrong);
    } else if (const auto* progress = std::get_if<t::Progress>(&action)) {
        downloads_.have(progress->digest);
    } else if (const auto* completed = std::get_if<t::Completed>(&action)) {
        downloads_.completed(*completed);
    } else if (const auto* failed = std::get_if<t::Failed>(&action)) {
        downloads_.failed(*failed);
    } else if (const auto* blame = std::get_if<t::Blame>(&action)) {
        if (Meters* meters = parts_.options.meters) meters->peers_blamed.add();
        log::warn("peer.blamed", {{"peer", blame->node.brief()},
                                  {"digest", blame->digest.brief()},
                                  {"why", blame->why}});
    } else if (const auto* hint = std::get_if<t::WrongHint>(&action)) {
        parts_.directory.on_wrong_hint(parts_.now(), hint->digest, hint->node, parts_.directory_out);
    } else if (const auto* drop = std::get_if<t::DropLink>(&action)) {
        parts_.net.drop_data(drop->node, drop->why);
    }
}

Status Core::may_speak() const {
    const auto counts = parts_.gossip.counts();
    if (parts_.now() >= alone_until_ || counts.alive + counts.suspect > 0) return {};
    return fail(Errc::unavailable, "this node has met none of its seeds yet; try again, or look at "
                                   "the seeds of its configuration");
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

void Core::on_pushed(const Digest& digest, std::uint64_t size) {
    const auto info = parts_.store.find(digest);  // pushed before, it may be a home already
    const auto kind = info && info->home ? directory::HolderKind::home : directory::HolderKind::cache;
    parts_.directory.on_have(parts_.now(), digest, size, kind, parts_.directory_out);
    parts_.transfer.on_complete_blob(parts_.now(), digest, size, parts_.transfer_out);
    downloads_.came_whole(digest);
    // Copying starts now; the manifest's push waits for the end of it.
    homes_.ensure(digest, size, parts_.now() + 600s, [](const Copies&) {});
    drain();
}

void Core::holders(const Digest& digest,
                   std::function<void(std::vector<directory::Holder>)> answer) {
    const directory::LookupId id = next_ask_++;
    asks_.emplace(id, std::move(answer));
    parts_.directory.look_up(parts_.now(), id, digest, directory::Intent::ask, parts_.directory_out);
    drain();
}

void Core::remove_blob(const Digest& digest, std::function<void(Status)> done) {
    parts_.directory.on_gone(parts_.now(), digest, parts_.directory_out);
    parts_.transfer.on_blob_gone(parts_.now(), digest, parts_.transfer_out);
    downloads_.on_withdrawn(digest);
    parts_.store.remove(digest, std::move(done));
    drain();
}

void Core::on_withdrawn(const Digest& digest, const store::BlobInfo& info, store::WithdrawReason reason) {
    log::error("blob.withdrawn", {{"digest", digest.brief()},
                                  {"why", name_of(reason)},
                                  {"bytes", info.size},
                                  {"do", info.home ? "a copy is fetched from a peer" : "none"}});
    downloads_.on_withdrawn(digest);
    parts_.directory.on_gone(parts_.now(), digest, parts_.directory_out);
    parts_.transfer.on_blob_gone(parts_.now(), digest, parts_.transfer_out);
    if (info.home) homes_.restore(digest, info.size);
    drain();
}

std::optional<std::uint64_t> Core::complete_size(const Digest& digest) const {
    const auto info = parts_.store.find(digest);
    if (!info || !info->verified) return std::nullopt;
    return info->size;
}

void Core::save_peers() {
    save_peers_at_ = parts_.now() + kSavePeersEvery;
    std::vector<store::PeerRecord> records;
    for (const Member& member : parts_.gossip.members()) {
        if (records.size() >= kPeersSaved) break;
        // The dead, too, while their grace lasts: a cut may end after a restart of this node.
        if (parts_.owners.find(member.id) != nullptr) records.push_back({member.id, encode_peer(member)});
    }
    parts_.store.save_peers(std::move(records), [](Status status) {
        if (!status) log::warn("peers.not_saved", {{"why", describe(status.error())}});
    });
}

}  // namespace fastreg::node
