// Readers of a blob that is still on its way: what each waits for, how far each may be streamed.
#include <algorithm>

#include "base/mutant.h"
#include "transfer/download.h"

namespace fastreg::transfer {

void Download::add_reader(ReaderId reader, std::uint64_t offset, std::uint64_t end) {
    readers_[reader] = Reader{offset, end};
}

void Download::move_reader(ReaderId reader, std::uint64_t offset) {
    const auto it = readers_.find(reader);
    if (it != readers_.end()) it->second.offset = std::max(it->second.offset, offset);
}

std::vector<ChunkIndex> Download::heads() const {
    std::vector<ChunkIndex> heads;
    if (!size_) return heads;
    for (const auto& [id, reader] : readers_) {
        if (reader.offset >= std::min(reader.end, *size_)) continue;
        const ChunkIndex head = have_.first_missing(grid_.index_at(reader.offset));
        if (head < grid_.count() && grid_.offset_of(head) < reader.end) heads.push_back(head);
    }
    std::ranges::sort(heads);
    heads.erase(std::unique(heads.begin(), heads.end()), heads.end());
    return heads;
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

void Download::report_progress(Outbox& out) {
    if (!opened_) return;
    const std::uint64_t prefix = verified_run(0);
    const bool whole = complete() && trust_.whole();
    if (prefix == last_prefix_ && !whole) return;
    last_prefix_ = prefix;
    out.push_back(Progress{digest_, prefix, whole});
}

}  // namespace fastreg::transfer
