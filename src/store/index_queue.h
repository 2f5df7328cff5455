// Group commit: writes that wait while a transaction is under way share the next one. Called on the
// loop thread; the writes run on the index thread.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "store/executor.h"
#include "store/shared.h"

namespace fastreg::store {

class IndexQueue {
  public:
    using Done = std::function<void(Status)>;

    /// `on_idle` is told each time nothing is left.
    IndexQueue(Executor& executor, std::shared_ptr<Shared> shared, std::function<void()> on_idle);
    /// Callbacks run only while it lives, and keep it alive meanwhile. Before the first write.
    void set_owner(std::weak_ptr<void> owner) { state_->owner = std::move(owner); }

    /// Durable before `done`. A failure undoes the whole transaction, and all in it are told.
    void meta(std::function<Status(MetaDb&)> write, Done done);
    /// Not durable at once; failures are logged, since the files remain the truth.
    void cache(std::function<Status(CacheDb&)> write);
    /// Transactions of meta.db so far. Another number than before: it is another meta.db.
    [[nodiscard]] std::uint64_t meta_commits() const { return state_->meta_commits; }
    /// The last transaction of meta.db failed, and may be found committed after a loss of power: the next
    /// one is written over it. Until then no promise may rest on what rows said before.
    [[nodiscard]] bool meta_uncertain() const { return state_->meta_uncertain; }
    /// A write to cache.db failed: its rows may be about a moment that is over.
    [[nodiscard]] bool cache_missed() const { return state_->cache_missed; }
    [[nodiscard]] bool idle() const {
        return !state_->running && state_->metas.empty() && state_->caches.empty();
    }

  private:
    struct MetaWrite {
        std::function<Status(MetaDb&)> write;
        Done done;
    };
    using CacheWrite = std::function<Status(CacheDb&)>;
    struct Batch {
        std::vector<MetaWrite> metas;
        std::vector<CacheWrite> caches;
        Status outcome;
        Status cached;
    };
    struct State {
        Executor* executor;
        std::shared_ptr<Shared> shared;
        std::function<void()> on_idle;
        std::weak_ptr<void> owner;
        bool running = false;
        std::uint64_t meta_commits = 0;
        bool meta_uncertain = false;
        bool cache_missed = false;
        std::vector<MetaWrite> metas;
        std::vector<CacheWrite> caches;
    };
    static void pump(const std::shared_ptr<State>& state);
    static void commit(Shared& shared, Batch& batch);

    std::shared_ptr<State> state_;
};

}  // namespace fastreg::store
