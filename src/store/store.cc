#include "store/store.h"

#include <utility>

#include "store/store_impl.h"

namespace fastreg::store {

std::string_view name_of(WithdrawReason reason) {
    switch (reason) {
        case WithdrawReason::bad_bytes: return "bad_bytes";
        case WithdrawReason::unreadable: return "unreadable";
        case WithdrawReason::sync_failed: return "sync_failed";
        case WithdrawReason::missing: return "missing";
        case WithdrawReason::evicted: return "evicted";
    }
    return "unreadable";
}

Store::Store(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
Store::~Store() = default;

Result<std::unique_ptr<Store>> Store::open(Fs& fs, Executor& executor, Options options) {
    if (options.dir.empty()) return fail(Errc::invalid_argument, "the data directory has no name");
    auto shared = std::make_shared<Shared>(fs, Layout(options.dir));
    auto impl = std::make_shared<Impl>(executor, std::move(options), std::move(shared));
    FR_TRY(impl->start());
    return std::unique_ptr<Store>(new Store(std::move(impl)));
}

void Store::observe(Observer observer) {
    impl_->observer = std::move(observer);
}

Identity Store::identity() const {
    return impl_->identity;
}
std::vector<Row> Store::take_rows() {
    return std::exchange(impl_->loaded_rows, {});
}
std::vector<PeerRecord> Store::take_peers() {
    return std::exchange(impl_->loaded_peers, {});
}

std::vector<HomeRecord> Store::homes() const {
    std::vector<HomeRecord> homes;
    for (const auto& [digest, record] : impl_->records) {
        if ((record.flags & kHome) != 0) homes.push_back({digest, record.size, record.since_ms});
    }
    return homes;
}

std::optional<BlobInfo> Store::find(const Digest& digest) const {
    return impl_->catalog.find(digest);
}
std::vector<BlobEntry> Store::list() const {
    return impl_->catalog.list();
}

std::vector<PartialInfo> Store::partials() const {
    std::vector<PartialInfo> partials;
    for (const auto& [digest, slot] : impl_->slots) {
        partials.push_back({digest, slot.size(), slot.open ? slot.open->map() : slot.known.map});
    }
    return partials;
}

std::uint64_t Store::capacity() const {
    return impl_->capacity();
}
Totals Store::totals() const {
    return impl_->totals();
}

void Store::open_partial(const Digest& digest,
                         std::uint64_t size,
                         Answer<std::shared_ptr<Partial>> done) {
    impl_->open_partial(digest, size, std::move(done));
}
void Store::land(std::shared_ptr<ChunkLanding> landing,
                 std::uint64_t offset_in_chunk,
                 Block block,
                 std::optional<Xxh128> checksum,
                 std::function<void(ChunkOutcome)> done) {
    impl_->land(std::move(landing), offset_in_chunk, std::move(block), checksum, std::move(done));
}
void Store::revoke(std::shared_ptr<Partial> partial,
                   const ChunkMap& wrong,
                   Answer<std::shared_ptr<Partial>> done) {
    impl_->revoke(std::move(partial), wrong, std::move(done));
}
void Store::finish_partial(std::shared_ptr<Partial> partial, Durability durability, Done done) {
    impl_->finish_partial(std::move(partial), durability, std::move(done));
}
void Store::park_partial(const Digest& digest) {
    impl_->park_partial(digest);
}
void Store::drop_partial(const Digest& digest, Done done) {
    impl_->drop_partial(digest, std::move(done));
}

void Store::ask_room(std::uint64_t bytes, Done done) {
    impl_->ask_room(bytes, std::move(done));
}
void Store::begin_upload(Answer<std::shared_ptr<UploadFile>> done, HashAlg alg) {
    impl_->begin_upload(std::move(done), alg);
}
void Store::append(std::shared_ptr<UploadFile> upload, Block block, Done done) {
    impl_->append(std::move(upload), std::move(block), std::move(done));
}
void Store::commit_upload(std::shared_ptr<UploadFile> upload,
                          const Digest& expected,
                          bool pushed,
                          Durability durability,
                          Answer<BlobInfo> done) {
    impl_->commit_upload(std::move(upload), expected, pushed, durability, std::move(done));
}
void Store::abort_upload(std::shared_ptr<UploadFile> upload, Done done) {
    impl_->abort_upload(std::move(upload), std::move(done));
}
void Store::put_small(const Digest& digest,
                      Bytes data,
                      bool pushed,
                      Durability durability,
                      Done done) {
    impl_->put_small(digest, std::move(data), pushed, durability, std::move(done));
}
void Store::read_small(const Digest& digest, std::uint64_t max, Answer<Bytes> done) {
    impl_->read_small(digest, max, std::move(done));
}

Result<std::shared_ptr<File>> Store::open_blob(const Digest& digest) const {
    const Shared& shared = *impl_->shared;
    FR_TRY_ASSIGN(std::shared_ptr<File> file,
                  shared.fs.open(shared.layout.blob(digest), OpenMode::read));
    impl_->shared->open_blobs.note(digest, file);
    return file;
}
void Store::chain_of(const Digest& digest, Answer<Chain> done) {
    impl_->chain_of(digest, std::move(done));
}
void Store::verify(const Digest& digest, Answer<VerifyReport> done) {
    impl_->verify(digest, std::move(done));
}
void Store::check_file(const Digest& digest, std::function<void(bool)> done) {
    impl_->check_file(digest, std::move(done));
}
void Store::remove(const Digest& digest, Done done) {
    impl_->remove(digest, std::move(done));
}
void Store::touch(const Digest& digest) {
    impl_->touch(digest);
}

void Store::persist_rows(std::vector<Row> rows, Done done) {
    impl_->index.meta(
        [rows = std::move(rows)](MetaDb& meta) -> Status {
            for (const auto& row : rows) FR_TRY(meta.put_row(row));
            return {};
        },
        std::move(done));
}
void Store::erase_rows(std::vector<RowKey> keys, Done done) {
    impl_->index.meta(
        [keys = std::move(keys)](MetaDb& meta) -> Status {
            for (const auto& key : keys) FR_TRY(meta.erase_row(key));
            return {};
        },
        std::move(done));
}
void Store::set_home(const Digest& digest, std::uint64_t size, bool home, Done done) {
    impl_->set_flag(digest, size, kHome, home, std::move(done));
}
void Store::set_pinned(const Digest& digest, std::uint64_t size, bool pinned, Done done) {
    impl_->set_flag(digest, size, kPinned, pinned, std::move(done));
}
void Store::save_peers(std::vector<PeerRecord> peers, Done done) {
    impl_->index.meta(
        [peers = std::move(peers)](MetaDb& meta) { return meta.replace_peers(peers); },
        std::move(done));
}
void Store::back_up(Done done) {
    impl_->back_up(std::move(done));
}

void Store::tick(Instant now) {
    impl_->tick(now);
}
Instant Store::next_deadline() const {
    return impl_->next_deadline;
}
void Store::close(Done done) {
    impl_->close(std::move(done));
}

/// The row vouches for the file only if its bytes were hashed and synced before; otherwise it says what
/// the blob is wanted for, and no more.
void Store::Impl::set_flag(const Digest& digest,
                           std::uint64_t size,
                           unsigned flag,
                           bool on,
                           Done answer) {
    gate_.enter(digest, [this, digest, size, flag, on, answer = std::move(answer)] {
        const auto done = [this, digest, answer](const Status& status) {
            answer(status);
            gate_.leave(digest);
        };
        sync_now(digest, [this, digest, size, flag, on, done](const Status& synced) {
            if (!synced) {
                done(synced);
                return;
            }
            const auto info = catalog.find(digest);
            BlobRecord record{digest, size, wall_ms(), 0};
            if (const auto it = records.find(digest);
                it != records.end() && (it->second.flags & kTombstone) == 0) {
                record = it->second;
            }
            if (((record.flags & flag) != 0) == on && !index.meta_uncertain()) {
                done({});
                return;
            }
            record.flags = (record.flags & ~(flag | kDoubted)) | (on ? flag : 0U);
            if (!info || !info->verified || !info->synced) {
                record.flags |= kDoubted;
            } else {
                record.size = info->size;  // hashed; what was asked for is a claim
            }
            commit_record(record, [this, digest, record, done](const Status& status) {
                auto* kept = status ? catalog.edit(digest) : nullptr;
                if (kept != nullptr) {
                    kept->home = (record.flags & kHome) != 0;
                    kept->pinned = (record.flags & kPinned) != 0;
                }
                done(status);
            });
        });
    });
}

}  // namespace fastreg::store
