// Many things at once on few digests, in every order that threads could bring about: lanes run in a
// seeded random order, so what fails can be run again.
#include <deque>
#include <map>

#include "tests/store/rig.h"

using namespace fastreg;
using namespace fastreg::store;

namespace {

/// Keeps the promises of Executor and no other: jobs of one lane in order, `then`s in the order in
/// which their jobs ended, everything else by chance.
class ChanceExecutor final : public Executor {
  public:
    explicit ChanceExecutor(std::uint64_t seed) : rng_(seed) {}

    void disk(std::uint64_t lane_key,
              std::function<void()> job,
              std::function<void()> then) override {
        lanes_[lane_key % 3].push_back({std::move(job), std::move(then)});
    }
    void index(std::function<void()> job, std::function<void()> then) override {
        lanes_[3].push_back({std::move(job), std::move(then)});
    }

    /// One step of some thread; false when nobody has anything to do.
    bool step() {
        std::vector<std::size_t> ready;
        for (std::size_t i = 0; i < 4; ++i) {
            if (!lanes_[i].empty()) ready.push_back(i);
        }
        if (!answers_.empty()) ready.push_back(4);
        if (ready.empty()) return false;
        const auto choice = ready[rng_.below(ready.size())];
        if (choice == 4) {
            const auto then = std::move(answers_.front());
            answers_.pop_front();
            then();
            return true;
        }
        auto work = std::move(lanes_[choice].front());
        lanes_[choice].pop_front();
        work.job();
        answers_.push_back(std::move(work.then));
        return true;
    }
    void run() {
        while (step()) {
        }
    }

  private:
    struct Work {
        std::function<void()> job, then;
    };
    Rng rng_;
    std::deque<Work> lanes_[4];
    std::deque<std::function<void()>> answers_;
};

/// What a client may rely on for one blob.
enum class Promise { none, pushed, removed };

class Chaos {
  public:
    test::MemoryFs fs;

    explicit Chaos(std::uint64_t seed) : rng_(seed), executor_(seed + 1) {
        log::set_level(log::Level::off);
        for (std::uint64_t i = 0; i < 3; ++i) blobs_.push_back(make_blob(140'000 + i * 140'000, i));
        open();
    }

    void open() {
        auto opened = Store::open(fs, executor_, test_options(rng_.next()));
        if (!opened) FAIL(describe(opened.error()));
        store_ = std::move(*opened);
    }

    void act(bool with_damage = false) {
        const auto which = rng_.below(blobs_.size());
        switch (rng_.below(with_damage ? 10 : 7)) {
            case 0: push(which, true); break;
            case 1: push(which, false); break;
            case 2: pull(which); break;
            case 3: remove(which); break;
            case 4: store_->verify(blobs_[which].digest, [](const Result<VerifyReport>&) {}); break;
            case 5: store_->chain_of(blobs_[which].digest, [this, which](const Result<Chain>& chain) {
                        if (chain) CHECK(*chain == blobs_[which].chain);
                    });
                    break;
            case 7:
            case 8: damage(which); break;
            case 9: set_home(which, rng_.chance(0.5)); break;
            default: store_->tick(Instant{now_ += 300'000'000}); break;
        }
        for (auto n = rng_.below(30); n > 0 && executor_.step(); --n) {
        }
    }

    /// Every blob that may be served is the blob that it says it is; the sums are right.
    void check_visible() {
        std::uint64_t bytes = 0;
        for (const auto& entry : store_->list()) bytes += entry.info.size;
        CHECK(store_->totals().blob_bytes == bytes);
        for (std::size_t i = 0; i < blobs_.size(); ++i) {
            const auto& blob = blobs_[i];
            const auto info = store_->find(blob.digest);
            if (!info || !info->verified || damaged_[i] > 0) continue;
            const auto file = store_->open_blob(blob.digest);
            REQUIRE(file);
            Bytes data(blob.data.size() + 1);
            REQUIRE((*file)->pread(data, 0) == blob.data.size());
            data.resize(blob.data.size());
            CHECK(data == blob.data);
        }
    }

    void check_quiet() {
        executor_.run();
        check_visible();
        const auto totals = store_->totals();
        CHECK(totals.uploads == 0);
        CHECK(totals.upload_bytes == 0);
        CHECK(totals.unsynced == 0);
        std::uint64_t partial = 0;
        for (const auto& info : store_->partials()) partial += info.size;
        CHECK(totals.partial_bytes == partial);
        for (std::size_t i = 0; i < blobs_.size(); ++i) check_promise(i);
    }

    void power_cut() {
        // Jobs that were waiting never run; the answers they would have given are lost.
        const auto promises = promises_;
        store_.reset();
        fs.stop_after(0);
        executor_.run();
        fs.power_cut(rng_);
        promises_ = promises;
        open();
        recover();
    }

    /// The process ends in the middle of its work, and the machine goes on.
    void kill() {
        store_.reset();
        fs.stop_after(0);
        executor_.run();
        fs.clear_faults();
        open();
        recover();
    }

    /// An orderly stop in the middle of work, which it ends first.
    void restart() {
        std::optional<Status> closed;
        store_->close([&](Status s) { closed = std::move(s); });
        executor_.run();
        REQUIRE(closed);
        CHECK(*closed);
        open();
        recover();
    }

  private:
    /// Damage that nobody was told of is looked for, everything else must be as promised. At times the
    /// next stop comes before the files in doubt were hashed.
    void recover() {
        const bool hurried = rng_.chance(0.3);
        for (auto n = hurried ? 0 : store_->totals().unverified + 1; n > 0; --n) {
            store_->tick(Instant{now_ += 1});
            executor_.run();
        }
        for (std::size_t i = 0; i < blobs_.size(); ++i) {
            if (damaged_[i] > 0) store_->verify(blobs_[i].digest, [](const Result<VerifyReport>&) {});
            damaged_[i] = 0;
        }
        executor_.run();
        for (std::size_t i = 0; i < blobs_.size(); ++i) {
            if (busy_[i] == 0) check_promise(i, hurried);
            busy_[i] = 0;
            promises_[i] = Promise::none;
        }
        check_visible();
    }

    void check_promise(std::size_t which, bool in_doubt = false) {
        CAPTURE(which);
        const auto info = store_->find(blobs_[which].digest);
        if (promises_[which] == Promise::pushed) {
            REQUIRE(info);
            CHECK((info->verified || in_doubt));
            CHECK(info->pushed);
        }
        if (promises_[which] == Promise::removed) CHECK_FALSE(info);
    }

    // A promise holds until the next action on the blob begins; `busy_` counts those under way.
    void begin(std::size_t which) {
        ++busy_[which];
        promises_[which] = Promise::none;
    }
    void end(std::size_t which, Promise promise) {
        --busy_[which];
        promises_[which] = busy_[which] == 0 ? promise : Promise::none;
    }

    void push(std::size_t which, bool pushed) {
        begin(which);
        store_->begin_upload([this, which, pushed](Result<std::shared_ptr<UploadFile>> begun) {
            REQUIRE(begun);
            const auto upload = *begun;
            const auto& blob = blobs_[which];
            for (std::size_t at = 0; at < blob.data.size(); at += 200'000) {
                const auto piece = ByteView(blob.data).subspan(
                    at, std::min<std::size_t>(200'000, blob.data.size() - at));
                store_->append(upload, make_block(piece), [](const Status& s) { CHECK(s); });
            }
            const auto durability = pushed ? Durability::durable : Durability::deferred;
            store_->commit_upload(upload, blob.digest, pushed, durability,
                                  [this, which, pushed](const Result<BlobInfo>& info) {
                                      CHECK(info);
                                      end(which, pushed ? Promise::pushed : Promise::none);
                                  });
        });
    }

    void pull(std::size_t which) {
        begin(which);
        const auto& blob = blobs_[which];
        store_->open_partial(
            blob.digest, blob.data.size(),
            [this, which, &blob](const Result<std::shared_ptr<Partial>>& opened) {
                if (!opened) {
                    CHECK(opened.error().code == Errc::already_exists);
                    end(which, Promise::none);
                    return;
                }
                const auto partial = *opened;
                const auto left = std::make_shared<ChunkIndex>(blob.grid.count());
                for (ChunkIndex i = 0; i < blob.grid.count(); ++i) {
                    const auto landing =
                        *ChunkLanding::create(partial, i, blob.link(i), blob.link(i + 1));
                    store_->land(landing, 0, make_block(blob.chunk(i)), std::nullopt,
                                 [this, which, partial, left](ChunkOutcome outcome) {
                                     CHECK((outcome == ChunkOutcome::stored ||
                                            outcome == ChunkOutcome::closed));
                                     if (--*left > 0) return;
                                     store_->finish_partial(
                                         partial, Durability::deferred,
                                         [this, which](const Status&) { end(which, Promise::none); });
                                 });
                }
            });
    }

    /// A bit of the file flips, and somebody looks. Once the look has answered the bytes are gone.
    void damage(std::size_t which) {
        const auto& blob = blobs_[which];
        if (!fs.flip_bit(blob_path(blob.digest), rng_.below(blob.data.size()), 3)) return;
        begin(which);
        ++damaged_[which];
        store_->verify(blob.digest, [this, which](const Result<VerifyReport>&) {
            --damaged_[which];
            end(which, Promise::none);
        });
    }

    void set_home(std::size_t which, bool home) {
        const auto& blob = blobs_[which];
        store_->set_home(blob.digest, blob.data.size(), home, [](const Status&) {});
    }

    void remove(std::size_t which) {
        begin(which);
        store_->remove(blobs_[which].digest, [this, which](const Status& s) {
            CHECK(s);
            end(which, Promise::removed);
        });
    }

    Rng rng_;
    ChanceExecutor executor_;
    std::vector<TestBlob> blobs_;
    std::unique_ptr<Store> store_;
    std::map<std::size_t, int> busy_;
    std::map<std::size_t, Promise> promises_;
    std::map<std::size_t, int> damaged_;  // flips that no check has answered for
    std::int64_t now_ = 0;
};

}  // namespace

TEST_CASE("any order of threads keeps the promises") {
    // Pushes, pulls, removals and checks of the same blobs, all at once, with losses of power between.
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
        CAPTURE(seed);
        Chaos chaos(seed);
        for (int round = 0; round < 6; ++round) {
            CAPTURE(round);
            for (int i = 0; i < 12; ++i) {
                chaos.act();
                chaos.check_visible();
            }
            if (round % 2 == 0) chaos.check_quiet();
            if (round % 3 == 2) chaos.power_cut();
        }
    }
}

TEST_CASE("damage, kills, restarts and losses of power, in every order") {
    // A row must never vouch for another file than the one it was written for.
    for (std::uint64_t seed = 0; seed < 120; ++seed) {
        CAPTURE(seed);
        Chaos chaos(1000 + seed);
        Rng rng(seed);
        for (int round = 0; round < 8; ++round) {
            CAPTURE(round);
            for (auto n = rng.below(10); n > 0; --n) {
                chaos.act(true);
                chaos.check_visible();
            }
            switch (rng.below(4)) {
                case 0: chaos.check_quiet(); break;
                case 1: chaos.kill(); break;
                case 2: chaos.restart(); break;
                default: chaos.power_cut(); break;
            }
        }
    }
}

TEST_CASE("writes that wait share one sync") {
    // Group commit: a hundred rows at once must not cost a hundred syncs of the disk.
    log::set_level(log::Level::off);
    test::MemoryFs fs;
    ChanceExecutor executor(1);
    const auto store = Store::open(fs, executor, test_options());
    REQUIRE(store);
    fs.start_trace();
    int told = 0;
    for (int i = 0; i < 100; ++i) {
        (*store)->persist_rows({{"r", std::to_string(i), Bytes(10), 1, {}, false}},
                               [&](const Status& s) {
                                   CHECK(s);
                                   ++told;
                               });
    }
    executor.run();
    CHECK(told == 100);
    std::size_t syncs = 0;
    for (const auto& line : fs.take_trace()) syncs += line == "fdatasync /data/meta.db-wal" ? 1 : 0;
    CHECK(syncs == 2);
}
