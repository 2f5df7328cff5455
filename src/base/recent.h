// A map of bounded cost that forgets what was longest not used. One thread.
#pragma once

#include <cstddef>
#include <iterator>
#include <list>
#include <unordered_map>
#include <utility>

namespace fastreg {

template <class Key, class Value>
class Recent {
  public:
    /// `cost_max`: of all entries together, in whatever put() counts.
    explicit Recent(std::size_t cost_max) : cost_max_(cost_max) {}

    /// nullptr when it is not there; valid until the next put() or erase().
    [[nodiscard]] const Value* find(const Key& key) {
        const auto at = places_.find(key);
        if (at == places_.end()) return nullptr;
        entries_.splice(entries_.begin(), entries_, at->second);
        return &at->second->value;
    }

    /// Replaces what is there under the key. The newest entry is kept whatever it costs.
    void put(const Key& key, Value value, std::size_t cost = 1) {
        erase(key);
        entries_.push_front({key, std::move(value), cost});
        places_.emplace(key, entries_.begin());
        cost_ += cost;
        while (cost_ > cost_max_ && entries_.size() > 1) drop(std::prev(entries_.end()));
    }

    void erase(const Key& key) {
        if (const auto at = places_.find(key); at != places_.end()) drop(at->second);
    }

    [[nodiscard]] std::size_t size() const { return entries_.size(); }

  private:
    struct Entry {
        Key key;
        Value value;
        std::size_t cost = 0;
    };
    using Place = typename std::list<Entry>::iterator;

    void drop(Place entry) {
        cost_ -= entry->cost;
        places_.erase(entry->key);
        entries_.erase(entry);
    }

    const std::size_t cost_max_;
    std::size_t cost_ = 0;
    std::list<Entry> entries_;  // most recently used first
    std::unordered_map<Key, Place> places_;
};

}  // namespace fastreg
