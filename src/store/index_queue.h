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
    };
    struct State {
        Executor* executor;
        std::shared_ptr<Shared> shared;
        std::function<void()> on_idle;
        std::weak_ptr<void> owner;
        bool running = false;
        std::vector<MetaWrite> metas;
        std::vector<CacheWrite> caches;
    };
    static void pump(const std::shared_ptr<State>& state);
    static void commit(Shared& shared, Batch& batch);

    std::shared_ptr<State> state_;
};

}  // namespace fastreg::store
