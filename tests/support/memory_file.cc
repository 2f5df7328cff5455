// Reading, writing and syncing an open file; holding a lock.
#include "tests/support/memory_file.h"

#include <algorithm>
#include <utility>

namespace fastreg::test {

MemoryFile::MemoryFile(std::shared_ptr<MemoryDisk> disk,
                       InodePtr inode,
                       std::string path,
                       bool writable)
    : disk_(std::move(disk)),
      inode_(std::move(inode)),
      path_(std::move(path)),
      generation_(disk_->generation),
      writable_(writable) {}

Result<std::size_t> MemoryFile::pread(std::span<std::byte> into, std::uint64_t offset) {
    const std::lock_guard lock(disk_->mutex);
    if (const int code = disk_->faults.begin_read(); code != 0 || stale()) {
        return error(code, "read");
    }
    const auto& content = inode_->cached;
    if (offset >= content.size()) return std::size_t{0};
    const auto length = std::min<std::uint64_t>(into.size(), content.size() - offset);
    std::copy_n(content.begin() + static_cast<std::ptrdiff_t>(offset), length, into.begin());
    return static_cast<std::size_t>(length);
}

Status MemoryFile::pwrite(ByteView data, std::uint64_t offset) {
    const std::lock_guard lock(disk_->mutex);
    const int code = disk_->faults.begin("pwrite " + path_ + " " + std::to_string(offset) + "+" +
                                         std::to_string(data.size()));
    if (stale() || disk_->faults.stopped()) return error(EIO, "write");
    if (!writable_) return error(EBADF, "write");
    if (code != 0) {
        inode_->write(data.first(data.size() / 2), offset);  // a failed write may have begun
        return error(code, "write");
    }
    const auto fits = disk_->allocate(*inode_, offset, data.size());
    inode_->write(data.first(fits), offset);
    if (fits < data.size()) return error(ENOSPC, "write");
    if (disk_->on_write) disk_->on_write();
    return {};
}

Status MemoryFile::fdatasync() {
    const std::lock_guard lock(disk_->mutex);
    const int code = disk_->faults.begin("fdatasync " + path_);
    if (stale()) return error(EIO, "sync");
    if (code != 0) {
        if (!disk_->faults.stopped()) {
            if (disk_->faults.keep_on_failed_sync) inode_->sync();
            inode_->pending.clear();  // lost, as in Linux
        }
        return error(code, "sync");
    }
    inode_->sync();
    return {};
}

Status MemoryFile::truncate(std::uint64_t size) {
    const std::lock_guard lock(disk_->mutex);
    const int code = disk_->faults.begin("truncate " + path_ + " " + std::to_string(size));
    if (code != 0 || stale()) return error(code, "resize");
    inode_->resize(size);
    return {};
}

Result<std::uint64_t> MemoryFile::size() {
    const std::lock_guard lock(disk_->mutex);
    if (const int code = disk_->faults.begin_read(); code != 0 || stale()) {
        return error(code, "look at");
    }
    return std::uint64_t{inode_->cached.size()};
}

tl::unexpected<Error> MemoryFile::error(int code, const std::string& doing) const {
    return os_fail(code == 0 ? EIO : code, doing, path_);
}

MemoryLock::MemoryLock(std::shared_ptr<MemoryDisk> disk, std::string path)
    : disk_(std::move(disk)), path_(std::move(path)), generation_(disk_->generation) {}

MemoryLock::~MemoryLock() {
    const std::lock_guard lock(disk_->mutex);
    if (generation_ == disk_->generation) disk_->locks.erase(path_);
}

}  // namespace fastreg::test
