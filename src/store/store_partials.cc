// Blobs that arrive in chunks.
#include <utility>

#include "base/log.h"
#include "store/store_impl.h"

namespace fastreg::store {
namespace {

/// Chunk maps are written when this much has landed since the last time, or after 250 ms.
constexpr std::uint64_t kPersistBytes = 64ULL << 20U;
/// How long a partial blob that nobody fills is kept for a pull that goes on.
constexpr Duration kIdleMax = 1h;

}  // namespace

void Store::Impl::open_partial(const Digest& digest,
                               std::uint64_t size,
                               Answer<std::shared_ptr<Partial>> answer) {
    if (size > kBlobSizeMax) {
        answer(fail(Errc::too_large, digest.str() + " would have " + human_bytes(size) +
                                       "; blobs over " + human_bytes(kBlobSizeMax) + " are refused"));
        return;
    }
    gate_.enter(digest, [this, digest, size, answer = std::move(answer)] {
        const auto done = [this, digest, answer](Result<std::shared_ptr<Partial>> result) {
            if (!result) tell_refused(result.error());
            answer(std::move(result));
            gate_.leave(digest);
        };
        if (const auto info = catalog.find(digest)) {
            done(fail(Errc::already_exists, digest.str() + " is here already" +
                                                (info->verified ? "" : "; verify it first")));
            return;
        }
        const auto slot = slots.find(digest);
        if (slot != slots.end() && slot->second.open) {
            if (slot->second.size() == size) {
                done(slot->second.open);
            } else {
                done(fail(Errc::busy, digest.str() + " is being fetched with a size of " +
                                          std::to_string(slot->second.size()) + " bytes, not " +
                                          std::to_string(size)));
            }
            return;
        }
        const std::uint64_t before = slot != slots.end() ? slot->second.size() : 0;
        const std::uint64_t more = size - std::min(size, before);
        with_room(more, [this, digest, size, more, done] {
            open_in_room(digest, size, [this, digest, size, more, done](Result<std::shared_ptr<Partial>> opened) {
                if (opened || opened.error().code != Errc::no_space) return done(std::move(opened));
                // Others have filled the file system since the last look at it.
                make_room(more, [this, digest, size, done] { open_in_room(digest, size, done); });
            });
        });
    });
}

/// Until it is open again the slot stays, so that what is on the disk stays counted.
void Store::Impl::open_in_room(const Digest& digest, std::uint64_t size,
                               const Answer<std::shared_ptr<Partial>>& done) {
    const auto slot = slots.find(digest);
    std::optional<CachedPartial> known;
    const std::uint64_t before = slot != slots.end() ? slot->second.size() : 0;
    std::uint64_t others = unwritten_bytes();
    std::uint64_t missing = size;
    if (slot != slots.end()) {
        others -= slot->second.unwritten();
        if (before == size) {
            known = slot->second.known;
            missing = slot->second.unwritten();
        }
    }
    partial_bytes_ -= before;
    if (auto status = room_for(size); !status) {
        partial_bytes_ += before;
        done(tl::unexpected<Error>(std::move(status).error()));
        return;
    }
    partial_bytes_ += size;
    on_disk(
        lane_of(digest),
        [shared = shared, digest, size, known = std::move(known), missing, others,
         min_free = options_.min_free_bytes]() -> Result<std::shared_ptr<Partial>> {
            FR_TRY(shared->free_space.room_for(missing, min_free, others));
            return PartialOps::open(shared->fs, shared->layout, digest, size, known);
        },
        [this, digest, size, before, done](Result<std::shared_ptr<Partial>> opened) {
            if (opened) {
                slots.insert_or_assign(digest, Slot{{}, *opened, true, {0}});
            } else {
                partial_bytes_ -= size;
                partial_bytes_ += before;
            }
            done(std::move(opened));
        });
}

void Store::Impl::land(std::shared_ptr<ChunkLanding> landing,
                       std::uint64_t offset,
                       Block block,
                       std::optional<Xxh128> checksum,
                       std::function<void(ChunkOutcome)> done) {
    const auto lane = lane_of(landing->partial()->digest()) + landing->index();
    on_disk(
        lane,
        [shared = shared, landing, offset, block = std::move(block), checksum,
         aside = offset == 0 ? temporary("aside") : std::string()] {  // opened by the first write, if at all
            return PartialOps::land(shared->fs, *landing, offset, block.filled(), block.may_change(), checksum, aside);
        },
        [this, landing, done = std::move(done)](std::optional<PartialOps::Landed> landed) {
            if (!landed) return;
            auto outcome = landed->outcome;
            if (outcome == ChunkOutcome::stored) {
                // A partial that was revoked meanwhile lives on in another file, without this chunk.
                outcome = landing->partial()->closed() ? ChunkOutcome::closed
                                                       : PartialOps::record(*landing, landed->wrote);
            }
            const auto& partial = *landing->partial();
            const auto slot = slots.find(partial.digest());
            if (outcome == ChunkOutcome::stored && slot != slots.end() &&
                slot->second.open == landing->partial()) {
                slot->second.dirty = true;
                dirty_bytes_ += partial.grid().size_of(landing->index());
                if (dirty_bytes_ >= kPersistBytes) persist_partials();
            }
            done(outcome);
        });
}

void Store::Impl::revoke(std::shared_ptr<Partial> partial,
                         const ChunkMap& wrong,
                         Answer<std::shared_ptr<Partial>> answer) {
    const Digest digest = partial->digest();
    gate_.enter(digest, [this, digest, partial, wrong, answer = std::move(answer)] {
        const auto done = [this, digest, answer](Result<std::shared_ptr<Partial>> result) {
            answer(std::move(result));
            gate_.leave(digest);
        };
        const auto slot = slots.find(digest);
        if (slot == slots.end() || slot->second.open != partial || partial->closed()) {
            done(fail(Errc::invalid_argument, "the partial " + digest.str() + " is closed"));
            return;
        }
        PartialOps::close(*partial);
        auto keep = PartialOps::snapshot(*partial);
        PartialOps::forget(keep, wrong);
        on_disk(
            lane_of(digest),
            [shared = shared, keep = std::move(keep), partial, fresh = temporary("aside")] {
                return PartialOps::copy(shared->fs, shared->layout, keep, *partial->file(), fresh);
            },
            [this, digest, done](Result<std::shared_ptr<Partial>> copied) {
                if (copied) {
                    auto& renewed = slots.at(digest);
                    renewed.open = *copied;
                    renewed.dirty = true;
                } else {
                    forget_slot(digest);
                    on_disk(
                        lane_of(digest),
                        [shared = shared, digest] {
                            return shared->fs.unlink(shared->layout.partial(digest));
                        },
                        [](const Status&) {});
                }
                done(std::move(copied));
            });
    });
}

void Store::Impl::finish_partial(std::shared_ptr<Partial> partial, Durability durability, Done answer) {
    const Digest digest = partial->digest();
    gate_.enter(digest, [this, digest, partial, durability, answer = std::move(answer)] {
        const auto done = [this, digest, answer](const Status& status) {
            answer(status);
            gate_.leave(digest);
        };
        const auto slot = slots.find(digest);
        if (slot == slots.end() || slot->second.open != partial || partial->closed()) {
            done(fail(Errc::invalid_argument, "the partial " + digest.str() + " is closed"));
            return;
        }
        const auto chain = partial->chain();
        if (!chain) {
            done(tl::unexpected<Error>(chain.error()));
            return;
        }
        PartialOps::close(*partial);
        const ByteView links = chain->bytes();
        Placing placing{digest, partial->size(), shared->layout.partial(digest), partial->file(),
                        Bytes(links.begin(), links.end()), false, durability};
        place(std::move(placing), [this, digest, done](const Result<BlobInfo>& placed) {
            forget_slot(digest);
            if (placed) {
                done({});
            } else {
                done(tl::unexpected<Error>(placed.error()));
            }
        });
    });
}

void Store::Impl::park_partial(const Digest& digest) {
    gate_.enter(digest, [this, digest] {
        const auto slot = slots.find(digest);
        if (slot == slots.end() || !slot->second.open) {
            gate_.leave(digest);
            return;
        }
        const auto partial = slot->second.open;
        PartialOps::close(*partial);
        if (partial->map().set_count() == 0) {
            drop_inside(digest, [this, digest](const Status&) { gate_.leave(digest); });
            return;
        }
        on_disk(
            lane_of(digest), [file = partial->file()] { return file->fdatasync(); },
            [this, digest](const Status& synced) {
                auto& parked = slots.at(digest);
                CachedPartial known = PartialOps::snapshot(*parked.open);
                known.doubted = !synced;
                index.cache([known](CacheDb& cache) { return cache.put_partial(known); });
                parked = Slot{std::move(known), nullptr, false, {0}};
                gate_.leave(digest);
            });
    });
}

void Store::Impl::drop_partial(const Digest& digest, Done done) {
    gate_.enter(digest, [this, digest, done = std::move(done)] {
        drop_inside(digest, [this, digest, done](Status status) {
            done(std::move(status));
            gate_.leave(digest);
        });
    });
}

void Store::Impl::drop_inside(const Digest& digest, Done done) {
    const auto slot = slots.find(digest);
    if (slot == slots.end()) {
        done({});
        return;
    }
    if (slot->second.open) PartialOps::close(*slot->second.open);
    on_disk(
        lane_of(digest),
        [shared = shared, digest] { return shared->fs.unlink(shared->layout.partial(digest)); },
        [this, digest, done = std::move(done)](Status status) {
            forget_slot(digest);
            done(unless_missing(std::move(status)));
        });
}

/// Those that were not resumed in time, and the oldest one each time there was no room for something.
void Store::Impl::drop_idle_partials(Instant now) {
    std::vector<Digest> over;
    auto oldest = slots.end();
    for (auto at = slots.begin(); at != slots.end(); ++at) {
        Slot& slot = at->second;
        if (slot.open) continue;
        if (slot.idle_since == Instant{0}) slot.idle_since = now;
        if (now >= slot.idle_since + kIdleMax) over.push_back(at->first);
        if (oldest == slots.end() || slot.idle_since < oldest->second.idle_since) oldest = at;
    }
    if (std::exchange(room_refused_, false) && over.empty() && oldest != slots.end()) {
        over.push_back(oldest->first);
    }
    for (const Digest& digest : over) {
        slots.at(digest).idle_since = now;  // told once
        gate_.enter(digest, [this, digest] {
            const auto slot = slots.find(digest);
            if (slot == slots.end() || slot->second.open) {  // it was resumed after all
                gate_.leave(digest);
                return;
            }
            log::info("partial.dropped", {{"digest", digest.brief()}, {"bytes", slot->second.size()}});
            drop_inside(digest, [this, digest](const Status&) { gate_.leave(digest); });
        });
    }
}

/// Gives back what was reserved for it.
void Store::Impl::forget_slot(const Digest& digest) {
    const auto slot = slots.find(digest);
    if (slot == slots.end()) return;
    partial_bytes_ -= slot->second.size();
    slots.erase(slot);
    index.cache([digest](CacheDb& cache) { return cache.erase_partial(digest); });
}

void Store::Impl::persist_partials() {
    dirty_bytes_ = 0;
    for (auto& [digest, slot] : slots) {
        if (!slot.dirty || !slot.open || slot.open->closed()) continue;
        slot.dirty = false;
        index.cache([snapshot = PartialOps::snapshot(*slot.open)](CacheDb& cache) {
            return cache.put_partial(snapshot);
        });
    }
}

}  // namespace fastreg::store
