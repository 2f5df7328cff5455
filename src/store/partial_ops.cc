#include "store/partial_ops.h"

#include <algorithm>

#include "base/mutant.h"

namespace fastreg::store {
namespace {

constexpr std::size_t kCopyBytes = 256U << 10U;

ChunkOutcome outcome_of(const Error& error) {
    return error.code == Errc::no_space ? ChunkOutcome::disk_full : ChunkOutcome::disk_error;
}

Status copy_range(File& from,
                  std::uint64_t from_offset,
                  File& to,
                  std::uint64_t to_offset,
                  std::uint64_t length) {
    Bytes buffer(std::min<std::uint64_t>(kCopyBytes, length));
    for (std::uint64_t done = 0; done < length;) {
        const auto want = std::min<std::uint64_t>(buffer.size(), length - done);
        FR_TRY_ASSIGN(const auto got, from.pread(std::span(buffer).first(want), from_offset + done));
        if (got != want) return fail(Errc::io, "a file in partial/ is shorter than it was");
        FR_TRY(to.pwrite(ByteView(buffer).first(want), to_offset + done));
        done += want;
    }
    return {};
}

}  // namespace

std::optional<PartialOps::Landed> PartialOps::end(Fs& fs,
                                                  ChunkLanding& landing,
                                                  ChunkOutcome outcome,
                                                  bool wrote) {
    landing.ended_ = true;
    auto& state = landing.partial_->state(landing.index_);
    if (wrote) {
        state.store(Partial::ChunkState::verified);
    } else if (landing.owns_chunk_) {
        auto expected = Partial::ChunkState::landing;
        state.compare_exchange_strong(expected, Partial::ChunkState::empty);
    }
    landing.owns_chunk_ = false;
    if (landing.aside_) {
        landing.aside_.reset();
        (void)fs.unlink(landing.aside_path_);  // what stays behind is wiped at the next start
    }
    return Landed{outcome, wrote};
}

std::optional<PartialOps::Landed> PartialOps::land(Fs& fs,
                                                   ChunkLanding& landing,
                                                   std::uint64_t offset,
                                                   ByteView data,
                                                   bool may_change,
                                                   const std::optional<Xxh128>& checksum,
                                                   const std::string& aside_path) {
    if (landing.ended_) return std::nullopt;
    Partial& partial = *landing.partial_;
    if (partial.state(landing.index_).load() == Partial::ChunkState::verified) {
        return end(fs, landing, ChunkOutcome::stored, false);
    }
    if (landing.owns_chunk_ && partial.state(landing.index_).load() != Partial::ChunkState::landing) {
        return end(fs, landing, ChunkOutcome::conflict, false);
    }
    if (partial.closed_.load()) return end(fs, landing, ChunkOutcome::closed, false);

    const std::uint64_t whole = partial.grid().size_of(landing.index_);
    const std::uint64_t fed = landing.hasher_.fed();
    if (offset != fed || data.size() > whole - fed) {
        return end(fs, landing, ChunkOutcome::bad_checksum, false);
    }
    if (checksum && xxh3_128(data) != *checksum) {
        return end(fs, landing, ChunkOutcome::bad_checksum, false);
    }
    if (const auto status = write(fs, landing, offset, data, aside_path); !status) {
        return end(fs, landing, outcome_of(status.error()), false);
    }
    if (may_change) {
        if (const auto status = hash_stored(landing, offset, data.size()); !status) {
            return end(fs, landing, outcome_of(status.error()), false);
        }
    } else {
        landing.hasher_.update(data);
    }
    if (landing.hasher_.fed() < whole) return std::nullopt;
    if (landing.first_hand_ && !partial.grid().is_last(landing.index_)) {
        landing.end_ = landing.hasher_.reached();
    } else if (!landing.hasher_.holds(landing.end_) && !mutant(Mutant::link_not_checked)) {
        return end(fs, landing, ChunkOutcome::bad_link, false);
    }
    if (const auto status = bring_in(landing); !status) {
        return end(fs, landing, outcome_of(status.error()), false);
    }
    return end(fs, landing, ChunkOutcome::stored, true);
}

// Two landings of one chunk must not write the same place: the second could spoil bytes that the first
// has hashed already. The second one's bytes go to a file of their own until their link holds.
Status PartialOps::write(Fs& fs,
                         ChunkLanding& landing,
                         std::uint64_t offset,
                         ByteView data,
                         const std::string& aside_path) {
    Partial& partial = *landing.partial_;
    if (!landing.owns_chunk_ && !landing.aside_) {
        auto expected = Partial::ChunkState::empty;
        if (partial.state(landing.index_)
                .compare_exchange_strong(expected, Partial::ChunkState::landing)) {
            landing.owns_chunk_ = true;
        } else {
            FR_TRY_ASSIGN(landing.aside_, fs.open(aside_path, OpenMode::create_new));
            landing.aside_path_ = aside_path;
        }
    }
    if (landing.aside_) return landing.aside_->pwrite(data, offset);
    FR_TRY(partial.file_->pwrite(data, partial.grid().offset_of(landing.index_) + offset));
    if (partial.unsynced_bytes_.fetch_add(data.size()) + data.size() >= kWritebackBytes) {
        partial.unsynced_bytes_.store(0);
        partial.file_->start_writeback();
    }
    return {};
}

// A peer that may write into the bytes could show good ones to the hash and others to the file.
Status PartialOps::hash_stored(ChunkLanding& landing, std::uint64_t offset, std::uint64_t length) {
    const Partial& partial = *landing.partial_;
    File& file = landing.aside_ ? *landing.aside_ : *partial.file_;
    const std::uint64_t begin = landing.aside_ ? offset : partial.grid().offset_of(landing.index_) + offset;
    Bytes buffer(std::min<std::uint64_t>(kCopyBytes, length));
    for (std::uint64_t done = 0; done < length;) {
        const auto piece = std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), length - done));
        FR_TRY_ASSIGN(const auto got, file.pread(piece, begin + done));
        if (got != piece.size()) return fail(Errc::io, "a file in partial/ is shorter than what was written");
        landing.hasher_.update(piece);
        done += got;
    }
    return {};
}

Status PartialOps::bring_in(ChunkLanding& landing) {
    if (!landing.aside_) return {};
    const auto& grid = landing.partial_->grid();
    return copy_range(*landing.aside_, 0, *landing.partial_->file_, grid.offset_of(landing.index_),
                      grid.size_of(landing.index_));
}

ChunkOutcome PartialOps::record(const ChunkLanding& landing, bool wrote) {
    Partial& partial = *landing.partial_;
    const ChunkIndex i = landing.index_;
    if (partial.map_.has(i)) return ChunkOutcome::stored;
    const auto agrees = [&](ChunkIndex border, const Bytes& link) {
        return link.empty() || !partial.borders_.has(border) ||
               std::ranges::equal(partial.link_before(border), link);
    };
    // `wrote` false: it was found stored, and then fell to a conflict.
    if (!wrote || !agrees(i, landing.start_) || !agrees(i + 1, landing.end_)) {
        partial.state(i).store(Partial::ChunkState::spoiled);
        return ChunkOutcome::conflict;
    }
    const auto keep = [&](ChunkIndex border, const Bytes& link) {
        if (link.empty()) return;
        partial.borders_.set(border);
        std::ranges::copy(link, partial.links_.begin() +
                                    static_cast<std::ptrdiff_t>((border - 1) * partial.link_size_));
    };
    keep(i, landing.start_);
    keep(i + 1, landing.end_);
    partial.map_.set(i);
    return ChunkOutcome::stored;
}

CachedPartial PartialOps::snapshot(const Partial& partial) {
    return {partial.digest_, partial.size(), partial.map_, partial.borders_, partial.links_, false};
}

void PartialOps::forget(CachedPartial& partial, const ChunkMap& wrong) {
    for (ChunkIndex i = 0; i < partial.map.count(); ++i) {
        if (wrong.has(i)) partial.map.clear(i);
    }
    for (ChunkIndex i = 1; i < partial.map.count(); ++i) {
        if (!partial.map.has(i - 1) && !partial.map.has(i)) partial.borders.clear(i);
    }
}

bool PartialOps::chunk_holds(const CachedPartial& partial, File& file, ChunkIndex i) {
    const ChunkGrid grid(partial.size);
    const std::size_t width = link_size(partial.digest.alg);
    const auto link = [&](ChunkIndex border) -> std::optional<ByteView> {
        if (border == 0 || border == grid.count()) return ByteView{};
        if (!partial.borders.has(border)) return std::nullopt;
        return ByteView(partial.links).subspan((border - 1) * width, width);
    };
    const auto start = link(i);
    const auto end = link(i + 1);
    if (!start || !end) return false;
    ChunkHasher hasher(partial.digest, grid, i, *start);
    Bytes buffer(kCopyBytes);
    for (std::uint64_t done = 0; done < grid.size_of(i);) {
        const auto want = std::min<std::uint64_t>(buffer.size(), grid.size_of(i) - done);
        const auto got = file.pread(std::span(buffer).first(want), grid.offset_of(i) + done);
        if (!got || *got != want) return false;
        hasher.update(ByteView(buffer).first(want));
        done += want;
    }
    return hasher.holds(*end);
}

void PartialOps::adopt(Partial& partial, const CachedPartial& known) {
    partial.map_ = known.map;
    partial.borders_ = known.borders;
    partial.links_ = known.links;
    for (ChunkIndex i = 0; i < known.map.count(); ++i) {
        if (known.map.has(i)) partial.state(i).store(Partial::ChunkState::verified);
    }
}

Result<std::shared_ptr<Partial>> PartialOps::open(Fs& fs,
                                                  const Layout& layout,
                                                  const Digest& digest,
                                                  std::uint64_t size,
                                                  const std::optional<CachedPartial>& known) {
    const std::string path = layout.partial(digest);
    std::optional<CachedPartial> resumed = known;
    std::shared_ptr<File> file;
    if (resumed) {
        auto opened = fs.open(path, OpenMode::write);
        if (opened) file = std::move(*opened);
        if (!opened && opened.error().code != Errc::not_found) {
            return tl::unexpected<Error>(opened.error());
        }
        if (!opened) resumed.reset();
    }
    if (!file) {
        const auto gone = fs.unlink(path);
        if (!gone && gone.error().code != Errc::not_found) return tl::unexpected(gone.error());
        FR_TRY_ASSIGN(file, fs.open(path, OpenMode::create_new));
    }
    FR_TRY_ASSIGN(const auto found, file->size());
    if (found != size) {
        if (auto status = file->truncate(size); !status) {
            if (!resumed) (void)fs.unlink(path);  // nobody knows of it yet
            return tl::unexpected<Error>(std::move(status).error());
        }
    }
    auto partial = std::make_shared<Partial>(digest, size, file);
    if (!resumed) return partial;
    if (resumed->doubted || found != size) {
        ChunkMap wrong(resumed->map.count());
        for (ChunkIndex i = 0; i < resumed->map.count(); ++i) {
            if (resumed->map.has(i) && !chunk_holds(*resumed, *file, i)) wrong.set(i);
        }
        forget(*resumed, wrong);
    }
    adopt(*partial, *resumed);
    return partial;
}

Result<std::shared_ptr<Partial>> PartialOps::copy(Fs& fs,
                                                  const Layout& layout,
                                                  const CachedPartial& keep,
                                                  File& from,
                                                  const std::string& temporary) {
    FR_TRY_ASSIGN(std::shared_ptr<File> file, fs.open(temporary, OpenMode::create_new));
    const auto fill = [&]() -> Status {
        FR_TRY(file->truncate(keep.size));
        const ChunkGrid grid(keep.size);
        for (ChunkIndex i = 0; i < grid.count(); ++i) {
            if (!keep.map.has(i)) continue;
            FR_TRY(copy_range(from, grid.offset_of(i), *file, grid.offset_of(i), grid.size_of(i)));
        }
        return fs.rename(temporary, layout.partial(keep.digest));
    };
    if (const auto status = fill(); !status) {
        (void)fs.unlink(temporary);
        return tl::unexpected<Error>(status.error());
    }
    auto partial = std::make_shared<Partial>(keep.digest, keep.size, file);
    adopt(*partial, keep);
    return partial;
}

}  // namespace fastreg::store
