// Complete blobs: read and hash.
#include <cerrno>
#include <utility>

#include "store/store_impl.h"

namespace fastreg::store {
namespace {

constexpr std::size_t kHashBytes = 1U << 20U;

}  // namespace

void Store::Impl::read_small(const Digest& digest, std::uint64_t max, Answer<Bytes> done) {
    const auto info = catalog.find(digest);
    if (!info) {
        done(fail(Errc::not_found, digest.str() + " is not here"));
        return;
    }
    if (info->size > std::min(max, kSmallMax)) {
        done(fail(Errc::too_large, digest.str() + " has " + human_bytes(info->size) + ", more than " +
                                       human_bytes(std::min(max, kSmallMax))));
        return;
    }
    on_disk(
        lane_of(digest),
        [shared = shared, digest, size = info->size]() -> Result<Bytes> {
            FR_TRY_ASSIGN(const auto file,
                          shared->fs.open(shared->layout.blob(digest), OpenMode::read));
            Bytes data(size);
            FR_TRY_ASSIGN(const auto got, file->pread(data, 0));
            if (got != size || digest_of(digest.alg, data) != digest) {
                return fail(Errc::corrupt, "the stored bytes of " + digest.str() +
                                               " do not have its digest any more");
            }
            return data;
        },
        [this, digest, done = std::move(done)](Result<Bytes> data) {
            if (data) {
                touch(digest);
                done(std::move(data));
                return;
            }
            const auto code = data.error().code;
            if (code != Errc::corrupt && code != Errc::not_found && code != Errc::io) {
                done(std::move(data));
                return;
            }
            // verify() decides, behind whatever else is going on with this digest. Who is told asks find() then.
            verify(digest, [data = std::move(data), done](const Result<VerifyReport>&) { done(data); });
        });
}

Result<Store::Impl::Hashed> Store::Impl::hash_file(Shared& shared,
                                                   const std::string& path,
                                                   HashAlg alg) {
    FR_TRY_ASSIGN(const auto file, shared.fs.open(path, OpenMode::read));
    ChainBuilder builder(alg);
    Bytes buffer(kHashBytes);
    for (;;) {
        FR_TRY_ASSIGN(const auto got, file->pread(buffer, builder.size()));
        if (got == 0) break;
        builder.update(ByteView(buffer).first(got));
        if (builder.size() > kBlobSizeMax) return fail(Errc::too_large, path + " is over 1 TiB", EFBIG);
    }
    Hashed hashed;
    hashed.bytes = builder.size();
    hashed.result = builder.finish();
    return hashed;
}

void Store::Impl::verify(const Digest& digest, Answer<VerifyReport> done) {
    gate_.enter(digest, [this, digest, done = std::move(done)] {
        verify_inside(digest, [this, digest, done](Result<VerifyReport> report, const Chain&) {
            done(std::move(report));
            gate_.leave(digest);
        });
    });
}

void Store::Impl::verify_inside(const Digest& digest,
                                std::function<void(Result<VerifyReport>, Chain)> done) {
    if (!catalog.find(digest)) {
        done(fail(Errc::not_found, digest.str() + " is not here"), {});
        return;
    }
    on_disk(
        lane_of(digest),
        [shared = shared, digest] {
            return hash_file(*shared, shared->layout.blob(digest), digest.alg);
        },
        [this, digest, done = std::move(done)](const Result<Hashed>& hashed) {
            if (!hashed) {
                const auto code = hashed.error().code;
                const bool gone = code == Errc::not_found;
                if (gone) withdraw(digest, WithdrawReason::missing);
                const Error lost{Errc::corrupt, 0, "its file is gone"};  // not_found: there was no blob
                const auto tell = [done, error = gone ? lost : hashed.error()] {
                    done(tl::unexpected<Error>(error), {});
                };
                if (code == Errc::io) {
                    discard(digest, WithdrawReason::unreadable, false, tell);
                } else {
                    tell();
                }
                return;
            }
            const VerifyReport report{hashed->bytes, hashed->result.digest == digest,
                                      hashed->result.digest};
            if (!report.good) {
                discard(digest, WithdrawReason::bad_bytes, true, [done, report] { done(report, {}); });
                return;
            }
            auto info = *catalog.find(digest);
            info.size = hashed->bytes;
            const bool was_verified = info.verified;
            info.verified = true;
            const ByteView links = hashed->result.chain.bytes();
            admit({digest, info.size, {}, nullptr, Bytes(links.begin(), links.end())}, info);
            if (!was_verified && !info.synced) sync_later(digest);
            done(report, hashed->result.chain);
        });
}

void Store::Impl::chain_of(const Digest& digest, Answer<Chain> done) {
    const auto info = catalog.find(digest);
    if (!info) {
        done(fail(Errc::not_found, digest.str() + " is not here"));
        return;
    }
    const ChunkGrid grid(info->size);
    const auto by_hashing = [this, digest, done] {
        gate_.enter(digest, [this, digest, done] {
            verify_inside(digest, [this, digest, done](const Result<VerifyReport>& report,
                                                       Chain chain) {
                if (!report) {
                    done(tl::unexpected<Error>(report.error()));
                } else if (!report->good) {
                    done(fail(Errc::corrupt, "the stored bytes hash to " + report->found.str() +
                                                 ", not to " + digest.str()));
                } else {
                    done(std::move(chain));
                }
                gate_.leave(digest);
            });
        });
    };
    if (!info->verified) {
        by_hashing();
        return;
    }
    if (grid.count() == 1) {
        done(Chain::from_bytes(digest.alg, grid, {}));
        return;
    }
    on_index([shared = shared, digest] { return shared->cache->chain(digest); },
             [digest, grid, done, by_hashing](const Result<std::optional<Bytes>>& links) {
                 if (links && *links) {
                     auto chain = Chain::from_bytes(digest.alg, grid, **links);
                     if (chain) {
                         done(std::move(chain));
                         return;
                     }
                 }
                 by_hashing();
             });
}

void Store::Impl::touch(const Digest& digest) {
    auto* info = catalog.edit(digest);
    if (info == nullptr) return;
    info->last_use_ms = wall_ms();
    touched_[digest] = info->last_use_ms;
}

}  // namespace fastreg::store
