// What a test does to the disk behind the back of its user, and sees of it.
#include <algorithm>
#include <utility>

#include "tests/support/memory_disk.h"
#include "tests/support/memory_fs.h"

namespace fastreg::test {

std::uint64_t MemoryFs::operations() const {
    const std::lock_guard lock(disk_->mutex);
    return disk_->faults.operations;
}

void MemoryFs::set_on_write(std::function<void()> on_write) {
    const std::lock_guard lock(disk_->mutex);
    disk_->on_write = std::move(on_write);
}

void MemoryFs::fail_after(std::uint64_t n, int os_errno, bool for_ever) {
    const std::lock_guard lock(disk_->mutex);
    disk_->faults.fail_at = disk_->faults.operations + n;
    disk_->faults.fail_errno = os_errno;
    disk_->faults.fail_for_ever = for_ever;
}

void MemoryFs::fail_stat(const std::string& path, int os_errno) {
    const std::lock_guard lock(disk_->mutex);
    disk_->faults.fail_stat_path = path;
    disk_->faults.fail_stat_errno = os_errno;
}

void MemoryFs::fail_read_after(std::uint64_t n, int os_errno) {
    const std::lock_guard lock(disk_->mutex);
    disk_->faults.fail_read_at = disk_->faults.reads + n;
    disk_->faults.fail_read_errno = os_errno;
}

void MemoryFs::stop_after(std::uint64_t n) {
    const std::lock_guard lock(disk_->mutex);
    disk_->faults.stop_at = disk_->faults.operations + n;
}

void MemoryFs::clear_faults() {
    const std::lock_guard lock(disk_->mutex);
    disk_->faults.clear();
}

void MemoryFs::keep_on_failed_sync() {
    const std::lock_guard lock(disk_->mutex);
    disk_->faults.keep_on_failed_sync = true;
}

void MemoryFs::power_cut(Rng& rng) {
    const std::lock_guard lock(disk_->mutex);
    constexpr auto kSector = MemoryDisk::kSector;
    disk_->cut([&] { return rng.chance(0.5); },
               [&](std::uint64_t size) -> std::pair<std::uint64_t, std::uint64_t> {
                   const auto choice = rng.below(4);
                   if (choice == 0 || size == 0) return {0, 0};
                   if (choice <= 2 || size <= kSector) return {0, size};
                   const auto kept = rng.below(size / kSector + 1) * kSector;  // torn
                   if (rng.chance(0.5)) return {0, std::min(kept, size)};
                   return {size - std::min(kept, size), std::min(kept, size)};
               });
}

void MemoryFs::power_cut_all() {
    const std::lock_guard lock(disk_->mutex);
    disk_->cut([] { return false; },
               [](std::uint64_t) { return std::pair<std::uint64_t, std::uint64_t>{0, 0}; });
}

void MemoryFs::set_capacity(std::uint64_t bytes) {
    const std::lock_guard lock(disk_->mutex);
    disk_->capacity = bytes;
}

bool MemoryFs::flip_bit(const std::string& path, std::uint64_t offset, unsigned bit) {
    const std::lock_guard lock(disk_->mutex);
    const auto inode = disk_->find(path);
    if (!inode || inode->is_directory || offset >= inode->cached.size()) return false;
    const auto mask = static_cast<std::byte>(1U << (bit % 8));
    inode->cached[offset] ^= mask;
    if (offset < inode->durable.size()) inode->durable[offset] ^= mask;
    return true;
}

void MemoryFs::start_trace() {
    const std::lock_guard lock(disk_->mutex);
    disk_->faults.tracing = true;
    disk_->faults.trace.clear();
}

std::vector<std::string> MemoryFs::take_trace() {
    const std::lock_guard lock(disk_->mutex);
    disk_->faults.tracing = false;
    return std::exchange(disk_->faults.trace, {});
}

namespace {

void collect(const MemoryInode& inode, const std::string& path, std::vector<std::string>& out) {
    for (const auto& [name, child] : inode.cached_names) {
        const auto full = path + "/" + name;
        if (child->is_directory) {
            collect(*child, full, out);
        } else {
            out.push_back(full + " " + std::to_string(child->cached.size()));
        }
    }
}

}  // namespace

std::vector<std::string> MemoryFs::files() const {
    const std::lock_guard lock(disk_->mutex);
    std::vector<std::string> out;
    collect(*disk_->root, "", out);
    return out;
}

Bytes MemoryFs::contents(const std::string& path) const {
    const std::lock_guard lock(disk_->mutex);
    const auto inode = disk_->find(path);
    return inode && !inode->is_directory ? inode->cached : Bytes{};
}

}  // namespace fastreg::test
