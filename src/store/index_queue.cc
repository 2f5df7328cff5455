#include "store/index_queue.h"

#include <utility>

#include "base/log.h"

namespace fastreg::store {

IndexQueue::IndexQueue(Executor& executor,
                       std::shared_ptr<Shared> shared,
                       std::function<void()> on_idle)
    : state_(std::make_shared<State>()) {
    state_->executor = &executor;
    state_->shared = std::move(shared);
    state_->on_idle = std::move(on_idle);
}

void IndexQueue::meta(std::function<Status(MetaDb&)> write, Done done) {
    state_->metas.push_back({std::move(write), std::move(done)});
    pump(state_);
}

void IndexQueue::cache(std::function<Status(CacheDb&)> write) {
    state_->caches.push_back(std::move(write));
    pump(state_);
}

void IndexQueue::pump(const std::shared_ptr<State>& state) {
    if (state->running || (state->metas.empty() && state->caches.empty())) return;
    state->running = true;
    auto batch = std::make_shared<Batch>();
    batch->metas.swap(state->metas);
    batch->caches.swap(state->caches);
    state->executor->index(
        [shared = state->shared, batch] { commit(*shared, *batch); },
        [weak = std::weak_ptr<State>(state), batch] {
            const auto self = weak.lock();
            const auto owner = self ? self->owner.lock() : nullptr;
            if (!owner) return;  // the Store is gone
            self->running = false;
            if (!batch->metas.empty()) {
                self->meta_uncertain = !batch->outcome;
                if (batch->outcome) ++self->meta_commits;
            }
            if (!batch->cached) self->cache_missed = true;
            for (const auto& meta : batch->metas) meta.done(batch->outcome);
            pump(self);
            if (!self->running && self->on_idle) self->on_idle();
        });
}

void IndexQueue::commit(Shared& shared, Batch& batch) {
    if (!batch.metas.empty()) {
        batch.outcome = shared.meta->transaction([&](MetaDb& meta) -> Status {
            for (const auto& write : batch.metas) FR_TRY(write.write(meta));
            return {};
        });
        if (!batch.outcome) {
            log::error("store.meta_failed", {{"error", describe(batch.outcome.error())}});
        }
    }
    if (batch.caches.empty()) return;
    batch.cached = shared.cache->transaction([&](CacheDb& cache) -> Status {
        for (const auto& write : batch.caches) FR_TRY(write(cache));
        return {};
    });
    if (!batch.cached) {
        log::warn("store.cache_failed", {{"error", describe(batch.cached.error())}});
    }
}

}  // namespace fastreg::store
