// Blobs that arrive in order, and small ones that arrive whole.
#include <utility>

#include "store/store_impl.h"
#include "store/upload_ops.h"

namespace fastreg::store {

void Store::Impl::begin_upload(Answer<std::shared_ptr<UploadFile>> done, HashAlg alg) {
    std::array<std::byte, 8> salt{};
    options_.random(salt);
    std::uint64_t lane = 0;
    std::memcpy(&lane, salt.data(), sizeof lane);
    on_disk(
        lane,
        [shared = shared, path = temporary("upload"), lane,
         alg]() -> Result<std::shared_ptr<UploadFile>> {
            FR_TRY_ASSIGN(std::shared_ptr<File> file, shared->fs.open(path, OpenMode::create_new));
            return std::make_shared<UploadFile>(path, lane, std::move(file), alg);
        },
        [this, done = std::move(done)](Result<std::shared_ptr<UploadFile>> upload) {
            if (upload) {
                ++uploads_;
                open_uploads_.emplace(UploadOps::path(**upload), *upload);
            }
            done(std::move(upload));
        });
}

void Store::Impl::append(std::shared_ptr<UploadFile> upload, Block block, Done done) {
    const std::string& path = UploadOps::path(*upload);
    const auto held = held_appends_.find(path);
    if (held == held_appends_.end() && (fits(block.size()) || closing_ != Closing::no)) {
        return append_now(upload, std::move(block), std::move(done));
    }
    // In the order of the calls, so all later ones wait with the first.
    held_appends_[path].push_back({std::move(upload), std::move(block), std::move(done)});
    if (held == held_appends_.end()) go_on_appending(path);
}

void Store::Impl::go_on_appending(const std::string& path) {
    const std::uint64_t bytes = held_appends_.at(path).front().block.size();
    with_room(bytes, [this, path] {
        auto& held = held_appends_.at(path);
        HeldAppend next = std::move(held.front());
        held.pop_front();
        const bool more = !held.empty();
        if (!more) held_appends_.erase(path);
        append_now(std::move(next.upload), std::move(next.block), std::move(next.done));
        if (more) go_on_appending(path);
    });
}

void Store::Impl::append_now(std::shared_ptr<UploadFile> upload, Block block, Done done) {
    const std::uint64_t bytes = block.size();
    auto status = UploadOps::usable(*upload);
    if (status && bytes > kBlobSizeMax - upload->queued()) {
        status = fail(Errc::too_large, "the upload passes " + human_bytes(kBlobSizeMax) +
                                           "; blobs over that are refused");
    }
    if (status) status = room_for(bytes);
    if (!status) {
        if (UploadOps::refuse(*upload, status.error())) tell_refused(status.error());
        done(std::move(status));
        return;
    }
    UploadOps::queued(*upload, bytes);
    upload_bytes_ += bytes;
    on_disk(
        UploadOps::lane(*upload),
        [shared = shared, upload, block = std::move(block), min_free = options_.min_free_bytes] {
            return UploadOps::append(shared->free_space, *upload, block.filled(), min_free);
        },
        [this, upload, bytes, done = std::move(done)](Status appended) {
            if (appended) {
                UploadOps::written(*upload, bytes);
            } else if (UploadOps::refuse(*upload, appended.error())) {
                tell_refused(appended.error());
            }
            done(std::move(appended));
        });
}

void Store::Impl::commit_upload(std::shared_ptr<UploadFile> upload,
                                const Digest& expected,
                                bool pushed,
                                Durability durability,
                                Answer<BlobInfo> done) {
    if (auto status = UploadOps::usable(*upload); !status) {
        done(tl::unexpected<Error>(std::move(status).error()));
        return;
    }
    UploadOps::set_committing(*upload, true);
    on_disk(
        UploadOps::lane(*upload),
        [upload, expected] { return UploadOps::hash(*upload, expected); },
        [this, upload, expected, pushed, durability,
         done = std::move(done)](const Result<ChainBuilder::Result>& hashed) {
            if (!hashed) {
                UploadOps::set_committing(*upload, false);
                UploadOps::refuse(*upload, hashed.error());
                done(tl::unexpected<Error>(hashed.error()));
                return;
            }
            const ByteView links = hashed->chain.bytes();
            Placing placing{expected, hashed->grid.blob_size(), UploadOps::path(*upload),
                            upload->file(), Bytes(links.begin(), links.end()), pushed, durability};
            gate_.enter(expected, [this, upload, placing = std::move(placing), done] {
                place(placing, [this, upload, digest = placing.digest,
                                done](Result<BlobInfo> placed) {
                    if (!placed) tell_refused(placed.error());
                    forget_upload(*upload);
                    done(std::move(placed));
                    gate_.leave(digest);
                });
            });
        });
}

void Store::Impl::abort_upload(std::shared_ptr<UploadFile> upload, Done done) {
    const std::string path = UploadOps::path(*upload);
    if (!open_uploads_.contains(path)) {
        done({});
        return;
    }
    UploadOps::close(*upload);
    on_disk(
        UploadOps::lane(*upload), [shared = shared, path] { return shared->fs.unlink(path); },
        [this, upload, done = std::move(done)](Status status) {
            forget_upload(*upload);
            done(unless_missing(std::move(status)));
        });
}

void Store::Impl::forget_upload(UploadFile& upload) {
    UploadOps::close(upload);
    if (open_uploads_.erase(UploadOps::path(upload)) == 0) return;
    --uploads_;
    upload_bytes_ -= upload.queued();
}

void Store::Impl::put_small(const Digest& digest,
                            Bytes data,
                            bool pushed,
                            Durability durability,
                            Done done) {
    if (data.size() > kSmallMax) {
        return done(fail(Errc::too_large, digest.str() + " has " + human_bytes(data.size()) + "; at most " +
                                              human_bytes(kSmallMax) + " may be put in one piece"));
    }
    const std::uint64_t size = data.size();
    const auto shared_data = std::make_shared<const Bytes>(std::move(data));
    with_room(size, [this, digest, size, shared_data, pushed, durability, done = std::move(done)] {
        put_small_now(digest, shared_data, pushed, durability, [=, this](Status kept) {
            if (kept || kept.error().code != Errc::no_space) return done(std::move(kept));
            // Others have filled the file system since the last look at it.
            make_room(size, [=, this] {
                put_small_now(digest, shared_data, pushed, durability, [this, done](Status again) {
                    if (!again) tell_refused(again.error());
                    done(std::move(again));
                });
            });
        });
    });
}

void Store::Impl::put_small_now(const Digest& digest, std::shared_ptr<const Bytes> data, bool pushed,
                                Durability durability, Done done) {
    const std::uint64_t size = data->size();
    if (auto status = room_for(size); !status) return done(std::move(status));
    upload_bytes_ += size;
    gate_.enter(digest, [this, digest, size, data = std::move(data), pushed, durability, done = std::move(done)] {
        const auto finish = [this, digest, size, done](const Status& outcome) {
            upload_bytes_ -= size;
            done(outcome);
            gate_.leave(digest);
        };
        const std::string path = temporary("small");
        on_disk(
            lane_of(digest),
            [shared = shared, digest, data, path,
             min_free = options_.min_free_bytes]() -> Result<std::shared_ptr<File>> {
                const auto found = digest_of(digest.alg, *data);
                if (found != digest) {
                    return fail(Errc::corrupt,
                                "the bytes hash to " + found.str() + ", not to " + digest.str());
                }
                FR_TRY(shared->free_space.take(data->size(), min_free));
                FR_TRY_ASSIGN(std::shared_ptr<File> file,
                              shared->fs.open(path, OpenMode::create_new));
                if (auto written = file->pwrite(*data, 0); !written) {
                    (void)shared->fs.unlink(path);
                    return tl::unexpected<Error>(std::move(written).error());
                }
                return file;
            },
            [this, digest, size, path, pushed, durability,
             finish](const Result<std::shared_ptr<File>>& file) {
                if (!file) {
                    finish(tl::unexpected<Error>(file.error()));
                    return;
                }
                place({digest, size, path, *file, std::nullopt, pushed, durability},
                      [finish](const Result<BlobInfo>& placed) {
                          if (placed) {
                              finish({});
                          } else {
                              finish(tl::unexpected<Error>(placed.error()));
                          }
                      });
            });
    });
}

std::string Store::Impl::temporary(std::string_view kind) {
    std::array<std::byte, 16> salt{};
    options_.random(salt);
    return shared->layout.temporary(kind, to_hex(salt));
}

}  // namespace fastreg::store
