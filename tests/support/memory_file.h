// What a caller of a MemoryFs holds: an open file, or a lock.
#pragma once

#include <memory>
#include <string>

#include "store/fs.h"
#include "tests/support/memory_disk.h"

namespace fastreg::test {

class MemoryFile final : public store::File {
  public:
    /// Inside the mutex of the disk.
    MemoryFile(std::shared_ptr<MemoryDisk> disk, InodePtr inode, std::string path, bool writable);

    Result<std::size_t> pread(std::span<std::byte> into, std::uint64_t offset) override;
    Status pwrite(ByteView data, std::uint64_t offset) override;
    Status fdatasync() override;
    Status truncate(std::uint64_t size) override;
    Result<std::uint64_t> size() override;

  private:
    [[nodiscard]] bool stale() const { return generation_ != disk_->generation; }
    [[nodiscard]] tl::unexpected<Error> error(int code, const std::string& doing) const;

    std::shared_ptr<MemoryDisk> disk_;
    InodePtr inode_;
    std::string path_;
    std::uint64_t generation_;
    bool writable_;
};

class MemoryLock final : public store::FileLock {
  public:
    /// Inside the mutex of the disk, which has the path among its locks.
    MemoryLock(std::shared_ptr<MemoryDisk> disk, std::string path);
    ~MemoryLock() override;
    MemoryLock(const MemoryLock&) = delete;
    MemoryLock& operator=(const MemoryLock&) = delete;

  private:
    std::shared_ptr<MemoryDisk> disk_;
    std::string path_;
    std::uint64_t generation_;
};

}  // namespace fastreg::test
