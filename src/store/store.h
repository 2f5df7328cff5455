// Bytes at rest: blobs under their digests, chunks on their way to become blobs, uploads, and the
// rows other rooms want kept. Reaches the disk through Fs only (docs/PROTOCOL.md, "Store").
//
// Loop thread only, but for open_blob() and File. Nothing here waits for the disk except open(): work
// runs on the Executor and answers through callbacks on the loop thread. Callbacks never run after
// the Store is destroyed; with InlineExecutor they run inside the call.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/block_pool.h"
#include "base/hash.h"
#include "base/ids.h"
#include "base/instant.h"
#include "store/catalog.h"
#include "store/executor.h"
#include "store/fs.h"
#include "store/partial.h"
#include "store/rows.h"
#include "store/upload.h"

namespace fastreg::store {

struct Options {
    std::string dir;
    /// Blobs, partial blobs (in full) and uploads together; 0 means no limit of its own.
    std::uint64_t max_bytes = 0;
    /// Left free on the file system.
    std::uint64_t min_free_bytes = 0;
    /// Percent of capacity(). Above the high one cached copies that nobody uses go, until the low one; so they do
    /// when something finds no room.
    unsigned high_watermark = 95;
    unsigned low_watermark = 90;
    /// How often tick() writes meta.db.bak, if meta.db changed since; 0 leaves it to close().
    Duration backup_every = 600s;
    /// Simulators give their own; empty means the system's generator and clock.
    std::function<void(std::span<std::byte>)> random;
    std::function<std::uint64_t()> wall_ms;
};

struct Identity {
    NodeId node;
    BootEpoch boot_epoch = 0;
};

struct Totals {
    std::uint64_t blobs = 0;
    std::uint64_t blob_bytes = 0;
    std::uint64_t partials = 0;
    std::uint64_t partial_bytes = 0;  // reserved: the full sizes
    std::uint64_t uploads = 0;
    std::uint64_t upload_bytes = 0;
    std::uint64_t unsynced = 0;    // complete blobs that a loss of power may take
    std::uint64_t unverified = 0;  // complete files that are hashed before their first use
    std::uint64_t free_bytes = 0;  // of the file system, when last looked
    std::uint64_t withdrawn = 0;   // blobs found bad since the start
    [[nodiscard]] std::uint64_t used_bytes() const {
        return blob_bytes + partial_bytes + upload_bytes;
    }
};

struct PartialInfo {
    Digest digest;
    std::uint64_t size = 0;
    ChunkMap map;  // as recorded; after an unclean stop checked again by open_partial
};

struct VerifyReport {
    std::uint64_t bytes = 0;
    bool good = false;  // false: the blob was withdrawn and its file removed
    Digest found;       // what the bytes hash to
};

/// What finish and commit wait for.
enum class Durability {
    durable,   // bytes, name and row survive a loss of power before the callback
    deferred,  // visible at the rename; synced in the background (pulled copies)
};

enum class WithdrawReason { bad_bytes, unreadable, sync_failed, missing, evicted };
[[nodiscard]] std::string_view name_of(WithdrawReason reason);

/// Told, and asked, on the loop thread.
struct Observer {
    /// The blob is no longer here, because it is bad or it made room; if `info.home`, it should be fetched from a
    /// peer again.
    std::function<void(const Digest&, const BlobInfo& info, WithdrawReason)> on_withdrawn;
    /// An upload, a small blob or a new partial blob was refused for lack of space (once for each).
    std::function<void()> on_no_space = {};
    /// Whether a cached copy may make room now. Who keeps its file open for later lets go of it here; a file that
    /// is open after that stays. Cheap: asked for many in a row.
    std::function<bool(const Digest&)> may_evict = {};
};

class Store {
  public:
    using Done = std::function<void(Status)>;
    template <class T>
    using Answer = std::function<void(Result<T>)>;

    /// Blocks. Makes the layout, takes the lock, opens the databases, wipes stale temporaries, compares
    /// files with rows, checks both databases after an unclean stop. Errors: busy (another process
    /// has it), unsupported (written by a newer version), permission_denied, no_space, io.
    [[nodiscard]] static Result<std::unique_ptr<Store>> open(Fs& fs,
                                                             Executor& executor,
                                                             Options options);
    ~Store();
    Store(const Store&) = delete;
    Store& operator=(const Store&) = delete;
    void observe(Observer observer);

    // What was there at the start, and what is there now.
    [[nodiscard]] Identity identity() const;
    /// All rows of meta.db as they were at the start; empty when called again.
    [[nodiscard]] std::vector<Row> take_rows();
    [[nodiscard]] std::vector<PeerRecord> take_peers();
    /// Homes of this node, whether or not their bytes are here, in the order of the digests.
    [[nodiscard]] std::vector<HomeRecord> homes() const;
    [[nodiscard]] std::optional<BlobInfo> find(const Digest& digest) const;
    [[nodiscard]] std::vector<BlobEntry> list() const;
    [[nodiscard]] std::vector<PartialInfo> partials() const;
    [[nodiscard]] Totals totals() const;
    /// What the store may come to use: max-bytes, or what it uses and the file system has above
    /// min-free, whichever is less. The free space is that of the last look (5 s).
    [[nodiscard]] std::uint64_t capacity() const;

    // Blobs that arrive in chunks, in any order.
    /// Makes partial/<alg>-<hex>, or resumes it with the chunks that were verified. Cached copies that nobody
    /// uses make room, if that is enough. Errors: no_space, already_exists (complete), busy (open with another
    /// size), too_large, io.
    void open_partial(const Digest& digest,
                      std::uint64_t size,
                      Answer<std::shared_ptr<Partial>> done);
    /// Writes the block at its place (bytes from the chunk's begin) and hashes it. Blocks of one landing
    /// come in order; `block` must be memory that no peer can write to. `checksum`, if the sender gave
    /// one, is of this block alone, and a block that differs is not written. `done` is called once a
    /// landing: at its end or at its first failure; blocks after that are dropped and their `done` is not
    /// called. A chunk that is verified already answers `stored` and is not written again.
    void land(std::shared_ptr<ChunkLanding> landing,
              std::uint64_t offset_in_chunk,
              Block block,
              std::optional<Xxh128> checksum,
              std::function<void(ChunkOutcome)> done);
    /// Gives up the named chunks (their chain was wrong). The other chunks are copied to a new inode,
    /// since pages of the old one may still be on their way to a reader; the old Partial is closed.
    void revoke(std::shared_ptr<Partial> partial,
                const ChunkMap& wrong,
                Answer<std::shared_ptr<Partial>> done);
    /// The map must be full. See Durability. The proven chain is kept with the blob.
    void finish_partial(std::shared_ptr<Partial> partial, Durability durability, Done done);
    /// Nobody fills it now. The file is synced and closed, its map is kept so that open_partial goes on
    /// with it. It goes when it was idle for an hour, or as the oldest when a write finds no room.
    void park_partial(const Digest& digest);
    /// Removes the file. Landings on their way are dropped.
    void drop_partial(const Digest& digest, Done done);

    // Blobs that arrive in order, of unknown size: pushes, and what the origin sends.
    /// Whether so many more bytes fit beside all that is promised, once cached copies have made room. Keeps nothing
    /// free for them: append may say no_space all the same. Errors: no_space, io.
    void ask_room(std::uint64_t bytes, Done done);
    void begin_upload(Answer<std::shared_ptr<UploadFile>> done, HashAlg alg = HashAlg::sha256);
    /// Several may be under way; they are written in the order of the calls. After an error every later
    /// append fails with it. Errors: no_space, too_large (1 TiB), io.
    void append(std::shared_ptr<UploadFile> upload, Block block, Done done);
    /// Digest check -> fdatasync -> rename -> fsync directory -> rows -> `done`. `pushed` marks the blob
    /// as a push (durable implied). Errors: corrupt (names both digests; the file stays until
    /// abort_upload), no_space, io (a sync failed: the file is gone).
    void commit_upload(std::shared_ptr<UploadFile> upload,
                       const Digest& expected,
                       bool pushed,
                       Durability durability,
                       Answer<BlobInfo> done);
    void abort_upload(std::shared_ptr<UploadFile> upload, Done done);

    // Small blobs in one piece: manifests and configs, at most kSmallMax.
    static constexpr std::uint64_t kSmallMax = 16ULL << 20U;
    void put_small(const Digest& digest,
                   Bytes data,
                   bool pushed,
                   Durability durability,
                   Done done);
    /// Hashed before it is handed out; a bad one is withdrawn before `done` is told. Errors: not_found, too_large,
    /// corrupt, io.
    void read_small(const Digest& digest, std::uint64_t max, Answer<Bytes> done);

    // Complete blobs.
    /// ANY THREAD. The caller asked find() first; readers keep the File, a removal does not disturb them.
    [[nodiscard]] Result<std::shared_ptr<File>> open_blob(const Digest& digest) const;
    /// From cache.db, or by hashing the file, which also verifies it.
    void chain_of(const Digest& digest, Answer<Chain> done);
    /// Reads and hashes the file. A bad blob is an answer, not an error. Errors: not_found; corrupt (its file
    /// is gone) and io, which withdraw the blob; others, such as busy, do not.
    void verify(const Digest& digest, Answer<VerifyReport> done);
    /// For a reader who found the file gone, or of another size than find() says: withdraws the blob if it is
    /// so. `done` is told whether it is still here. Reads no byte.
    void check_file(const Digest& digest, std::function<void(bool here)> done);
    /// Tombstone row -> withdraw -> unlink. Fine when it is not here.
    void remove(const Digest& digest, Done done);
    /// Cheap; written at most once a minute.
    void touch(const Digest& digest);

    // Rows; each call is durable before its callback, and calls that wait share one transaction.
    /// A row that is older than the kept one is passed over.
    void persist_rows(std::vector<Row> rows, Done done);
    void erase_rows(std::vector<RowKey> keys, Done done);
    void set_home(const Digest& digest, std::uint64_t size, bool home, Done done);
    void set_pinned(const Digest& digest, std::uint64_t size, bool pinned, Done done);
    /// Replaces all.
    void save_peers(std::vector<PeerRecord> peers, Done done);
    /// Writes meta.db.bak through the online backup; the next start falls back on it.
    void back_up(Done done);

    /// Chunk maps every 250 ms, use times every minute, free space, background hashing of unverified
    /// files. Call at next_deadline(); early or twice is harmless.
    void tick(Instant now);
    [[nodiscard]] Instant next_deadline() const;

    /// Ends what is under way, syncs, records and closes; nothing else may be called after it.
    void close(Done done);

  private:
    class Impl;
    explicit Store(std::shared_ptr<Impl> impl);
    std::shared_ptr<Impl> impl_;
};

}  // namespace fastreg::store
