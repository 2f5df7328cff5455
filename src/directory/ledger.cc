#include "directory/ledger.h"

#include <algorithm>

#include "directory/mesh.h"

namespace fastreg::directory {

namespace {

constexpr std::size_t kPageBytes = 48 * 1024;  // leaves room for 4,096 shard numbers
constexpr std::size_t kHomesMax = wire::kPageHoldersMax / 2;

std::uint32_t seconds(Instant at) { return static_cast<std::uint32_t>(at.ns / 1'000'000'000); }

}  // namespace

Ledger::Ledger(const Options& options, Rng rng)
    : options_(options), rng_(rng), shards_(std::make_unique<std::array<Shard, kShardCount>>()) {}

bool Ledger::open(const NodeId& node, BootEpoch epoch) {
    if (const auto found = by_node_.find(node); found != by_node_.end()) {
        const auto known = slots_[found->second].epoch;
        if (known == epoch) return true;
        if (known > epoch) return false;
        retire(node);
    }
    std::uint32_t index = 0;
    if (free_.empty()) {
        index = static_cast<std::uint32_t>(slots_.size());
        slots_.emplace_back();
    } else {
        index = free_.back();
        free_.pop_back();
    }
    slots_[index] = Slot{node, epoch, true, 0, {}};
    by_node_.emplace(node, index);
    return true;
}

std::uint64_t& Ledger::last_seq(const NodeId& node) {
    return slots_[by_node_.at(node)].last_seq;
}

void Ledger::retire(const NodeId& node) {
    const auto found = by_node_.find(node);
    if (found == by_node_.end()) return;
    Slot& slot = slots_[found->second];
    slot.alive = false;
    slot.sums.clear();
    dead_.push_back(found->second);
    by_node_.erase(found);
}

void Ledger::retire_older(const NodeId& node, BootEpoch epoch) {
    const auto found = by_node_.find(node);
    if (found != by_node_.end() && slots_[found->second].epoch < epoch) retire(node);
}

bool Ledger::live(const Ref& ref, std::uint32_t now_s) const {
    return slots_[ref.slot].alive && (ref.expires_s == 0 || ref.expires_s > now_s);
}

void Ledger::prune(Blob& blob, std::uint32_t now_s) {
    refs_ -= std::erase_if(blob.refs, [&](const Ref& ref) { return !live(ref, now_s); });
}

bool Ledger::add(Instant now, Blob& blob, Ref ref) {
    for (auto& known : blob.refs) {
        if (known.slot != ref.slot) continue;
        if (ref.expires_s != 0 && known.expires_s == 0) return true;  // it has more than it asks for
        known = ref;
        return true;
    }
    prune(blob, seconds(now));
    const auto is_home = [](const Ref& r) { return r.kind == HolderKind::home; };
    const auto homes = static_cast<std::size_t>(std::ranges::count_if(blob.refs, is_home));
    const auto others = blob.refs.size() - homes;
    if (is_home(ref)) {
        if (homes >= kHomesMax || refs_ >= options_.entries_max) return false;
    } else if (others >= std::min(options_.holders_max, kHomesMax)) {
        // A random sample of all that came (Vitter's reservoir): early holders are no better.
        blob.seen = std::max<std::uint64_t>(blob.seen, others) + 1;
        const auto place = rng_.below(blob.seen);
        if (place >= others) return false;
        std::size_t skip = static_cast<std::size_t>(place);
        for (auto& known : blob.refs) {
            if (is_home(known) || skip-- > 0) continue;
            known = ref;
            return true;
        }
        return false;
    } else if (refs_ >= options_.entries_max) {
        return false;
    }
    blob.refs.push_back(ref);
    ++refs_;
    return true;
}

void Ledger::remove(const Digest& digest, std::uint32_t slot) {
    auto& shard = (*shards_)[shard_of(digest)];
    const auto found = shard.find(digest);
    if (found == shard.end()) return;
    auto& refs = found->second.refs;
    refs_ -= std::erase_if(refs, [&](const Ref& ref) { return ref.slot == slot; });
    if (refs.empty()) shard.erase(found);
}

bool Ledger::apply(Instant now, const NodeId& node, const wire::Announce::Entry& entry) {
    const auto index = by_node_.at(node);
    const auto shard = shard_of(entry.digest);
    if (entry.was == HolderKind::none && entry.now == HolderKind::none) {
        forget(entry.digest, node);
        return true;
    }
    Sum& sum = slots_[index].sums[shard];
    if (entry.was != HolderKind::none) {
        sum.hash ^= entry_hash(entry.digest, entry.was);
        --sum.count;
    }
    if (entry.now == HolderKind::none) {
        remove(entry.digest, index);
        if (sum == Sum{}) slots_[index].sums.erase(shard);
        return true;
    }
    sum.hash ^= entry_hash(entry.digest, entry.now);
    ++sum.count;
    auto& table = (*shards_)[shard];
    Blob& blob = table[entry.digest];
    if (!blob.size || entry.now == HolderKind::home) blob.size = entry.size;
    const bool kept = add(now, blob, {index, 0, entry.now});
    if (blob.refs.empty()) table.erase(entry.digest);
    return kept;
}

void Ledger::reset(const NodeId& node, ShardId shard) {
    const auto index = by_node_.at(node);
    slots_[index].sums.erase(shard);
    auto& table = (*shards_)[shard];
    for (auto it = table.begin(); it != table.end();) {
        auto& refs = it->second.refs;
        refs_ -= std::erase_if(refs, [&](const Ref& ref) { return ref.slot == index; });
        it = refs.empty() ? table.erase(it) : std::next(it);
    }
}

Ledger::Sum Ledger::sum(const NodeId& node, ShardId shard) const {
    const auto found = by_node_.find(node);
    if (found == by_node_.end()) return {};
    const auto& sums = slots_[found->second].sums;
    const auto sum = sums.find(shard);
    return sum == sums.end() ? Sum{} : sum->second;
}

void Ledger::register_asker(Instant now, const NodeId& node, const Digest& digest) {
    const auto index = by_node_.at(node);
    const auto until = seconds(now + options_.asker_lifetime) + 1;
    auto& table = (*shards_)[shard_of(digest)];
    Blob& blob = table[digest];
    add(now, blob, {index, until, HolderKind::partial});
    if (blob.refs.empty()) table.erase(digest);
}

void Ledger::forget(const Digest& digest, const NodeId& node) {
    const auto found = by_node_.find(node);
    if (found == by_node_.end()) return;
    const auto& table = (*shards_)[shard_of(digest)];
    const auto blob = table.find(digest);
    if (blob == table.end()) return;
    for (const auto& ref : blob->second.refs) {
        if (ref.slot != found->second) continue;
        if (ref.expires_s == 0) {
            Sum& sum = slots_[ref.slot].sums[shard_of(digest)];
            sum.hash ^= entry_hash(digest, ref.kind);
            --sum.count;
        }
        remove(digest, ref.slot);
        return;
    }
}

void Ledger::drop_shard(ShardId shard) {
    auto& table = (*shards_)[shard];
    for (const auto& [digest, blob] : table) refs_ -= blob.refs.size();
    table.clear();
    for (auto& slot : slots_) slot.sums.erase(shard);
}

Ledger::Answer Ledger::find(Instant now, const Digest& digest) const {
    const auto& table = (*shards_)[shard_of(digest)];
    const auto found = table.find(digest);
    if (found == table.end()) return {};
    Answer answer{found->second.size, {}};
    for (const auto& ref : found->second.refs) {
        if (live(ref, seconds(now))) answer.holders.push_back({slots_[ref.slot].node, ref.kind});
    }
    return answer;
}

std::vector<wire::ShardPage::Entry> Ledger::page(const std::vector<ShardId>& shards,
                                                 const std::optional<Digest>& after,
                                                 bool& more) const {
    std::vector<wire::ShardPage::Entry> entries;
    std::size_t bytes = 0;
    more = false;
    for (const auto shard : shards) {
        const auto& table = (*shards_)[shard];
        auto it = table.begin();
        if (after) {
            if (shard < shard_of(*after)) continue;
            if (shard == shard_of(*after)) it = table.upper_bound(*after);
        }
        for (; it != table.end(); ++it) {
            wire::ShardPage::Entry entry{it->first, it->second.size, {}};
            for (const auto& ref : it->second.refs) {
                const Slot& slot = slots_[ref.slot];
                if (ref.expires_s != 0 || !slot.alive) continue;
                entry.holders.push_back({slot.node, slot.epoch, ref.kind});
            }
            if (entry.holders.empty()) continue;
            bytes += wire::encoded_size(entry);
            if (bytes > kPageBytes && !entries.empty()) {
                more = true;
                return entries;
            }
            entries.push_back(std::move(entry));
        }
    }
    return entries;
}

void Ledger::merge(Instant now, const wire::ShardPage::Entry& entry,
                   const std::function<bool(const NodeId&, BootEpoch)>& accept) {
    for (const auto& holder : entry.holders) {
        if (!accept(holder.node, holder.epoch) || !open(holder.node, holder.epoch)) continue;
        const auto index = by_node_.at(holder.node);
        const auto& table = (*shards_)[shard_of(entry.digest)];
        const auto blob = table.find(entry.digest);
        const bool known = blob != table.end() &&
                           std::ranges::any_of(blob->second.refs, [&](const Ref& ref) {
                               return ref.slot == index && ref.expires_s == 0;
                           });
        if (known) continue;  // first hand, or newer
        apply(now, holder.node,
              {entry.digest, entry.size.value_or(0), HolderKind::none, holder.kind});
    }
}

bool Ledger::sweep(Instant now, std::size_t budget) {
    if (!sweeping_active_) {
        sweeping_ = std::move(dead_);
        dead_.clear();
        sweeping_active_ = true;
        sweep_shard_ = 0;
        sweep_after_.reset();
    }
    while (sweep_shard_ < kShardCount) {
        auto& table = (*shards_)[sweep_shard_];
        auto it = sweep_after_ ? table.upper_bound(*sweep_after_) : table.begin();
        while (it != table.end()) {
            if (budget-- == 0) return true;
            sweep_after_ = it->first;
            prune(it->second, seconds(now));
            it = it->second.refs.empty() ? table.erase(it) : std::next(it);
        }
        ++sweep_shard_;
        sweep_after_.reset();
    }
    free_.insert(free_.end(), sweeping_.begin(), sweeping_.end());
    sweeping_.clear();
    sweeping_active_ = false;
    return !dead_.empty();
}

}  // namespace fastreg::directory
