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

Status ChunkLanding::check(const Partial& partial, ChunkIndex index, ByteView start) {
    const auto count = partial.grid().count();
    if (index >= count) {
        return fail(Errc::invalid_argument, "chunk " + std::to_string(index) + " of " +
                                                partial.digest().str() + " does not exist: it has " +
                                                std::to_string(count));
    }
    return index == 0 ? Status{} : check_link(partial, start);
}

Status ChunkLanding::check_link(const Partial& partial, ByteView link) {
    const std::size_t wanted = link_size(partial.digest().alg);
    if (link.size() == wanted) return {};
    return fail(Errc::invalid_argument, "a link of " + partial.digest().str() + " has " +
                                            std::to_string(link.size()) + " bytes instead of " +
                                            std::to_string(wanted));
}

Result<std::shared_ptr<ChunkLanding>> ChunkLanding::create(std::shared_ptr<Partial> partial,
                                                           ChunkIndex index,
                                                           ByteView start,
                                                           ByteView end) {
    FR_TRY(check(*partial, index, start));
    const bool last = partial->grid().is_last(index);
    if (!last) FR_TRY(check_link(*partial, end));
    if (index == 0) start = {};
    if (last) end = {};
    return std::shared_ptr<ChunkLanding>(
        new ChunkLanding(std::move(partial), index, start, end, false));
}

Result<std::shared_ptr<ChunkLanding>> ChunkLanding::first_hand(std::shared_ptr<Partial> partial,
                                                               ChunkIndex index,
                                                               ByteView start) {
    FR_TRY(check(*partial, index, start));
    if (index == 0) start = {};
    return std::shared_ptr<ChunkLanding>(
        new ChunkLanding(std::move(partial), index, start, {}, true));
}

ChunkLanding::ChunkLanding(std::shared_ptr<Partial> partial,
                           ChunkIndex index,
                           ByteView start,
                           ByteView end,
                           bool first_hand)
    : partial_(std::move(partial)),
      index_(index),
      start_(start.begin(), start.end()),
      end_(end.begin(), end.end()),
      first_hand_(first_hand),
      hasher_(partial_->digest(), partial_->grid(), index, start_) {}

ChunkLanding::~ChunkLanding() {
    if (!owns_chunk_) return;
    auto expected = Partial::ChunkState::landing;
    partial_->state(index_).compare_exchange_strong(expected, Partial::ChunkState::empty);
}

}  // namespace fastreg::store
