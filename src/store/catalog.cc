#include "store/catalog.h"

#include <algorithm>

namespace fastreg::store {

std::optional<BlobInfo> Catalog::find(const Digest& digest) const {
    const auto it = blobs_.find(digest);
    if (it == blobs_.end()) return std::nullopt;
    return it->second;
}

void Catalog::put(const Digest& digest, const BlobInfo& info) {
    auto [it, inserted] = blobs_.try_emplace(digest, info);
    if (!inserted) {
        bytes_ -= it->second.size;
        it->second = info;
    }
    bytes_ += info.size;
}

bool Catalog::remove(const Digest& digest) {
    const auto it = blobs_.find(digest);
    if (it == blobs_.end()) return false;
    bytes_ -= it->second.size;
    blobs_.erase(it);
    return true;
}

BlobInfo* Catalog::edit(const Digest& digest) {
    const auto it = blobs_.find(digest);
    return it == blobs_.end() ? nullptr : &it->second;
}

std::vector<BlobEntry> Catalog::list() const {
    std::vector<BlobEntry> entries;
    entries.reserve(blobs_.size());
    for (const auto& [digest, info] : blobs_) entries.push_back({digest, info});
    std::ranges::sort(entries, {}, &BlobEntry::digest);
    return entries;
}

}  // namespace fastreg::store
