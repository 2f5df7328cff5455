// Which complete blobs are being read: their files, for as long as somebody has them open. Any thread.
#pragma once

#include <algorithm>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "base/digest.h"
#include "store/fs.h"

namespace fastreg::store {

class OpenBlobs {
  public:
    void note(const Digest& digest, const std::shared_ptr<File>& file) {
        const std::lock_guard lock(mutex_);
        auto& files = files_[digest];
        if (files.size() == files.capacity()) std::erase_if(files, [](const auto& other) { return other.expired(); });
        files.push_back(file);
        if (files_.size() >= clean_at_) clean();
    }
    [[nodiscard]] bool in_use(const Digest& digest) const {
        const std::lock_guard lock(mutex_);
        const auto found = files_.find(digest);
        return found != files_.end() && any_open(found->second);
    }

  private:
    using Files = std::vector<std::weak_ptr<File>>;
    static bool any_open(const Files& files) {
        return std::ranges::any_of(files, [](const auto& file) { return !file.expired(); });
    }
    void clean() {
        std::erase_if(files_, [](const auto& entry) { return !any_open(entry.second); });
        clean_at_ = std::max<std::size_t>(1024, 2 * files_.size());
    }

    mutable std::mutex mutex_;
    std::unordered_map<Digest, Files> files_;
    std::size_t clean_at_ = 1024;
};

}  // namespace fastreg::store
