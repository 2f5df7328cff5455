#include "transfer/download.h"

#include <algorithm>
#include <utility>

#include "base/mutant.h"

namespace fastreg::transfer {
namespace {

constexpr Duration kAnswerWithin = 3s;      // an Interest
constexpr Duration kChainWithin = 400ms;    // a ChainRequest
constexpr Duration kChainRetryFirst = 5ms;  // of one that has no links yet
constexpr Duration kChainRetryMax = 500ms;
constexpr Duration kChainStall = 2s;        // without a chunk, under links that others contradict
constexpr Duration kRedial = 1s;
constexpr Duration kRedialNotHere = 30s;
constexpr Duration kPoll = 100ms;  // nothing of a running download waits longer than this
constexpr unsigned kDamagedMax = 3;
constexpr std::size_t kOffersKept = 4;

}  // namespace

Download::Download(Instant now, const Digest& digest, Context& context)
    : digest_(digest), context_(context), stored_at_(now), alive_at_(now), alive_checked_(now),
      lookup_wait_(context.options.lookup_first) {}

// What is here.

void Download::start(Instant now, Outbox& out) {
    look_up(now, out);
    plan_wake(now);
}

void Download::set_size(Instant now, std::uint64_t size, Outbox& out) {
    if (size_) return;
    if (size > kBlobSizeMax) {
        fail_with(Errc::too_large, "downloading " + digest_.str() + ": " + human_bytes(size) +
                                       " is over the limit of 1 TiB", out);
        return;
    }
    size_ = size;
    size_sure_ = size_claims_.empty();
    grid_ = ChunkGrid(size);
    have_ = ChunkMap(grid_.count());
    limbo_ = ChunkMap(grid_.count());
    trust_ = ChainTrust(digest_.alg, grid_);
    if (stored_chain_ && stored_chain_->alg() == digest_.alg) trust_.set_own(stored_chain_->bytes());
    picker_ = ChunkPicker(grid_.count());
    const double guess = context_.seconds_per_byte * static_cast<double>(grid_.chunk_size());
    pacing_ = Pacing(Duration(static_cast<std::int64_t>(guess * 1e9)));
    out.push_back(OpenPartial{digest_, size});
    for (auto& [node, neighbour] : swarm_.all()) {
        neighbour.since = now;
        neighbour.has = ChunkMap(grid_.count());
        if (neighbour.dialled) {
            greet(node, out);  // its map came before the size was sure, or comes now
        } else {
            neighbour.answered = true;
            send_map(node, out);
        }
    }
}

void Download::set_have(ChunkMap have) {
    if (size_ && !opened_ && have.count() == grid_.count()) have_ = std::move(have);
}

void Download::on_opened(Instant now, const Status& status, ChunkMap have, Outbox& out) {
    if (opened_ || !size_ || over_) return;
    if (!status) {
        fail_with(status.error().code, "making the partial file of " + digest_.str() + ": " +
                                           status.error().what, out);
        return;
    }
    if (have.count() == grid_.count()) {
        for (ChunkIndex i = have.first_set(); i < have.count(); i = have.first_set(i + 1)) have_.set(i);
    }
    opened_ = true;
    for (ChunkIndex i = have_.first_set(); i < have_.count(); i = have_.first_set(i + 1)) {
        picker_.close(i);
    }
    if (have_.set_count() != 0) {
        for (const auto& [node, neighbour] : swarm_.all()) send_map(node, out);
    }
    report_progress(out);
    finish_if_complete(out);
    alive_at_ = now;
}

void Download::on_first_hand(Instant now, ChunkIndex chunk, Bytes end_link, Outbox& out) {
    if (!size_ || !opened_ || over_ || chunk >= grid_.count()) return;
    const bool was_first_hand = first_hand();
    const Bytes old_links(trust_.links().begin(), trust_.links().end());
    if (!grid_.is_last(chunk) && !trust_.add_own(chunk, end_link)) {
        limbo_links_ = old_links;
        chain_dropped(out);
    }
    ++upstream_chunks_;
    if (!was_first_hand) {
        for (const auto& [node, neighbour] : swarm_.all()) send_map(node, out);
    }
    settle_limbo(out);
    if (!trust_.usable(chunk) || have_.has(chunk)) return;
    if (!grid_.is_last(chunk) && !std::ranges::equal(trust_.end_of(chunk), end_link)) return;
    SourceShare& share = share_of(context_.self);
    ++share.chunks;
    share.bytes += grid_.size_of(chunk);
    on_stored(now, context_.self, chunk, out);
}

void Download::on_stored(Instant now, const NodeId& from, ChunkIndex chunk, Outbox& out) {
    stored_at_ = now;
    alive_at_ = now;
    if (!have_.set(chunk)) return;
    picker_.close(chunk);
    limbo_.clear(chunk);
    // It holds when it comes from somebody who did not make the chain: the others' copies were wrong.
    if (!trust_.givers().contains(from)) name_suspects(chunk, out);
    for (bool found = true; found;) {
        found = false;
        for (const Request& request : requests_.all()) {
            if (request.chunk != chunk) continue;
            cancel_request(request, out);
            found = true;
            break;
        }
    }
    if (fresh_.empty()) fresh_since_ = now;
    fresh_.push_back(chunk);
    out.push_back(Have{digest_, chunk});
    report_progress(out);
    finish_if_complete(out);
}

void Download::finish_if_complete(Outbox& out) {
    if (over_ || !complete() || !trust_.whole()) return;
    const ByteView links = trust_.links();
    auto chain = Chain::from_bytes(digest_.alg, grid_, Bytes(links.begin(), links.end()));
    FR_ASSERT(chain.has_value());  // the grid and the length are our own
    Completed done{digest_, *size_, *std::move(chain), {}};
    for (const auto& [node, share] : shares_) done.sources.push_back(share);
    while (!requests_.all().empty()) cancel_request(requests_.all().front(), out);
    while (!bad_.empty()) name_suspects(bad_.begin()->first, out);  // the chain is proven
    out.push_back(std::move(done));
    over_ = true;
}

void Download::report_progress(Outbox& out) {
    if (!opened_) return;
    const std::uint64_t prefix = verified_run(0);
    const bool whole = complete() && trust_.whole();
    if (prefix == last_prefix_ && !whole) return;
    last_prefix_ = prefix;
    out.push_back(Progress{digest_, prefix, whole});
}

std::uint64_t Download::verified_run(std::uint64_t offset) const {
    if (!size_ || !opened_ || offset >= *size_) return offset;
    const ChunkIndex missing = have_.first_missing(grid_.index_at(offset));
    std::uint64_t end = 0;
    if (missing < grid_.count()) {
        end = grid_.offset_of(missing);
    } else {
        // The last chunk is held back until every link holds.
        end = have_.full() || mutant(Mutant::last_chunk_not_held_back) ? *size_ : grid_.offset_of(grid_.count() - 1);
    }
    return std::max(offset, end);
}

void Download::stop_quietly(Outbox& out) {
    while (!requests_.all().empty()) cancel_request(requests_.all().front(), out);
    over_ = true;
}

void Download::stop(Outbox& out) {
    stop_quietly(out);
    for (const auto& [node, neighbour] : swarm_.all()) {
        context_.send(out, node, wire::Done{digest_});
    }
}

void Download::fail_with(Errc code, std::string what, Outbox& out) {
    if (over_) return;
    stop(out);
    out.push_back(Failed{digest_, Error{code, 0, std::move(what)}});
}

// Readers.

void Download::add_reader(ReaderId reader, std::uint64_t offset, std::uint64_t end) {
    readers_[reader] = Reader{offset, end};
}

void Download::move_reader(ReaderId reader, std::uint64_t offset) {
    const auto it = readers_.find(reader);
    if (it != readers_.end()) it->second.offset = std::max(it->second.offset, offset);
}

// Neighbours.

void Download::look_up(Instant now, Outbox& out) {
    out.push_back(LookUp{digest_});
    next_lookup_ = now + context_.options.lookup_max;  // should the answer get lost
}

void Download::on_holders(Instant now, std::optional<std::uint64_t> size,
                          const std::vector<Holder>& holders, Outbox& out) {
    if (over_) return;
    next_lookup_ = now + lookup_wait_;
    lookup_wait_ = std::min(lookup_wait_ * 2, context_.options.lookup_max);
    for (const Holder& holder : holders) {
        if (holder.node != context_.self) swarm_.on_candidate(holder.node, holder.complete);
    }
    if (size && !size_) {
        size_claims_.clear();
        set_size(now, *size, out);
    }
}

void Download::on_lookup_failed(Instant now) {
    next_lookup_ = now + lookup_wait_;
    lookup_wait_ = std::min(lookup_wait_ * 2, context_.options.lookup_max);
}

void Download::dial(Instant now, Outbox& out) {
    for (const NodeId& node : swarm_.dial(now, context_)) {
        Neighbour& neighbour = *swarm_.find(node);
        if (size_) neighbour.has = ChunkMap(grid_.count());
        greet(node, out);
        if (size_ && grid_.count() == 1) assume_whole(node, neighbour);
    }
}

void Download::assume_whole(const NodeId& node, Neighbour& neighbour) {
    // A blob of one chunk: ask at once, the map would cost a round trip. A wrong guess costs a NotHere.
    if (!swarm_.named_complete(node)) return;
    neighbour.answered = true;
    neighbour.complete = true;
    neighbour.has.set_all();
    picker_.on_map(neighbour.has);
}

void Download::greet(const NodeId& node, Outbox& out) {
    context_.send(out, node, wire::Interest{digest_, size_.value_or(0), swarm_.seeds()});
    if (size_ && opened_ && have_.set_count() != 0) send_map(node, out);
}

void Download::send_map(const NodeId& node, Outbox& out) const {
    if (!size_) return;
    wire::Map map;
    map.digest = digest_;
    map.size = *size_;
    map.complete = complete() && trust_.whole();
    map.first_hand = first_hand();
    map.chunks = opened_ ? have_ : ChunkMap(grid_.count());
    context_.send(out, node, std::move(map));
}

void Download::on_interest(Instant now, const NodeId& from, const wire::Interest& message, Outbox& out) {
    if (over_) return;
    if (size_ && message.size != 0 && message.size != *size_) {
        if (size_sure_) blame(now, from, "claims a size of " + std::to_string(message.size), out);
        return;
    }
    const bool known = swarm_.find(from) != nullptr;
    if (context_.peer(from).quarantined(now) || !swarm_.let_in(now, from, context_.options)) {
        context_.send(out, from, wire::Busy{0, digest_, others_with(grid_.count(), from)});
        return;
    }
    Neighbour& neighbour = *swarm_.find(from);
    if (!size_) return;  // answered by set_size()
    if (!known) {
        neighbour.answered = true;
        neighbour.has = ChunkMap(grid_.count());
    }
    send_map(from, out);
}

void Download::on_map(Instant now, const NodeId& from, const wire::Map& message, Outbox& out) {
    Neighbour* neighbour = swarm_.find(from);
    if (neighbour == nullptr || over_) return;
    if (neighbour->dialled && !neighbour->answered) context_.peer(from).on_round_trip(now - neighbour->since);
    if (!size_) {
        if (message.size <= kBlobSizeMax) size_claims_[from] = message.size;
        neighbour->answered = true;
        settle_size(now, out);
        return;
    }
    if (message.size != *size_) {
        if (size_sure_) {
            blame(now, from, "claims a size of " + std::to_string(message.size), out);
        } else {
            remove_neighbour(now, from, kRedialNotHere, out);
        }
        return;
    }
    if (!message.complete && message.chunks.count() != grid_.count()) return;
    if (neighbour->answered) picker_.on_map_gone(neighbour->has);
    neighbour->answered = true;
    neighbour->complete = message.complete;
    neighbour->offering = message.offering;
    neighbour->first_hand = message.first_hand;
    neighbour->has = message.complete ? ChunkMap(grid_.count(), true) : message.chunks;
    neighbour->last_offer = now;
    neighbour->chain_retry = now;
    if (!message.offering) neighbour->offered.clear();
    picker_.on_map(neighbour->has);
}

void Download::settle_size(Instant now, Outbox& out) {
    // Two that agree, or the only ones that could be asked.
    if (size_ || size_claims_.empty()) return;
    std::map<std::uint64_t, std::size_t> votes;
    for (const auto& [node, size] : size_claims_) ++votes[size];
    const auto best = std::ranges::max_element(
        votes, [](const auto& a, const auto& b) { return a.second < b.second; });
    const bool waiting = std::ranges::any_of(
        swarm_.all(), [](const auto& entry) { return !entry.second.answered; });
    if (best->second >= 2 || !waiting) {
        for (auto& [node, neighbour] : swarm_.all()) neighbour.answered = false;
        set_size(now, best->first, out);
    }
}

void Download::on_have(Instant now, const NodeId& from, const wire::Have& message, Outbox& out) {
    Neighbour* neighbour = swarm_.find(from);
    if (neighbour == nullptr || !neighbour->answered || !size_ || over_) return;
    for (const ChunkIndex chunk : message.chunks) {
        if (chunk >= grid_.count()) {
            blame(now, from, "claims chunk " + std::to_string(chunk) + " of " +
                                 std::to_string(grid_.count()), out);
            return;
        }
        if (neighbour->has.set(chunk)) picker_.on_copy(chunk);
    }
    neighbour->chain_retry = now;
    neighbour->chain_backoff = {};
}

void Download::on_offer(Instant now, const NodeId& from, const wire::Offer& message, Outbox& out) {
    Neighbour* neighbour = swarm_.find(from);
    if (neighbour == nullptr || !neighbour->answered || !size_ || message.size != *size_ || over_) return;
    if (message.chunk >= grid_.count()) return;
    neighbour->last_offer = now;
    if (has(message.chunk)) {
        context_.send(out, from, wire::Have{digest_, {message.chunk}});
        return;
    }
    if (neighbour->has.set(message.chunk)) picker_.on_copy(message.chunk);
    auto& offered = neighbour->offered;
    if (offered.size() >= kOffersKept || std::ranges::find(offered, message.chunk) != offered.end()) return;
    offered.push_back(message.chunk);
}

void Download::on_done(Instant now, const NodeId& from, Outbox& out) {
    if (swarm_.find(from) != nullptr) remove_neighbour(now, from, kRedialNotHere, out);
}

void Download::on_busy(Instant now, const NodeId& from, const wire::Busy& message, Outbox& out) {
    if (over_) return;
    for (const NodeId& node : message.try_instead) {
        if (node != context_.self && node.known()) swarm_.on_candidate(node, false);
    }
    if (message.request == 0) {
        const Neighbour* neighbour = swarm_.find(from);
        if (neighbour != nullptr && neighbour->dialled) remove_neighbour(now, from, kRedial, out);
        return;
    }
    const Request* request = requests_.find(from, message.request);
    if (request == nullptr) return;
    Peer& peer = context_.peer(from);
    peer.on_round_trip(now - request->sent);
    const Duration pause = pacing_.tau().count() > 0 ? pacing_.tau() / 2 : Duration(10ms);
    peer.avoid(now + std::clamp<Duration>(pause, 200us, 500ms));
    end_request(message.request);
}

void Download::on_not_here(Instant now, const NodeId& from, const wire::NotHere& message, Outbox& out) {
    Neighbour* neighbour = swarm_.find(from);
    if (neighbour == nullptr || over_) return;
    if (message.request != 0) {
        const Request* request = requests_.find(from, message.request);
        if (request == nullptr) return;
        const ChunkIndex chunk = request->chunk;
        end_request(message.request);
        if (!message.whole) {
            if (neighbour->complete) {
                neighbour->complete = false;
            }
            if (neighbour->has.clear(chunk)) picker_.on_copy_gone(chunk);
            return;
        }
    }
    out.push_back(WrongHint{digest_, from});
    remove_neighbour(now, from, kRedialNotHere, out);
}

void Download::remove_neighbour(Instant now, const NodeId& node, Duration back_off, Outbox& out) {
    forget_requests_of(now, node, true, out);
    Neighbour* neighbour = swarm_.find(node);
    if (neighbour != nullptr && neighbour->answered && size_) picker_.on_map_gone(neighbour->has);
    swarm_.remove(now, node, back_off);
    if (few_sources()) {
        lookup_wait_ = context_.options.lookup_first;
        next_lookup_ = std::min(next_lookup_, now + lookup_wait_);
    }
    settle_size(now, out);
}

void Download::on_node_gone(Instant now, const NodeId& node, Outbox& out) {
    if (over_) return;
    forget_requests_of(now, node, false, out);
    if (swarm_.find(node) != nullptr) remove_neighbour(now, node, kRedial, out);
}

void Download::forget_requests_of(Instant, const NodeId& node, bool tell, Outbox& out) {
    for (bool found = true; found;) {
        found = false;
        for (const Request& request : requests_.all()) {
            if (request.from != node) continue;
            if (tell) out.push_back(CancelFetch{node, request.id});
            end_request(request.id);
            found = true;
            break;
        }
    }
}

void Download::end_request(RequestId id) {
    const auto it = std::ranges::find(requests_.all(), id, &Request::id);
    if (it == requests_.all().end()) return;
    const ChunkIndex chunk = it->chunk;
    requests_.remove(context_, id);
    if (!have_.has(chunk) && !limbo_.has(chunk) && requests_.live_copies(chunk) == 0) picker_.reopen(chunk);
}

void Download::cancel_request(const Request& request, Outbox& out) {
    out.push_back(CancelFetch{request.from, request.id});
    end_request(request.id);
}

void Download::flush_haves(Outbox& out) {
    fresh_since_ = Instant::never();
    for (std::size_t at = 0; at < fresh_.size(); at += wire::kHaveMax) {
        const std::size_t end = std::min(fresh_.size(), at + wire::kHaveMax);
        wire::Have have{digest_, {fresh_.begin() + static_cast<std::ptrdiff_t>(at),
                                  fresh_.begin() + static_cast<std::ptrdiff_t>(end)}};
        for (const auto& [node, neighbour] : swarm_.all()) {
            // An offering seed counts copies; another complete holder needs to know nothing.
            if (neighbour.complete && !neighbour.offering) continue;
            context_.send(out, node, have);
        }
    }
    fresh_.clear();
}

// The chain.

void Download::on_chain_request(const NodeId& from, const wire::ChainRequest& message, Outbox& out) const {
    wire::ChainPage page{digest_, message.size, message.offset, {}};
    const ByteView links = trust_.links();
    if (size_ && message.size == *size_ && message.offset < links.size() &&
        message.offset % link_size(digest_.alg) == 0) {
        const ByteView piece =
            links.subspan(message.offset, std::min(wire::kChainPageMax, links.size() - message.offset));
        page.links.assign(piece.begin(), piece.end());
    }
    context_.send(out, from, std::move(page));
}

void Download::on_chain_page(Instant now, const NodeId& from, const wire::ChainPage& message, Outbox& out) {
    Neighbour* neighbour = swarm_.find(from);
    if (neighbour == nullptr || !size_ || over_ || neighbour->chain_asked == Instant::never()) return;
    context_.peer(from).on_round_trip(now - neighbour->chain_asked);
    neighbour->chain_asked = Instant::never();
    if (message.size != *size_ || message.links.empty()) {
        neighbour->chain_backoff = neighbour->chain_backoff.count() == 0
                                       ? kChainRetryFirst
                                       : std::min(neighbour->chain_backoff * 2, kChainRetryMax);
        neighbour->chain_retry = now + neighbour->chain_backoff;
        return;
    }
    neighbour->chain_backoff = {};
    trust_.on_links(from, neighbour->authority(), message.offset, message.links);
    reconsider_chain(now, out);
    settle_limbo(out);
}

void Download::ask_for_chain(Instant now, Outbox& out) {
    if (!size_ || over_ || trust_.whole()) return;
    std::size_t asked_authorities = 0;
    std::size_t asked_others = 0;
    std::vector<NodeId> authorities;
    std::vector<NodeId> others;
    const std::size_t whole = std::size_t{grid_.count() - 1} * link_size(digest_.alg);
    for (const auto& [node, neighbour] : swarm_.all()) {
        if (!neighbour.answered || !trust_.may_give(node)) continue;
        if (neighbour.chain_asked != Instant::never() && now < neighbour.chain_asked + kChainWithin) {
            ++(neighbour.authority() ? asked_authorities : asked_others);
            continue;
        }
        if (now < neighbour.chain_retry || trust_.known_from(node) >= whole) continue;
        const ChunkIndex beyond = neighbour.has.first_set(trust_.usable_end());
        if (!neighbour.complete && beyond >= grid_.count() && limbo_.set_count() == 0) continue;
        (neighbour.authority() ? authorities : others).push_back(node);
    }
    auto ask_one = [&](std::vector<NodeId>& of) {
        const auto at = static_cast<std::size_t>(context_.rng.below(of.size()));
        ask_chain_of(now, of[at], *swarm_.find(of[at]), out);
        of.erase(of.begin() + static_cast<std::ptrdiff_t>(at));
    };
    if (asked_authorities == 0 && !authorities.empty()) {
        ask_one(authorities);
        ++asked_authorities;
    }
    if (asked_authorities != 0) return;
    while (asked_others < 2 && !others.empty()) {
        ask_one(others);
        ++asked_others;
    }
}

void Download::ask_chain_of(Instant now, const NodeId& node, Neighbour& neighbour, Outbox& out) {
    neighbour.chain_asked = now;
    const auto offset = static_cast<std::uint32_t>(trust_.known_from(node));
    context_.send(out, node, wire::ChainRequest{digest_, *size_, offset});
}

// Faults.

void Download::on_bad_chunk(Instant now, const NodeId& from, ChunkIndex chunk, Outbox& out) {
    auto& senders = bad_[chunk];
    senders.insert(from);
    const bool again = senders.size() >= 2;
    const bool gave_chain = trust_.givers().contains(from);
    if (trust_.givers().empty() || gave_chain) {
        // Our own links, or the sender's own: no doubt.
        blame(now, from, "chunk " + std::to_string(chunk) + " does not have the links of the chain", out);
        senders.erase(from);
    } else {
        shun(now, from, out);  // named once the chain is known to be right
    }
    // Two that cannot both be wrong, or a giver that is no longer believed: so is the chain.
    if (again || gave_chain) blame_chain(now, out);
}

void Download::name_suspects(ChunkIndex chunk, Outbox& out) {
    const auto bad = bad_.extract(chunk);
    if (!bad) return;
    for (const NodeId& sender : bad.mapped()) {
        out.push_back(Blame{sender, digest_,
                            "chunk " + std::to_string(chunk) + " does not have the links of the chain"});
    }
}

void Download::blame(Instant now, const NodeId& node, std::string why, Outbox& out) {
    out.push_back(Blame{node, digest_, std::move(why)});
    shun(now, node, out);
}

void Download::shun(Instant now, const NodeId& node, Outbox& out) {
    context_.peer(node).quarantine(now, context_.options);
    remove_neighbour(now, node, kRedialNotHere, out);
    swarm_.ban(node);
}

void Download::blame_chain(Instant now, Outbox& out) {
    if (trust_.givers().empty()) return;  // our own
    const std::map<NodeId, bool> givers = trust_.givers();
    for (const auto& [chunk, senders] : bad_) {
        for (const NodeId& sender : senders) {
            context_.peer(sender).absolve();
            swarm_.forgive(sender);
        }
    }
    limbo_links_.assign(trust_.links().begin(), trust_.links().end());
    trust_.drop();
    chain_dropped(out);
    // One that only passed the links on may have been deceived itself; its word on chains is not taken.
    for (const auto& [giver, authority] : givers) {
        if (authority && !swarm_.banned(giver)) {
            blame(now, giver, "gave a chain that does not lead to the digest", out);
        }
    }
}

void Download::reconsider_chain(Instant now, Outbox& out) {
    // Links that end early and that others contradict lead nowhere: hear the others.
    const bool relayed = std::ranges::none_of(
        trust_.givers(), [](const auto& giver) { return giver.second; });
    const bool stalled = now >= stored_at_ + kChainStall;
    if (trust_.givers().empty() || (!relayed && !stalled) || !trust_.contradicted(relayed && !stalled)) return;
    stored_at_ = now;
    limbo_links_.assign(trust_.links().begin(), trust_.links().end());
    trust_.set_aside();
    chain_dropped(out);
}

void Download::chain_dropped(Outbox& out) {
    while (!requests_.all().empty()) cancel_request(requests_.all().front(), out);
    for (ChunkIndex i = have_.first_set(); i < have_.count(); i = have_.first_set(i + 1)) {
        if (trust_.same_links(limbo_links_, i)) continue;  // own links stand
        have_.clear(i);
        limbo_.set(i);
    }
    std::erase_if(fresh_, [&](ChunkIndex i) { return limbo_.has(i); });
    bad_.clear();
    for (const auto& [node, neighbour] : swarm_.all()) send_map(node, out);  // withdraws what is in doubt
}

void Download::settle_limbo(Outbox& out) {
    if (limbo_.set_count() == 0) return;
    std::vector<ChunkIndex> lost;
    for (ChunkIndex i = limbo_.first_set(); i < trust_.usable_end(); i = limbo_.first_set(i + 1)) {
        limbo_.clear(i);
        if (trust_.same_links(limbo_links_, i)) {
            have_.set(i);
        } else {
            picker_.reopen(i);
            lost.push_back(i);
        }
    }
    if (limbo_.set_count() == 0) limbo_links_.clear();
    if (!lost.empty()) out.push_back(Unverify{digest_, std::move(lost)});
    report_progress(out);
    finish_if_complete(out);
}

void Download::on_chunk(Instant now, const NodeId& from, RequestId id, ChunkOutcome outcome,
                        std::uint64_t bytes, Outbox& out) {
    Request* request = requests_.find(from, id);
    if (request == nullptr || over_) return;
    const ChunkIndex chunk = request->chunk;
    Peer& peer = context_.peer(from);
    if (mutant(Mutant::have_before_verified) && outcome != ChunkOutcome::stored) fresh_.push_back(chunk);
    switch (outcome) {
        case ChunkOutcome::stored: {
            peer.on_byte(now);
            if (request->at_peer) on_sample(now, *request);
            SourceShare& share = share_of(from);
            ++share.chunks;
            share.bytes += bytes;
            requests_.remove(context_, id);
            on_stored(now, from, chunk, out);
            return;
        }
        case ChunkOutcome::bad_checksum:
            peer.on_byte(now);
            end_request(id);
            peer.avoid(now + 1s);
            if (++damaged_[from] >= kDamagedMax) blame(now, from, "sends damaged chunks", out);
            return;
        case ChunkOutcome::bad_link:
            peer.on_byte(now);
            mutant(Mutant::bad_chunk_not_fetched_again) ? requests_.remove(context_, id) : end_request(id);
            on_bad_chunk(now, from, chunk, out);
            return;
        case ChunkOutcome::disk_full:
            end_request(id);
            fail_with(Errc::no_space, "storing a chunk of " + digest_.str() +
                                          ": the disk is full; free space or raise the quota", out);
            return;
        case ChunkOutcome::disk_error:
            end_request(id);
            fail_with(Errc::io, "storing a chunk of " + digest_.str() + ": the disk reports an error", out);
            return;
        case ChunkOutcome::link_lost:
        case ChunkOutcome::refused:
            end_request(id);
            peer.avoid(now + std::clamp<Duration>(pacing_.tau() / 2, 5ms, 500ms));
            return;
    }
}

bool Download::on_bytes(Instant now, const NodeId& from, RequestId id, std::uint64_t n) {
    Request* request = requests_.find(from, id);
    if (request == nullptr) return false;
    request->got += n;
    context_.peer(from).on_byte(now);
    if (request->abandoned && picker_.is_open(request->chunk)) {
        request->abandoned = false;  // it moves again before another was asked
        picker_.close(request->chunk);
    }
    if (request->at_peer && request->got >= grid_.size_of(request->chunk)) {
        on_sample(now, *request);
        requests_.landed(context_, *request);
    }
    return true;
}

void Download::on_sample(Instant now, const Request& request) {
    const std::uint64_t bytes = grid_.size_of(request.chunk);
    if (bytes * 2 < grid_.chunk_size() && grid_.count() > 1) return;  // a short last chunk
    const Duration took = now - request.sent;
    context_.peer(request.from).on_chunk_arrived(took);
    pacing_.on_sample(took);
    if (bytes < kChunkSizeMin) return;
    const double per_byte = seconds_of(took) / static_cast<double>(bytes);
    double& average = context_.seconds_per_byte;
    average = average == 0 ? per_byte : average + (per_byte - average) / 16;
}

void Download::on_node_silent(Instant, const NodeId& node, Outbox&) {
    for (Request& request : requests_.all()) {
        if (request.from != node || !request.at_peer || request.abandoned) continue;
        request.abandoned = true;
        Requests::uncount(context_, request);
        if (requests_.live_copies(request.chunk) == 0) picker_.reopen(request.chunk);
    }
}

// Time.

void Download::tick(Instant now, Outbox& out) {
    if (over_) return;
    const Duration batch = pacing_.measured() ? pacing_.tau() / 2 : Duration(5ms);
    if (!fresh_.empty() && now >= fresh_since_ + std::min(batch, context_.options.have_batch_max)) {
        flush_haves(out);
    }
    if (now >= next_lookup_) {
        if (few_sources()) {
            look_up(now, out);
        } else {
            next_lookup_ = now + context_.options.lookup_max;
        }
    }
    std::vector<NodeId> mute;
    for (const auto& [node, neighbour] : swarm_.all()) {
        if (!neighbour.answered && now >= neighbour.since + kAnswerWithin) mute.push_back(node);
    }
    for (const NodeId& node : mute) remove_neighbour(now, node, kRedial, out);
    dial(now, out);
    reconsider_chain(now, out);
    settle_limbo(out);
    if (over_) return;
    ask_for_chain(now, out);
    mark_stale(now);
    hedge(now, out);

    if (now >= alive_checked_ + 250ms) {
        alive_checked_ = now;
        if (has_source()) alive_at_ = now;
        if (now >= alive_at_ + context_.options.no_source_timeout) {
            fail_with(Errc::unavailable,
                      "downloading " + digest_.str() + ": no member that has the missing chunks answered for " +
                          std::to_string(millis_of(context_.options.no_source_timeout) / 1000) + " s",
                      out);
        }
    }
}

void Download::plan_wake(Instant now) {
    wake_ = Instant::never();
    if (over_) return;
    auto at = [&](Instant when) {
        if (when > now) wake_ = std::min(wake_, when);
    };
    const Duration batch = pacing_.measured() ? pacing_.tau() / 2 : Duration(5ms);
    if (!fresh_.empty()) at(fresh_since_ + std::min(batch, context_.options.have_batch_max));
    at(next_lookup_);
    at(swarm_.next_dial(context_.options));
    for (const auto& [node, neighbour] : swarm_.all()) {
        if (!neighbour.answered) at(neighbour.since + kAnswerWithin);
        if (!trust_.whole()) {
            if (neighbour.chain_asked != Instant::never()) at(neighbour.chain_asked + kChainWithin);
            at(neighbour.chain_retry);
        }
        if (const Peer* peer = context_.find_peer(node)) at(peer->usable_from());
    }
    for (const Request& request : requests_.all()) {
        if (!pacing_.measured() || !request.at_peer) continue;
        if (!request.stale) at(request.sent + pacing_.tau() * 4);
        if (picker_.open_count() == 0) at(request.sent + pacing_.tau() * 2);
    }
    for (const ChunkIndex head : heads()) {
        for (const Request& request : requests_.all()) {
            if (request.chunk == head && !request.extra) at(request.sent + hedge_after(request));
        }
    }
    at(now + kPoll);
}

Instant Download::next_deadline() const { return over_ ? Instant::never() : wake_; }

bool Download::few_sources() const {
    std::size_t count = 0;
    for (const auto& [node, neighbour] : swarm_.all()) {
        if (neighbour.answered && useful(neighbour) && ++count >= 3) return false;
    }
    return true;
}

bool Download::useful(const Neighbour& neighbour) const {
    if (neighbour.complete) return true;
    for (ChunkIndex i = neighbour.has.first_set(); i < neighbour.has.count();
         i = neighbour.has.first_set(i + 1)) {
        if (!have_.has(i)) return true;
    }
    return false;
}

bool Download::has_source() const {
    return std::ranges::any_of(swarm_.all(), [&](const auto& entry) {
        const Peer* peer = context_.find_peer(entry.first);
        if (peer != nullptr && peer->on_probation()) return false;
        return entry.second.answered && useful(entry.second);
    });
}

SourceShare& Download::share_of(const NodeId& node) {
    SourceShare& share = shares_[node];
    share.node = node;
    return share;
}

std::vector<NodeId> Download::others_with(ChunkIndex chunk, const NodeId& asker) {
    std::vector<NodeId> nodes;
    for (const auto& [node, neighbour] : swarm_.all()) {
        if (node == asker || !neighbour.answered || neighbour.offering) continue;
        if (chunk >= grid_.count() || neighbour.has.has(chunk)) nodes.push_back(node);
    }
    context_.rng.shuffle(nodes);
    if (nodes.size() > wire::kBusyTryMax) nodes.resize(wire::kBusyTryMax);
    return nodes;
}

BlobStatus Download::status() const {
    BlobStatus status;
    status.digest = digest_;
    status.size = size_;
    status.chunks = have_;
    status.chain_known = size_ && trust_.whole();
    for (const auto& [node, share] : shares_) status.sources.push_back(share);
    for (const auto& [node, neighbour] : swarm_.all()) {
        status.neighbours.push_back(Holder{node, neighbour.complete});
    }
    status.outstanding = requests_.all().size();
    status.tau = pacing_.tau();
    return status;
}

}  // namespace fastreg::transfer
