#include "transfer/picker.h"

#include <algorithm>
#include <limits>

namespace fastreg::transfer {
namespace {
constexpr unsigned kLookMax = 4096;
}

ChunkPicker::ChunkPicker(ChunkIndex count) : open_(count, true), copies_(count) {}

void ChunkPicker::close(ChunkIndex chunk) { open_.clear(chunk); }

void ChunkPicker::reopen(ChunkIndex chunk) { open_.set(chunk); }

void ChunkPicker::on_copy(ChunkIndex chunk) {
    if (copies_[chunk] < std::numeric_limits<std::uint16_t>::max()) ++copies_[chunk];
}

void ChunkPicker::on_copy_gone(ChunkIndex chunk) {
    if (copies_[chunk] > 0) --copies_[chunk];
}

void ChunkPicker::on_map(const ChunkMap& has) {
    for (ChunkIndex i = has.first_set(); i < has.count(); i = has.first_set(i + 1)) on_copy(i);
}

void ChunkPicker::on_map_gone(const ChunkMap& has) {
    for (ChunkIndex i = has.first_set(); i < has.count(); i = has.first_set(i + 1)) {
        on_copy_gone(i);
    }
}

std::optional<ChunkIndex> ChunkPicker::rarest(const ChunkMap& has, Range range, Rng& rng) const {
    range.end = std::min(range.end, open_.count());
    if (range.first >= range.end || has.set_count() == 0 || open_.set_count() == 0) return {};
    const ChunkIndex span = range.end - range.first;
    ChunkIndex at = range.first;
    if (span > kLookMax) at += static_cast<ChunkIndex>(rng.below(span));
    const ChunkIndex start = at;

    std::optional<ChunkIndex> best;
    unsigned best_copies = std::numeric_limits<unsigned>::max();
    unsigned ties = 0;
    unsigned looked = 0;
    auto look_from = [&](ChunkIndex from, ChunkIndex end) {
        for (ChunkIndex i = open_.first_set(from); i < end && looked < kLookMax;
             i = open_.first_set(i + 1), ++looked) {
            if (!has.has(i)) continue;
            const unsigned copies = copies_[i];
            if (copies > best_copies) continue;
            if (copies < best_copies) {
                best_copies = copies;
                ties = 0;
            }
            // Each of n ties stays with probability 1/n.
            if (rng.below(++ties) == 0) best = i;
        }
    };
    look_from(start, range.end);
    look_from(range.first, start);
    return best;
}

std::optional<ChunkIndex> ChunkPicker::first(const ChunkMap& has, Range range) const {
    range.end = std::min(range.end, open_.count());
    for (ChunkIndex i = open_.first_set(range.first); i < range.end; i = open_.first_set(i + 1)) {
        if (has.has(i)) return i;
        // Jump over what the peer lacks.
        const ChunkIndex next = has.first_set(i + 1);
        if (next >= range.end) break;
        if (open_.has(next)) return next;
        i = next;
    }
    return {};
}

}  // namespace fastreg::transfer
