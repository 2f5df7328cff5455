#include "node/homes.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace fastreg::node {

namespace {
/// A home that has not answered is asked again; it may have lost the question, or be fetching still.
constexpr Duration kAskAgain = 3s;
/// A member that leaves may be restarted instead, and stay.
constexpr Duration kLeaverStays = 60s;
/// Nobody but a node that leaves waits for it.
constexpr Duration kReleaseAgain = 15s;
constexpr std::size_t kShortMax = 100'000;
/// A home without its bytes looks for them this often.
constexpr Duration kRestoreAgain = 30s;
/// Copies that nobody waits for are given up after this, and those that a look-over failed to make are begun anew.
constexpr Duration kCatchUp = 600s;
/// One that died, or that stops, may come back with its copies.
constexpr Duration kReplaceDead = 600s;
/// Who starts, or takes over a shard, is told of the homes there are within this: the directory is not asked earlier.
constexpr Duration kSettle = 5s;
/// So many blobs at a time are looked over, so that pushes and pulls go on beside it.
constexpr std::size_t kLookOverMax = 16;
/// Look-ups of this file; those of downloads count from 1 (node/downloads.cc).
constexpr directory::LookupId kLookupBase = directory::LookupId{1} << 62U;
}  // namespace

std::size_t Homes::wanted(bool elsewhere) const {
    const std::size_t alive = parts_.gossip.counts().alive;
    const auto leave = static_cast<std::size_t>(std::ranges::count_if(leavers_, [&](const auto& entry) {
        const Member* member = parts_.member(entry.first);
        return entry.second > parts_.now() && member != nullptr && member->state == MemberState::alive;
    }));
    return std::min(parts_.options.replicas, (elsewhere ? 0 : 1) + alive - std::min(alive, leave));
}

void Homes::ensure(const Digest& digest, std::uint64_t size, Instant deadline, Done done) {
    auto [at, is_new] = placings_.try_emplace(digest);
    at->second.size = size;
    at->second.waiters.emplace_back(deadline, std::move(done));
    advance(digest, at->second);
}

void Homes::release(const Digest& digest, std::uint64_t size, Instant deadline, Done done) {
    FR_ASSERT(!placing(digest));
    placings_[digest].release = true;
    ensure(digest, size, deadline, std::move(done));
}

void Homes::become_home(const Digest& digest, std::uint64_t size, std::optional<NodeId> holder,
                        std::function<void(Status)> done) {
    if (const auto info = parts_.store.find(digest); info && info->home && info->verified) {
        done({});
        return;
    }
    downloads_.acquire(digest, size, true, holder, [this, digest, size, done = std::move(done)](Status status) {
        if (!status) {
            done(std::move(status));
            return;
        }
        const auto info = parts_.store.find(digest);
        const std::uint64_t hashed = info ? info->size : size;  // what was asked for is a claim
        parts_.store.set_home(digest, hashed, true, [this, digest, hashed, done](Status kept) {
            if (kept && !parts_.store.find(digest)) {
                kept = fail(Errc::not_found, "the blob left this node before it was a home of it");
                restore(digest, hashed);  // the row wants it
            }
            if (kept) {
                parts_.directory.on_have(parts_.now(), digest, hashed, directory::HolderKind::home,
                                         parts_.directory_out);
            }
            done(std::move(kept));
            parts_.drain();
        });
    });
}

void Homes::advance(const Digest& digest, Placing& placing) {
    const std::size_t need = wanted(placing.release);
    if (!placing.here && !placing.here_asked && !placing.look_first && !placing.release && parts_.store.find(digest)) {
        placing.here_asked = true;
        become_home(digest, placing.size, std::nullopt, [this, digest](Status status) {
            const auto at = placings_.find(digest);
            if (at == placings_.end()) return;
            at->second.here = status.has_value();
            if (!status) {
                log::error("home.not_kept", {{"digest", digest.brief()}, {"why", describe(status.error())}});
                at->second.here_asked = false;
                at->second.again = parts_.now() + kAskAgain;
                return;
            }
            advance(digest, at->second);
        });
        if (!placings_.contains(digest)) return;  // it finished inside the call
    } else if (!placing.here && !placing.here_asked && !placing.looked_up) {
        // Its homes are known to the directory.
        placing.looked_up = true;
        const directory::LookupId id = kLookupBase + next_request_++;
        lookups_[id] = digest;
        parts_.directory.look_up(parts_.now(), id, digest, directory::Intent::ask, parts_.directory_out);
        parts_.drain();
        return;
    } else if (!placing.here && !placing.here_asked && !lookups_.empty() &&
               std::any_of(lookups_.begin(), lookups_.end(),
                           [&](const auto& open) { return open.second == digest; })) {
        return;
    }
    std::size_t kept = placing.homes.size() + (placing.here ? 1 : 0);
    if (kept >= need) {
        finish(placings_.find(digest), false);
        return;
    }
    // Nodes of other zones first, then by weight, so that one zone's loss does not take every copy.
    auto ranked = parts_.owners.ranked(shard_of(digest), parts_.owners.size());
    std::stable_partition(ranked.begin(), ranked.end(), [&](const NodeId& id) {
        const Member* member = parts_.member(id);
        return member != nullptr && member->zone != parts_.gossip.self().zone;
    });
    std::size_t pending = 0;
    for (const auto& [id, asked] : placing.asked) {
        const Member* member = parts_.member(id);
        if (member != nullptr && member->reachable()) ++pending;
    }
    const std::size_t here = (placing.here || placing.here_asked) ? 1 : 0;
    for (const NodeId& id : ranked) {
        if (placing.homes.size() + pending + here >= need) break;
        if (!may_ask(placing, id)) continue;
        ask(digest, placing, id);
        ++pending;
    }
    // Everybody refused. Only a client waits for a change of mind; a look-over has others to see to.
    const bool idle = pending == 0 && (placing.here || !placing.here_asked);
    if (idle && placing.looked_over && placing.waiters.size() == 1) finish(placings_.find(digest), false);
}

bool Homes::may_ask(const Placing& placing, const NodeId& node) const {
    const Member* member = parts_.member(node);
    if (node == parts_.self || member == nullptr || member->state != MemberState::alive) return false;
    return !placing.homes.contains(node) && !placing.asked.contains(node) && !placing.refused.contains(node);
}

void Homes::ask(const Digest& digest, Placing& placing, const NodeId& node) {
    const RequestId request = next_request_++;
    placing.asked[node] = {request, parts_.now() + kAskAgain};
    parts_.send_directory(node, wire::encode(wire::HomeRequest{request, digest, placing.size}));
}

std::vector<std::string> Homes::missing(const Placing& placing) const {
    std::set<NodeId> all;
    for (const auto& [id, asked] : placing.asked) all.insert(id);
    for (const auto& [id, said] : placing.refusals) all.insert(id);
    std::vector<std::string> names;
    for (const NodeId& id : all) {
        const Member* member = parts_.member(id);
        std::string name = member != nullptr ? member->name : id.brief();
        const auto said = placing.refusals.find(id);
        if (said != placing.refusals.end() && !said->second.empty()) name += " (" + said->second + ")";
        names.push_back(std::move(name));
    }
    return names;
}

std::vector<std::string> Homes::waits_for(const Digest& digest) const {
    const auto at = placings_.find(digest);
    return at == placings_.end() ? std::vector<std::string>{} : missing(at->second);
}

void Homes::finish(std::map<Digest, Placing>::iterator at, bool late) {
    if (at == placings_.end()) return;
    const Digest digest = at->first;
    Placing& placing = at->second;
    Copies copies;
    copies.kept = placing.homes.size() + (placing.here ? 1 : 0);
    copies.wanted = wanted(placing.release);
    copies.missing = missing(placing);
    if (copies.kept < parts_.options.replicas) {
        if (short_.size() < kShortMax && !placing.release) short_.insert(digest);
    } else {
        short_.erase(digest);
    }
    std::vector<Done> told;
    if (late) {
        const Instant now = parts_.now();
        std::erase_if(placing.waiters, [&](auto& waiter) {
            if (waiter.first > now) return false;
            told.push_back(std::move(waiter.second));
            return true;
        });
        if (placing.waiters.empty()) placings_.erase(at);
    } else {
        for (auto& waiter : placing.waiters) told.push_back(std::move(waiter.second));
        placings_.erase(at);
    }
    for (const Done& done : told) done(copies);
    parts_.drain();
}

void Homes::on_start() {
    if (parts_.options.replicas < 2) return;
    for (const auto& home : parts_.store.homes()) {
        if (short_.size() < kShortMax) short_.insert(home.digest);
    }
    doubt_own();
}

void Homes::on_message(NodeId from, const wire::NodeMessage& message) {
    if (const auto* ask = std::get_if<wire::HomeRequest>(&message)) {
        if (leaving_) {
            parts_.send_directory(from, wire::encode(wire::HomeReply{ask->request, false, "it leaves the mesh", true}));
            return;
        }
        const auto [at, is_new] = keeping_.insert_or_assign({from, ask->digest}, ask->request);
        if (!is_new) return;  // asked again; one answer is enough
        become_home(ask->digest, ask->size, from, [this, from, digest = ask->digest](Status status) {
            const RequestId request = keeping_.extract({from, digest}).mapped();
            if (!status) {
                log::warn("home.not_kept", {{"digest", digest.brief()}, {"why", describe(status.error())}});
            }
            wire::HomeReply reply{request, status.has_value(), status ? "" : describe_outside(status.error())};
            parts_.send_directory(from, wire::encode(reply));
        });
        return;
    }
    const auto& reply = std::get<wire::HomeReply>(message);
    for (auto& [digest, placing] : placings_) {
        const auto asked = placing.asked.find(from);
        if (asked == placing.asked.end() || asked->second.request != reply.request) continue;
        placing.asked.erase(asked);
        if (reply.kept) {
            placing.homes.insert(from);
            placing.refusals.erase(from);
        } else {
            placing.refused.insert(from);
            placing.refusals[from] = reply.text;
            if (reply.leaving) leavers_[from] = parts_.now() + kLeaverStays;
            placing.again = parts_.now() + (placing.release ? kReleaseAgain : kAskAgain);
            log::warn("home.refused",
                      {{"digest", digest.brief()}, {"by", from.brief()}, {"why", reply.text}});
        }
        advance(Digest(digest), placing);
        return;
    }
}

void Homes::on_member(const Member& member) {
    if (member.state == MemberState::alive) {
        gone_.erase(member.id);
        leavers_.erase(member.id);  // a new life, or a new address
        if (met_.insert(member.id).second) doubt(short_);  // here is somebody to keep what was missing
        return;
    }
    if (member.reachable()) return;
    met_.erase(member.id);
    on_gone(member);
    std::vector<Digest> touched;
    for (auto& [digest, placing] : placings_) {
        const bool lost = placing.homes.erase(member.id) > 0;
        placing.refusals.erase(member.id);
        if (placing.asked.contains(member.id) || lost) touched.push_back(digest);
        placing.asked.erase(member.id);
    }
    for (const Digest& digest : touched) {
        if (const auto at = placings_.find(digest); at != placings_.end()) advance(digest, at->second);
    }
}

void Homes::on_gone(const Member& member) {
    if (parts_.options.replicas < 2) return;  // there is no other copy
    if (member.state != MemberState::left) {
        gone_[member.id] = parts_.now() + kReplaceDead;
        return;
    }
    gone_.erase(member.id);
    for (const auto& home : parts_.store.homes()) short_.insert(home.digest);
    doubt_own();
}

void Homes::doubt(const std::set<Digest>& digests) {
    unsure_.insert(digests.begin(), digests.end());
    if (unsure_.empty()) return;
    unsure_since_ = std::min(unsure_since_, parts_.now());
    settle_at_ = parts_.now() + kSettle;
}

void Homes::doubt_own() {
    std::set<Digest> all;
    for (const auto& home : parts_.store.homes()) all.insert(home.digest);
    doubt(all);
}

bool Homes::anybody_away() const {
    const auto all = parts_.owners.ranked(0, parts_.owners.size());
    return std::ranges::any_of(
        all, [&](const NodeId& id) { return id != parts_.self && !parts_.owners.reachable(id); });
}

// The directory does not name the homes that are away, though they come back with their copies: a restart of one
// node while another one starts would have every blob of both copied, and nothing removes a copy too many.
void Homes::settle_doubts(Instant now) {
    const bool long_enough = now >= unsure_since_ + kReplaceDead;
    if (now < settle_at_ && !long_enough) return;
    if (anybody_away() && !long_enough) {
        settle_at_ = now + kSettle;
        return;
    }
    for (const Digest& digest : unsure_) enqueue(digest, now);
    unsure_.clear();
    unsure_since_ = settle_at_ = Instant::never();
}

void Homes::look_over_some(Instant now) {
    if (leaving_) return;
    if (std::erase_if(gone_, [&](const auto& member) { return member.second <= now; }) > 0) doubt_own();
    settle_doubts(now);
    for (std::size_t n = 0; n < kLookOverMax && looking_over_ < kLookOverMax; ++n) {
        if (queue_.empty() || queue_.begin()->first > now) return;
        const Digest digest = queue_.extract(queue_.begin()).value().second;
        queued_.erase(digest);
        if (const auto info = parts_.store.find(digest)) {
            look_over(digest, info->size);
        } else if (!lost_.contains(digest)) {
            short_.erase(digest);
        }
    }
}

void Homes::enqueue(const Digest& digest, Instant due) {
    const auto [at, is_new] = queued_.try_emplace(digest, due);
    if (!is_new && at->second <= due) return;
    queue_.erase({at->second, digest});
    at->second = due;
    queue_.emplace(due, digest);
}

void Homes::look_over(const Digest& digest, std::uint64_t size) {
    if (placings_.contains(digest)) return;  // it is counted at the end of that
    Placing& placing = placings_[digest];
    placing.look_first = placing.looked_over = true;
    ++looking_over_;
    ensure(digest, size, parts_.now() + kCatchUp, [this, digest](const Copies& copies) {
        --looking_over_;
        // Behind all that was not tried yet: those whose members refuse must not keep out the others.
        if (!copies.enough()) enqueue(digest, parts_.now() + kCatchUp);
    });
}

void Homes::on_found(const directory::Found& found) {
    const auto open = lookups_.find(found.id);
    if (open == lookups_.end()) return;
    const Digest digest = open->second;
    lookups_.erase(open);
    const auto at = placings_.find(digest);
    if (at == placings_.end()) return;
    for (const auto& holder : found.holders) {
        const bool home = holder.kind == directory::HolderKind::home;
        if (!home || holder.node == parts_.self) continue;
        if (!at->second.release) {
            at->second.homes.insert(holder.node);
        } else if (may_ask(at->second, holder.node)) {
            ask(digest, at->second, holder.node);  // a directory's word is none to give up a copy on
        }
    }
    at->second.look_first = false;
    if (!at->second.release && at->second.homes.size() < wanted() && !parts_.store.find(digest)) {
        // Too few: this node fetches it and becomes one itself.
        at->second.here_asked = true;
        become_home(digest, at->second.size, std::nullopt, [this, digest](Status status) {
            const auto placing = placings_.find(digest);
            if (placing == placings_.end()) return;
            placing->second.here = status.has_value();
            placing->second.here_asked = status.has_value();
            if (status) {
                advance(digest, placing->second);
            } else {
                placing->second.looked_up = false;
                placing->second.again = parts_.now() + kAskAgain;
            }
        });
        return;
    }
    advance(digest, at->second);
}

void Homes::on_lookup_failed(const directory::LookupFailed& failed) {
    const auto open = lookups_.find(failed.id);
    if (open == lookups_.end()) return;
    const Digest digest = open->second;
    lookups_.erase(open);
    if (const auto at = placings_.find(digest); at != placings_.end()) {
        at->second.looked_up = false;
        at->second.again = parts_.now() + 1s;
    }
}

void Homes::on_deadline(Instant now) {
    std::vector<Digest> all;
    for (const auto& [digest, placing] : placings_) all.push_back(digest);
    for (const Digest& digest : all) {
        auto at = placings_.find(digest);
        if (at == placings_.end()) continue;
        for (auto& [id, asked] : at->second.asked) {
            if (asked.again > now) continue;
            asked.again = now + kAskAgain;
            parts_.send_directory(id,
                                  wire::encode(wire::HomeRequest{asked.request, digest, at->second.size}));
        }
        const bool late = std::any_of(at->second.waiters.begin(), at->second.waiters.end(),
                                      [&](const auto& waiter) { return waiter.first <= now; });
        if (late) {
            finish(at, true);
        } else if (at->second.again <= now) {
            at->second.again = Instant::never();
            at->second.refused.clear();
            advance(digest, at->second);
        }
    }
    const auto lost = lost_;
    for (const auto& [digest, wanted] : lost) {
        if (wanted.second <= now) restore(digest, wanted.first);
    }
    look_over_some(now);
}

bool Homes::wants(const Digest& digest) const {
    const auto asked = [&](const auto& entry) { return entry.first.second == digest; };
    return placings_.contains(digest) || lost_.contains(digest) || std::ranges::any_of(keeping_, asked);
}

void Homes::restore(const Digest& digest, std::uint64_t size) {
    lost_[digest] = {size, parts_.now() + kRestoreAgain};
    if (short_.size() < kShortMax) short_.insert(digest);
    become_home(digest, size, std::nullopt, [this, digest](const Status& status) {
        if (!status) return;
        if (lost_.erase(digest) > 0) doubt({digest});
    });
}

Instant Homes::next_deadline() const {
    Instant next = Instant::never();
    for (const auto& [digest, placing] : placings_) {
        for (const auto& waiter : placing.waiters) next = std::min(next, waiter.first);
        for (const auto& [id, asked] : placing.asked) next = std::min(next, asked.again);
        next = std::min(next, placing.again);
    }
    for (const auto& [digest, wanted] : lost_) next = std::min(next, wanted.second);
    if (leaving_) return next;
    for (const auto& [id, due] : gone_) next = std::min(next, due);
    if (!queue_.empty() && looking_over_ < kLookOverMax) next = std::min(next, queue_.begin()->first);
    return std::min({next, settle_at_, unsure_since_ + kReplaceDead});
}

}  // namespace fastreg::node
