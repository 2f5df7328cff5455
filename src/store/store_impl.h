// The inside of Store: what the loop thread owns, and how it sends work away. One .cc file a concern:
// store_open, store_place (how a file becomes a blob), store_withdraw (how it stops being one),
// store_partials, store_uploads, store_blobs, store_room, store_evict (what makes room), store_tick.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <map>
#include <set>
#include <type_traits>
#include <unordered_set>
#include <utility>

#include "store/digest_gate.h"
#include "store/index_queue.h"
#include "store/partial_ops.h"
#include "store/store.h"

namespace fastreg::store {

class Store::Impl : public std::enable_shared_from_this<Impl> {
  public:
    Impl(Executor& executor, Options options, std::shared_ptr<Shared> shared);
    /// Blocks; before anything else.
    Status start();

    // Store's own calls, in its order.
    void open_partial(const Digest& digest, std::uint64_t size, Answer<std::shared_ptr<Partial>> done);
    void land(std::shared_ptr<ChunkLanding> landing,
              std::uint64_t offset,
              Block block,
              std::optional<Xxh128> checksum,
              std::function<void(ChunkOutcome)> done);
    void revoke(std::shared_ptr<Partial> partial,
                const ChunkMap& wrong,
                Answer<std::shared_ptr<Partial>> done);
    void finish_partial(std::shared_ptr<Partial> partial, Durability durability, Done done);
    void park_partial(const Digest& digest);
    void drop_partial(const Digest& digest, Done done);
    void ask_room(std::uint64_t bytes, Done done);
    void begin_upload(Answer<std::shared_ptr<UploadFile>> done, HashAlg alg);
    void append(std::shared_ptr<UploadFile> upload, Block block, Done done);
    void commit_upload(std::shared_ptr<UploadFile> upload,
                       const Digest& expected,
                       bool pushed,
                       Durability durability,
                       Answer<BlobInfo> done);
    void abort_upload(std::shared_ptr<UploadFile> upload, Done done);
    void put_small(const Digest& digest, Bytes data, bool pushed, Durability durability, Done done);
    void read_small(const Digest& digest, std::uint64_t max, Answer<Bytes> done);
    void chain_of(const Digest& digest, Answer<Chain> done);
    void verify(const Digest& digest, Answer<VerifyReport> done);
    void check_file(const Digest& digest, std::function<void(bool)> done);
    void remove(const Digest& digest, Done done);
    void touch(const Digest& digest);
    void set_flag(const Digest& digest, std::uint64_t size, unsigned flag, bool on, Done done);
    void back_up(Done done);
    void tick(Instant now);
    void close(Done done);
    [[nodiscard]] Totals totals() const;
    [[nodiscard]] std::uint64_t capacity() const;

    const std::shared_ptr<Shared> shared;
    IndexQueue index;
    Observer observer;
    Identity identity;
    Catalog catalog;
    std::map<Digest, BlobRecord> records;  // the blobs table of meta.db, as committed
    std::vector<Row> loaded_rows;
    std::vector<PeerRecord> loaded_peers;

    /// A partial blob on the disk; `open` while somebody may be filling it.
    struct Slot {
        CachedPartial known;  // only while it is not open
        std::shared_ptr<Partial> open;
        bool dirty = false;
        Instant idle_since = {0};  // of one that is not open; 0 until the next tick
        [[nodiscard]] std::uint64_t size() const { return open ? open->size() : known.size; }
        /// Bytes it was promised and has not written.
        [[nodiscard]] std::uint64_t unwritten() const {
            const auto& map = open ? open->map() : known.map;
            return size() - std::min(size(), map.set_count() * chunk_size_for(size()));
        }
    };
    std::map<Digest, Slot> slots;
    Instant next_deadline = {0};

  private:
    // store_open.cc
    Status make_layout();
    Status check_versions();
    Status take_lock();
    Status mark_running();
    Status open_meta();
    Status load_meta();
    Status restore_meta(const Error& why);
    Status open_cache(std::vector<CachedBlob>& blobs, std::vector<CachedPartial>& partials);
    Status write_identity();
    Status write_file(const std::string& path, ByteView data);
    Status doubt_backup();
    /// What the shelves showed.
    struct Found {
        std::set<Digest> files;
        std::vector<Digest> misfits;  // files of another size than their row says
    };
    Status reconcile_blobs(const std::vector<CachedBlob>& cached);
    Status reconcile_shelf(const std::string& path,
                           HashAlg alg,
                           const std::map<Digest, const CachedBlob*>& cached,
                           Found& found);
    Status keep_unrecorded();
    Status void_rows(const std::vector<CachedBlob>& cached, const Found& found);
    Status reconcile_partials(std::vector<CachedPartial> cached);
    Status finish_removals();

    // store_place.cc
    struct Placing {
        Digest digest;
        std::uint64_t size = 0;
        std::string from;             // where the bytes are; renamed
        std::shared_ptr<File> file;
        std::optional<Bytes> links;   // the chain, where it is known
        bool pushed = false;
        Durability durability = Durability::durable;
    };
    /// Inside the gate of the digest, which it does not leave.
    void place(Placing placing, Answer<BlobInfo> done);
    void place_anew(const Placing& placing, bool durable, const Answer<BlobInfo>& done);
    struct Moved {
        Status status;
        bool target_gone = false;  // what had the name before has lost it
    };
    static Moved move_in(Shared& shared, const Placing& placing, bool durable);
    void placed(const Placing& placing, bool durable, const Answer<BlobInfo>& done);
    void keep_existing(const Placing& placing, BlobInfo info, const Answer<BlobInfo>& done);
    void admit(const Placing& placing, const BlobInfo& info);
    void commit_record(BlobRecord record, Done done);
    [[nodiscard]] bool needs_sync(const Digest& digest) const;
    void sync_later(const Digest& digest);
    void sync_next();
    void sync_now(const Digest& digest, Done done);  // inside the gate

    // store_withdraw.cc; inside the gate of the digest
    void withdraw(const Digest& digest, WithdrawReason reason);
    void forget_blob(const Digest& digest);
    void discard(const Digest& digest, WithdrawReason reason, bool unlink, std::function<void()> done);
    void unlink_blob(const Digest& digest, Done done);
    void erase_record(const Digest& digest, unsigned flags);

    // Shared by several.
    struct Hashed {
        std::uint64_t bytes = 0;
        ChainBuilder::Result result;
    };
    static Result<Hashed> hash_file(Shared& shared, const std::string& path, HashAlg alg);
    void verify_inside(const Digest& digest, std::function<void(Result<VerifyReport>, Chain)> done);
    /// Inside the gate; leaves it.
    void open_in_room(const Digest& digest, std::uint64_t size, const Answer<std::shared_ptr<Partial>>& done);
    void persist_partials();
    void drop_idle_partials(Instant now);
    void drop_inside(const Digest& digest, Done done);  // inside the gate
    void persist_touches();
    void forget_slot(const Digest& digest);
    void forget_upload(UploadFile& upload);

    // store_uploads.cc
    /// A block of an upload that waits for room, and those behind it.
    struct HeldAppend {
        std::shared_ptr<UploadFile> upload;
        Block block;
        Done done;
    };
    void append_now(std::shared_ptr<UploadFile> upload, Block block, Done done);
    void go_on_appending(const std::string& path);
    void put_small_now(const Digest& digest, std::shared_ptr<const Bytes> data, bool pushed, Durability durability,
                       Done done);

    // store_evict.cc
    /// What may be in use: capacity(), less what others have taken of min-free.
    [[nodiscard]] std::uint64_t allowed() const { return capacity() - std::min(capacity(), disk_deficit_); }
    [[nodiscard]] std::uint64_t share_of_room(unsigned percent) const;
    [[nodiscard]] bool fits(std::uint64_t bytes) const;
    /// Then there is room for `bytes`, or nothing more that may go.
    void make_room(std::uint64_t bytes, std::function<void()> then);
    void keep_below_high_watermark();
    struct Candidates {
        std::deque<Digest> digests;  // that may make room, those used longest ago first
        std::uint64_t bytes = 0;
    };
    [[nodiscard]] Candidates oldest_first() const;
    void begin_evicting();
    void look_and_evict();
    void let_waiters_go_on(std::uint64_t may_go);
    void evict_next(Candidates candidates);
    [[nodiscard]] bool may_go(const Digest& digest) const;
    void evict(const Digest& digest, std::function<void()> done);

    // store_room.cc
    [[nodiscard]] Status room_for(std::uint64_t bytes) const;
    void with_room(std::uint64_t bytes, std::function<void()> then);
    void look_for_room(std::uint64_t bytes, Done done);
    [[nodiscard]] std::uint64_t unwritten_bytes() const;
    void looked(std::uint64_t free, std::uint64_t used, std::uint64_t promised);
    /// Tells the observer when it was for lack of space.
    void tell_refused(const Error& why);
    [[nodiscard]] std::string temporary(std::string_view kind);
    [[nodiscard]] std::uint64_t wall_ms() const { return options_.wall_ms(); }
    [[nodiscard]] static std::uint64_t lane_of(const Digest& digest) {
        return std::hash<Digest>()(digest);
    }
    void verify_next();
    void settle();
    static Status write_backup(Shared& shared);  // index thread
    void back_up_if_changed();
    void maybe_close();
    void close_partials();
    void close_databases();

    /// Gone already is as good as removed.
    [[nodiscard]] static Status unless_missing(Status removed) {
        if (!removed && removed.error().code == Errc::not_found) return {};
        return removed;
    }

    // Work elsewhere. A job must not touch what the loop owns; `then` runs unless the Store is gone.
    void ended() {
        --in_flight_;
        maybe_close();
    }
    template <class Job, class Then>
    void on_disk(std::uint64_t lane, Job job, Then then) {
        send(lane, false, std::move(job), std::move(then));
    }
    template <class Job, class Then>
    void on_index(Job job, Then then) {
        send(0, true, std::move(job), std::move(then));
    }
    template <class Job, class Then>
    void send(std::uint64_t lane, bool to_index, Job job, Then then) {
        using Value = std::invoke_result_t<Job>;
        auto box = std::make_shared<std::optional<Value>>();
        ++in_flight_;
        // std::function copies: what is moved in goes behind one pointer.
        auto run = std::make_shared<Job>(std::move(job));
        std::function<void()> work = [run, box]() mutable {
            box->emplace((*run)());
            run.reset();
        };
        run.reset();
        std::function<void()> back = [weak = weak_from_this(), box,
                                      next = std::make_shared<Then>(std::move(then))] {
            const auto self = weak.lock();
            if (!self) return;
            (*next)(std::move(**box));
            self->ended();
        };
        if (to_index) {
            executor_.index(std::move(work), std::move(back));
        } else {
            executor_.disk(lane, std::move(work), std::move(back));
        }
    }

    Executor& executor_;
    Options options_;
    DigestGate gate_;
    bool unclean_ = false;
    bool meta_began_anew_ = false;  // from its backup, or from nothing
    std::uint64_t in_flight_ = 0;

    std::set<Digest> unsynced_;
    std::set<Digest> unverified_;
    // cache.db may still say "synced" of these after a loss of power, though it was another file.
    std::unordered_set<Digest> was_synced_;
    std::unordered_set<Digest> settling_;  // the same, while cache.db is being synced
    std::deque<Digest> to_sync_;
    bool syncing_ = false;
    bool verifying_ = false;
    std::map<Digest, std::uint64_t> touched_;
    std::uint64_t uploads_ = 0;
    std::uint64_t upload_bytes_ = 0;
    std::uint64_t partial_bytes_ = 0;
    bool room_refused_ = false;  // since the last tick
    std::uint64_t dirty_bytes_ = 0;  // landed since the chunk maps were written
    std::uint64_t free_bytes_ = 0;
    std::uint64_t disk_capacity_ = 0;  // what may be used by the last look at the file system
    std::uint64_t disk_deficit_ = 0;   // by which others had filled that past min-free
    std::uint64_t withdrawn_ = 0;
    struct RoomWaiter {
        std::uint64_t bytes = 0;
        std::function<void()> then;
    };
    std::vector<RoomWaiter> room_arrivals_;  // since the last look at the file system
    std::vector<RoomWaiter> room_waiters_;   // while copies go, in the order they came
    bool evicting_ = false;
    bool going_ = false;  // a copy went since that began
    std::map<std::string, std::shared_ptr<UploadFile>> open_uploads_;  // by path
    std::map<std::string, std::deque<HeldAppend>> held_appends_;       // by path

    Instant persist_at_ = {0};
    Instant touch_at_ = {0};
    Instant look_at_ = {0};
    Instant backup_at_ = {0};
    /// index.meta_commits() that meta.db.bak has; nothing before the first backup of this run.
    std::optional<std::uint64_t> backed_up_;
    bool backing_up_ = false;

    enum class Closing { no, quiet, partials, databases, done } closing_ = Closing::no;
    Done closed_;
};

}  // namespace fastreg::store
