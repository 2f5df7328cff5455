#include "node/handoff.h"

#include <algorithm>

#include "base/log.h"

namespace fastreg::node {
namespace {

constexpr Duration kStep = 250ms;
constexpr Duration kRowsEvery = 1s;
/// So many blobs are copied at once.
constexpr std::size_t kOpenMax = 16;
/// What a copy may take before its blob gives way to the next one.
constexpr Duration kPatience = 60s;
constexpr Duration kTryAgain = 5s;

std::string joined(const std::vector<std::string>& names) {
    std::string all;
    for (const auto& name : names) all += (all.empty() ? "" : ", ") + name;
    return all;
}

}  // namespace

Status Handoff::begin(std::function<bool()> busy) {
    if (begun_) return {};
    // Those that are away for a moment are waited for.
    const auto counts = parts_.gossip.counts();
    if (counts.alive + counts.suspect + counts.stopping + counts.dead == 0) {
        return fail(Errc::unavailable, "no other member is known: nobody is there to take what this node keeps");
    }
    begun_ = true;
    busy_ = std::move(busy);
    homes_.take_no_more();
    collect();
    const Progress all = progress();
    parts_.repo.hand_over(parts_.now(), parts_.repo_out);
    shards_ = parts_.repo.to_hand_over();
    log::info("handoff.begun", {{"blobs", all.blobs}, {"bytes", all.bytes}, {"shards", shards_}});
    due_ = parts_.now();
    parts_.drain();
    return {};
}

/// What is kept for others, and what was pushed here and has no home yet.
void Handoff::collect() {
    for (const auto& home : parts_.store.homes()) left_.try_emplace(home.digest, home.size);
    for (const auto& entry : parts_.store.list()) {
        if (entry.info.pushed && !handed_.contains(entry.digest)) left_.try_emplace(entry.digest, entry.info.size);
    }
}

void Handoff::on_deadline(Instant now) {
    if (now < due_) return;
    due_ = now + kStep;
    if (now >= rows_due_ && parts_.repo.to_hand_over() > 0) {
        rows_due_ = now + kRowsEvery;
        parts_.repo.hand_over(now, parts_.repo_out);
    }
    std::erase_if(later_, [&](const auto& entry) { return entry.second <= now; });
    const bool in_hand = homes_.busy() || (busy_ && busy_());  // may end as one more home
    if (left_.empty() && !in_hand) collect();
    const bool quiet = left_.empty() && !in_hand;
    const bool was_done = std::exchange(done_, quiet && parts_.repo.to_hand_over() == 0);
    if (done_ && !was_done) log::info("handoff.done", {{"blobs", handed_.size()}, {"bytes", handed_bytes_}});
    go_on();
}

void Handoff::go_on() {
    std::vector<std::pair<Digest, std::uint64_t>> next;
    for (const auto& [digest, size] : left_) {
        if (open_.size() + next.size() >= kOpenMax) break;
        if (open_.contains(digest) || later_.contains(digest) || homes_.placing(digest)) continue;
        next.emplace_back(digest, size);
    }
    for (const auto& [digest, size] : next) {
        // The one before may have ended inside its call, and led on to this.
        if (homes_.placing(digest) || !left_.contains(digest) || !open_.insert(digest).second) continue;
        homes_.release(digest, size, parts_.now() + kPatience,
                       [this, digest = digest, size = size](const Copies& copies) { on_copied(digest, size, copies); });
    }
}

void Handoff::on_copied(const Digest& digest, std::uint64_t size, const Copies& copies) {
    if (copies.enough() && copies.kept > 0) return let_go(digest, size);
    open_.erase(digest);
    later_[digest] = parts_.now() + kTryAgain;
    waits_for_ = copies.missing.empty() ? "another member" : joined(copies.missing);
    log::warn("handoff.waits", {{"digest", digest.brief()}, {"for", waits_for_}});
}

/// Its copies elsewhere are acknowledged: here it is cache now.
void Handoff::let_go(const Digest& digest, std::uint64_t size) {
    parts_.store.set_home(digest, size, false, [this, digest, size](const Status& kept) {
        open_.erase(digest);
        if (!kept) {
            later_[digest] = parts_.now() + kTryAgain;
            waits_for_ = describe(kept.error());
            return;
        }
        left_.erase(digest);
        if (handed_.insert(digest).second) handed_bytes_ += size;
        if (left_.empty() || later_.empty()) waits_for_.clear();
        if (parts_.store.find(digest)) {
            parts_.directory.on_have(parts_.now(), digest, size, directory::HolderKind::cache, parts_.directory_out);
        }
        go_on();
        parts_.drain();
    });
}

Handoff::Progress Handoff::progress() const {
    Progress progress;
    progress.blobs_left = left_.size();
    progress.blobs = left_.size() + handed_.size();
    for (const auto& [digest, size] : left_) progress.bytes_left += size;
    progress.bytes = progress.bytes_left + handed_bytes_;
    progress.shards = shards_;
    progress.shards_left = parts_.repo.to_hand_over();
    progress.waits_for = waits_for_;
    for (const Digest& digest : open_) {
        if (!progress.waits_for.empty()) break;
        progress.waits_for = joined(homes_.waits_for(digest));
    }
    return progress;
}

}  // namespace fastreg::node
