// The disk below a MemoryFs: files and names, each as it is cached and as it is on the medium, and
// what a loss of power leaves of them. Whoever uses a disk or one of its inodes holds its mutex.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "tests/support/memory_faults.h"

namespace fastreg::test {

/// A file, or a directory.
struct MemoryInode {
    /// Not yet on the medium: bytes at an offset, or a new size.
    struct Write {
        bool is_resize = false;
        std::uint64_t at = 0;
        Bytes data;
    };

    bool is_directory = false;
    // A file.
    Bytes cached, durable;
    std::vector<Write> pending;
    std::set<std::uint64_t> pages;  // allocated, of the cached content
    std::shared_ptr<std::uint64_t> used_pages;
    // A directory.
    std::map<std::string, std::shared_ptr<MemoryInode>> cached_names, durable_names;

    MemoryInode() = default;
    MemoryInode(const MemoryInode&) = delete;
    MemoryInode& operator=(const MemoryInode&) = delete;
    ~MemoryInode();

    void write(ByteView data, std::uint64_t offset);
    void resize(std::uint64_t size);
    void sync();
    /// The pages of a content that was exchanged.
    void recount();
};
using InodePtr = std::shared_ptr<MemoryInode>;

/// A name made, removed, or both in one step.
struct NameChange {
    InodePtr from_dir;
    std::string from;
    InodePtr to_dir;
    std::string to;
    InodePtr inode;

    void make_durable() const;
};

struct MemoryDisk {
    static constexpr std::uint64_t kPage = 4096;
    static constexpr std::uint64_t kSector = 512;

    mutable std::mutex mutex;
    InodePtr root = make_directory();
    std::vector<NameChange> pending_names;
    std::shared_ptr<std::uint64_t> used_pages = std::make_shared<std::uint64_t>(0);
    std::uint64_t capacity = 0;    // bytes
    std::uint64_t generation = 0;  // grows with each loss of power: files opened before are useless
    std::set<std::string> locks;
    MemoryFaults faults;
    std::function<void()> on_write;

    static InodePtr make_directory();
    [[nodiscard]] InodePtr make_file() const;
    /// Null when there is none.
    [[nodiscard]] InodePtr find(const std::string& path) const;
    void change(NameChange change);
    void sync_names(const InodePtr& directory);
    /// How many of the bytes fit, with the pages taken that they need.
    [[nodiscard]] std::uint64_t allocate(MemoryInode& file,
                                         std::uint64_t offset,
                                         std::uint64_t length);

    /// From which byte on, and how many, of a cached write of `size` bytes reach the medium.
    using KeepWrite = std::function<std::pair<std::uint64_t, std::uint64_t>(std::uint64_t size)>;
    void cut(const std::function<bool()>& keep_name, const KeepWrite& keep_write);

  private:
    static void settle(MemoryInode& inode, const KeepWrite& keep_write);
};

/// The directory and the name in it.
std::pair<std::string, std::string> split_path(const std::string& path);

/// What the operating system would say.
tl::unexpected<Error> os_fail(int code, const std::string& doing, const std::string& path);

}  // namespace fastreg::test
