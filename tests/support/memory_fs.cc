// The calls of Fs: files opened, and names made, changed, removed and looked at.
#include "tests/support/memory_fs.h"

#include <algorithm>
#include <cerrno>

#include "tests/support/memory_disk.h"
#include "tests/support/memory_file.h"

namespace fastreg::test {

using store::DirEntry;
using store::File;
using store::FileInfo;
using store::FileLock;
using store::OpenMode;

MemoryFs::MemoryFs(std::uint64_t capacity) : disk_(std::make_shared<MemoryDisk>()) {
    disk_->capacity = capacity;
}
MemoryFs::~MemoryFs() = default;

Result<std::unique_ptr<File>> MemoryFs::open(const std::string& path, OpenMode mode) {
    const std::lock_guard lock(disk_->mutex);
    const auto [parent, name] = split_path(path);
    const auto dir = disk_->find(parent);
    auto inode = disk_->find(path);
    const bool creates = mode == OpenMode::create || mode == OpenMode::create_new;
    if (!inode && creates) {
        if (const int code = disk_->faults.begin("create " + path); code != 0) {
            return os_fail(code, "make", path);
        }
        if (!dir || !dir->is_directory) return os_fail(ENOENT, "make", path);
        inode = disk_->make_file();
        disk_->change({nullptr, "", dir, name, inode});
    } else {
        if (const int code = disk_->faults.begin_read(); code != 0) {
            return os_fail(code, "open", path);
        }
        if (!inode) return os_fail(ENOENT, "open", path);
        if (inode->is_directory) return os_fail(EISDIR, "open", path);
        if (mode == OpenMode::create_new) return os_fail(EEXIST, "make", path);
    }
    return std::make_unique<MemoryFile>(disk_, inode, path, mode != OpenMode::read);
}

Status MemoryFs::rename(const std::string& from, const std::string& to) {
    const std::lock_guard lock(disk_->mutex);
    if (const int code = disk_->faults.begin("rename " + from + " -> " + to); code != 0) {
        return os_fail(code, "rename", from);
    }
    const auto [from_parent, from_name] = split_path(from);
    const auto [to_parent, to_name] = split_path(to);
    const auto inode = disk_->find(from);
    const auto to_dir = disk_->find(to_parent);
    if (!inode || !to_dir) return os_fail(ENOENT, "rename", from);
    disk_->change({disk_->find(from_parent), from_name, to_dir, to_name, inode});
    return {};
}

Status MemoryFs::fsync_dir(const std::string& path) {
    const std::lock_guard lock(disk_->mutex);
    if (const int code = disk_->faults.begin("fsync_dir " + path); code != 0) {
        return os_fail(code, "sync", path);
    }
    const auto dir = disk_->find(path);
    if (!dir || !dir->is_directory) return os_fail(ENOENT, "sync", path);
    disk_->sync_names(dir);
    return {};
}

Status MemoryFs::unlink(const std::string& path) {
    const std::lock_guard lock(disk_->mutex);
    const auto inode = disk_->find(path);
    if (!inode) return os_fail(ENOENT, "remove", path);
    if (const int code = disk_->faults.begin("unlink " + path); code != 0) {
        return os_fail(code, "remove", path);
    }
    if (inode->is_directory) return os_fail(EISDIR, "remove", path);
    const auto [parent, name] = split_path(path);
    disk_->change({disk_->find(parent), name, nullptr, "", inode});
    return {};
}

Status MemoryFs::mkdirs(const std::string& path) {
    const std::lock_guard lock(disk_->mutex);
    for (std::size_t end = 0; end < path.size();) {
        end = std::min(path.find('/', end + 1), path.size());
        const auto part = path.substr(0, end);
        if (const auto there = disk_->find(part)) {
            if (!there->is_directory) return os_fail(EEXIST, "make the directory", part);
            continue;
        }
        if (const int code = disk_->faults.begin("mkdir " + part); code != 0) {
            return os_fail(code, "make the directory", part);
        }
        const auto [parent, name] = split_path(part);
        disk_->change({nullptr, "", disk_->find(parent), name, MemoryDisk::make_directory()});
    }
    return {};
}

Result<std::vector<DirEntry>> MemoryFs::list(const std::string& path) {
    const std::lock_guard lock(disk_->mutex);
    if (const int code = disk_->faults.begin_read(); code != 0) return os_fail(code, "list", path);
    const auto dir = disk_->find(path);
    if (!dir || !dir->is_directory) return os_fail(ENOENT, "list", path);
    std::vector<DirEntry> entries;
    for (const auto& [name, child] : dir->cached_names) {
        entries.push_back({name, child->is_directory});
    }
    return entries;
}

Result<FileInfo> MemoryFs::stat(const std::string& path) {
    const std::lock_guard lock(disk_->mutex);
    if (const int code = disk_->faults.begin_read(); code != 0) {
        return os_fail(code, "look at", path);
    }
    if (path == disk_->faults.fail_stat_path) return os_fail(disk_->faults.fail_stat_errno, "look at", path);
    const auto inode = disk_->find(path);
    if (!inode) return os_fail(ENOENT, "look at", path);
    return FileInfo{inode->is_directory, inode->cached.size()};
}

Result<std::uint64_t> MemoryFs::free_space(const std::string&) {
    const std::lock_guard lock(disk_->mutex);
    const auto used = *disk_->used_pages * MemoryDisk::kPage;
    return used >= disk_->capacity ? 0 : disk_->capacity - used;
}

Result<std::unique_ptr<FileLock>> MemoryFs::lock(const std::string& path) {
    FR_TRY_ASSIGN(const auto made, open(path, OpenMode::create));
    const std::lock_guard lock(disk_->mutex);
    if (!disk_->locks.insert(path).second) {
        return fail(Errc::busy, path + " is held by process 1");
    }
    return std::make_unique<MemoryLock>(disk_, path);
}

}  // namespace fastreg::test
