#include "store/partial.h"

#include <utility>

namespace fastreg::store {

std::string_view name_of(ChunkOutcome outcome) {
    switch (outcome) {
        case ChunkOutcome::stored: return "stored";
        case ChunkOutcome::bad_checksum: return "bad_checksum";
        case ChunkOutcome::bad_link: return "bad_link";
        case ChunkOutcome::conflict: return "conflict";
        case ChunkOutcome::closed: return "closed";
        case ChunkOutcome::disk_full: return "disk_full";
        case ChunkOutcome::disk_error: return "disk_error";
    }
    return "disk_error";
}

Partial::Partial(const Digest& digest, std::uint64_t size, std::shared_ptr<File> file)
    : digest_(digest),
      grid_(size),
      link_size_(fastreg::link_size(digest.alg)),
      file_(std::move(file)),
      states_(std::make_unique<std::atomic<ChunkState>[]>(grid_.count())),
      map_(grid_.count()),
      borders_(grid_.count()),
      links_((grid_.count() - 1) * link_size_) {}

ByteView Partial::link_before(ChunkIndex i) const {
    if (i == 0 || !borders_.has(i)) return {};
    return ByteView(links_).subspan((i - 1) * link_size_, link_size_);
}

Result<Chain> Partial::chain() const {
    if (!map_.full()) {
        return fail(Errc::invalid_argument, "the chain of " + digest_.str() + " is not complete: " +
                                                std::to_string(map_.set_count()) + " of " +
                                                std::to_string(map_.count()) + " chunks are here");
    }
    return Chain::from_bytes(digest_.alg, grid_, links_);
}

Result<std::shared_ptr<ChunkLanding>> ChunkLanding::create(std::shared_ptr<Partial> partial,
                                                           ChunkIndex index,
                                                           ByteView start,
                                                           ByteView end) {
    const auto& grid = partial->grid();
    if (index >= grid.count()) {
        return fail(Errc::invalid_argument, "chunk " + std::to_string(index) + " of " +
                                                partial->digest().str() + " does not exist: it has " +
                                                std::to_string(grid.count()));
    }
    const std::size_t wanted = link_size(partial->digest().alg);
    const std::size_t start_wanted = index == 0 ? 0 : wanted;
    const std::size_t end_wanted = grid.is_last(index) ? 0 : wanted;
    if ((start_wanted != 0 && start.size() != wanted) || (end_wanted != 0 && end.size() != wanted)) {
        return fail(Errc::invalid_argument, "a link of chunk " + std::to_string(index) + " of " +
                                                partial->digest().str() + " has not " +
                                                std::to_string(wanted) + " bytes");
    }
    return std::shared_ptr<ChunkLanding>(new ChunkLanding(
        std::move(partial), index, start_wanted == 0 ? ByteView{} : start,
        end_wanted == 0 ? ByteView{} : end));
}

ChunkLanding::ChunkLanding(std::shared_ptr<Partial> partial,
                           ChunkIndex index,
                           ByteView start,
                           ByteView end)
    : partial_(std::move(partial)),
      index_(index),
      start_(start.begin(), start.end()),
      end_(end.begin(), end.end()),
      hasher_(partial_->digest(), partial_->grid(), index, start_) {}

ChunkLanding::~ChunkLanding() {
    if (!owns_chunk_) return;
    auto expected = Partial::ChunkState::landing;
    partial_->state(index_).compare_exchange_strong(expected, Partial::ChunkState::empty);
}

}  // namespace fastreg::store
