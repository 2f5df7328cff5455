// What the store's tests share: a store on a disk in memory, blocks, and blobs with their chains.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <optional>
#include <string>

#include "base/chain.h"
#include "base/log.h"
#include "base/random.h"
#include "store/store.h"
#include "tests/support/memory_fs.h"

namespace fastreg::store {

inline constexpr const char* kDir = "/data";

struct TestBlob {
    Bytes data;
    Digest digest;
    ChunkGrid grid;
    Chain chain;

    [[nodiscard]] ByteView link(ChunkIndex border) const {
        return border == 0 || border >= grid.count() ? ByteView{} : chain.state_before(border);
    }
    [[nodiscard]] ByteView chunk(ChunkIndex i) const {
        return ByteView(data).subspan(grid.offset_of(i), grid.size_of(i));
    }
};

inline TestBlob make_blob(std::size_t size, std::uint64_t seed, HashAlg alg = HashAlg::sha256) {
    TestBlob blob;
    Rng rng(seed);
    blob.data.resize(size);
    for (auto& byte : blob.data) byte = static_cast<std::byte>(rng.next());
    ChainBuilder builder(alg);
    builder.update(blob.data);
    auto result = builder.finish();
    blob.digest = result.digest;
    blob.grid = result.grid;
    blob.chain = std::move(result.chain);
    return blob;
}

inline Block make_block(ByteView data) {
    static const auto pool = BlockPool::create(256U << 10U, 64);
    Block block = pool->try_take();
    FR_ASSERT(block && data.size() <= block.room().size());
    std::copy(data.begin(), data.end(), block.room().begin());
    block.set_filled(data.size());
    return block;
}

/// Numbers instead of chance and time, so that a run repeats itself.
inline Options test_options(std::uint64_t seed = 1) {
    Options options;
    options.dir = kDir;
    options.random = [rng = std::make_shared<Rng>(seed)](std::span<std::byte> out) {
        for (auto& byte : out) byte = static_cast<std::byte>(rng->next());
    };
    options.wall_ms = [now = std::make_shared<std::uint64_t>(1'000'000)] { return ++*now; };
    return options;
}

/// One data directory in memory, with a store on it that can be stopped in several ways.
struct Rig {
    test::MemoryFs fs;
    InlineExecutor executor;
    std::unique_ptr<Store> store;

    explicit Rig(bool opened = true) {
        log::set_level(log::Level::off);
        if (opened) open();
    }

    void open(Options options = test_options()) {
        auto result = Store::open(fs, executor, std::move(options));
        if (!result) FAIL(describe(result.error()));
        store = std::move(*result);
    }
    [[nodiscard]] Status try_open(Options options = test_options()) {
        auto result = Store::open(fs, executor, std::move(options));
        if (!result) return tl::unexpected<Error>(result.error());
        store = std::move(*result);
        return {};
    }
    void close() {
        std::optional<Status> outcome;
        store->close([&](Status status) { outcome = std::move(status); });
        REQUIRE(outcome);
        if (!*outcome) FAIL(describe(outcome->error()));
        store.reset();
    }
    /// The process dies; the machine does not.
    void kill() { store.reset(); }
    /// The store is not open. Both files: SQLite would take the pages of one from the other.
    void damage_meta() {
        for (const char* path : {"/data/meta.db", "/data/meta.db-wal"}) {
            const auto file = fs.open(path, OpenMode::create);
            REQUIRE(file);
            REQUIRE((*file)->pwrite(Bytes(2000, std::byte{0x5a}), 0));
            REQUIRE((*file)->fdatasync());
        }
    }
    void power_cut(std::uint64_t seed) {
        store.reset();
        Rng rng(seed);
        fs.power_cut(rng);
    }

    [[nodiscard]] Result<BlobInfo> push(const TestBlob& blob,
                                        bool pushed = true,
                                        Durability durability = Durability::durable) {
        std::optional<Result<BlobInfo>> outcome;
        std::shared_ptr<UploadFile> upload;
        std::optional<Error> error;
        store->begin_upload([&](Result<std::shared_ptr<UploadFile>> begun) {
            if (begun) upload = *begun;
            if (!begun) error = begun.error();
        });
        for (std::size_t at = 0; !error && at < blob.data.size(); at += 100'000) {
            const auto piece = ByteView(blob.data).subspan(
                at, std::min<std::size_t>(100'000, blob.data.size() - at));
            store->append(upload, make_block(piece), [&](const Status& status) {
                if (!status) error = status.error();
            });
        }
        if (!error) {
            store->commit_upload(upload, blob.digest, pushed, durability,
                                 [&](Result<BlobInfo> info) { outcome = std::move(info); });
            REQUIRE(outcome);
            if (!*outcome) error = outcome->error();
        }
        if (!error) return *outcome;
        if (upload) store->abort_upload(upload, [](const Status&) {});
        return tl::unexpected<Error>(*error);
    }

    [[nodiscard]] Result<std::shared_ptr<Partial>> open_partial(const TestBlob& blob) {
        std::optional<Result<std::shared_ptr<Partial>>> outcome;
        store->open_partial(blob.digest, blob.data.size(),
                            [&](Result<std::shared_ptr<Partial>> p) { outcome = std::move(p); });
        REQUIRE(outcome);
        return *outcome;
    }
    /// One chunk in blocks of 64 KiB.
    [[nodiscard]] ChunkOutcome land(const std::shared_ptr<Partial>& partial,
                                    const TestBlob& blob,
                                    ChunkIndex i) {
        auto landing = ChunkLanding::create(partial, i, blob.link(i), blob.link(i + 1));
        REQUIRE(landing);
        return land_bytes(*landing, blob.chunk(i));
    }
    [[nodiscard]] ChunkOutcome land_bytes(const std::shared_ptr<ChunkLanding>& landing,
                                          ByteView chunk) {
        std::optional<ChunkOutcome> outcome;
        std::size_t at = 0;
        do {
            const auto piece = chunk.subspan(at, std::min<std::size_t>(65'536, chunk.size() - at));
            store->land(landing, at, make_block(piece), xxh3_128(piece),
                        [&](ChunkOutcome o) { outcome = o; });
            at += piece.size();
        } while (at < chunk.size());
        REQUIRE(outcome);
        return *outcome;
    }
    [[nodiscard]] Status finish(const std::shared_ptr<Partial>& partial, Durability durability) {
        std::optional<Status> outcome;
        store->finish_partial(partial, durability, [&](Status s) { outcome = std::move(s); });
        REQUIRE(outcome);
        return *outcome;
    }
    /// A partial blob with its first chunks; by default all of them.
    [[nodiscard]] std::shared_ptr<Partial> filled(const TestBlob& blob,
                                                  std::optional<ChunkIndex> chunks = {}) {
        const auto partial = open_partial(blob);
        REQUIRE(partial);
        for (ChunkIndex i = 0; i < chunks.value_or(blob.grid.count()); ++i) {
            REQUIRE(land(*partial, blob, i) == ChunkOutcome::stored);
        }
        return *partial;
    }
    /// The power goes before the nth operation of making a blob of it.
    void power_cut_in_finish(const std::shared_ptr<Partial>& partial,
                             std::uint64_t n,
                             std::uint64_t seed) {
        fs.stop_after(n);
        (void)finish(partial, Durability::deferred);
        power_cut(seed);
    }
    [[nodiscard]] Status pull(const TestBlob& blob, Durability durability) {
        auto partial = open_partial(blob);
        if (!partial) return tl::unexpected<Error>(partial.error());
        for (ChunkIndex i = 0; i < blob.grid.count(); ++i) {
            const auto outcome = land(*partial, blob, i);
            if (outcome != ChunkOutcome::stored) {
                return fail(Errc::io, std::string(name_of(outcome)));
            }
        }
        return finish(*partial, durability);
    }
    [[nodiscard]] Status remove(const Digest& digest) {
        std::optional<Status> outcome;
        store->remove(digest, [&](Status s) { outcome = std::move(s); });
        REQUIRE(outcome);
        return *outcome;
    }
    [[nodiscard]] Status back_up() {
        std::optional<Status> outcome;
        store->back_up([&](Status s) { outcome = std::move(s); });
        REQUIRE(outcome);
        return *outcome;
    }
    [[nodiscard]] Result<VerifyReport> verify(const Digest& digest) {
        std::optional<Result<VerifyReport>> outcome;
        store->verify(digest, [&](Result<VerifyReport> r) { outcome = std::move(r); });
        REQUIRE(outcome);
        return *outcome;
    }
    /// False when the check could not be done. To be told that the bytes are good fails the test.
    [[nodiscard]] bool found_bad(const Digest& digest) {
        const auto report = verify(digest);
        if (report) REQUIRE_FALSE(report->good);
        return report.has_value();
    }
    /// What a reader gets; nothing when the blob may not be served.
    [[nodiscard]] std::optional<Bytes> read(const Digest& digest) const {
        const auto info = store->find(digest);
        if (!info || !info->verified) return std::nullopt;
        const auto file = store->open_blob(digest);
        if (!file) return std::nullopt;
        Bytes data(info->size + 1);
        const auto got = (*file)->pread(data, 0);
        if (!got) return std::nullopt;
        data.resize(*got);
        return data;
    }
    /// What may be served is the blob, or nothing is.
    void check_read(const TestBlob& blob) const {
        if (const auto seen = read(blob.digest)) CHECK(*seen == blob.data);
    }
};

inline std::string blob_path(const Digest& digest) {
    return std::string(kDir) + "/blobs/" + std::string(name_of(digest.alg)) + "/" +
           digest.hex().substr(0, 2) + "/" + digest.hex();
}

}  // namespace fastreg::store
