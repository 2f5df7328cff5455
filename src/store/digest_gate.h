// One operation on a digest at a time: a deletion must not unlink what a push has just put there.
// Owned by the loop thread.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <utility>

#include "base/digest.h"

namespace fastreg::store {

class DigestGate {
  public:
    /// Runs `operation` now, or when those before it have left. It must call leave() in the end.
    void enter(const Digest& digest, std::function<void()> operation) {
        auto [it, free] = waiting_.try_emplace(digest);
        if (!free) {
            it->second.push_back(std::move(operation));
            return;
        }
        operation();
    }

    void leave(const Digest& digest) {
        const auto it = waiting_.find(digest);
        if (it->second.empty()) {
            waiting_.erase(it);
            return;
        }
        const auto next = std::move(it->second.front());
        it->second.pop_front();
        next();
    }

    [[nodiscard]] bool busy(const Digest& digest) const { return waiting_.contains(digest); }

  private:
    std::map<Digest, std::deque<std::function<void()>>> waiting_;
};

}  // namespace fastreg::store
