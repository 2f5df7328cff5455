// A disk in memory that remembers what was synced and what was not, and fails when told to. For tests
// and the simulator; any thread.
//
// Model. A write is cached until fdatasync of its file; making, renaming and removing a name is cached
// until fsync_dir of one of its directories; a rename is one step. power_cut() keeps any subset of
// what is cached, and may keep a write in part, by sectors of 512 bytes. A failed fdatasync loses the
// cached writes for good, as kernels do, though reads still see them until the power is cut.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "store/fs.h"

namespace fastreg::test {

struct MemoryDisk;

class MemoryFs final : public store::Fs {
  public:
    explicit MemoryFs(std::uint64_t capacity = 1ULL << 40U);
    ~MemoryFs() override;

    // Faults. Operations are counted from 0: every call that changes something or makes it durable
    // (creating open, pwrite, fdatasync, truncate, rename, fsync_dir, unlink, a mkdirs that makes one).
    [[nodiscard]] std::uint64_t operations() const;
    /// The nth operation from now (0 is the next) fails with `os_errno`; it alone, or all from it on.
    void fail_after(std::uint64_t n, int os_errno, bool for_ever = false);
    /// Like fail_after, but every reading call counts instead.
    void fail_read_after(std::uint64_t n, int os_errno);
    /// Every stat of this path fails.
    void fail_stat(const std::string& path, int os_errno);
    /// As if the machine lost power just before the nth operation from now: everything fails with EIO
    /// until power_cut().
    void stop_after(std::uint64_t n);
    void clear_faults();
    /// From now on a failed fdatasync has written everything all the same, which disks do too.
    void keep_on_failed_sync();
    /// Loses what chance decides, forgets locks, and makes every File of before useless.
    void power_cut(Rng& rng);
    /// Loses everything that was not synced.
    void power_cut_all();
    /// ENOSPC when the sum of the allocated 4 KiB pages would pass this.
    void set_capacity(std::uint64_t bytes);
    /// Flips one bit of the file, on the medium and in the cache. False when there is no such byte.
    bool flip_bit(const std::string& path, std::uint64_t offset, unsigned bit);

    /// Called after each write of a file, by the writer, before it goes on; empty: nothing is.
    void set_on_write(std::function<void()> on_write);

    // What happened, one line an operation: "create <path>", "pwrite <path> <offset>+<length>",
    // "fdatasync <path>", "truncate <path> <size>", "rename <from> -> <to>", "fsync_dir <path>",
    // "unlink <path>", "mkdir <path>". `path` of a File is the one it was opened with.
    void start_trace();
    [[nodiscard]] std::vector<std::string> take_trace();
    /// Every file with its size, sorted, for assertions.
    [[nodiscard]] std::vector<std::string> files() const;
    /// The whole content as reads see it; empty when there is none.
    [[nodiscard]] Bytes contents(const std::string& path) const;

    [[nodiscard]] Result<std::unique_ptr<store::File>> open(const std::string& path,
                                                            store::OpenMode mode) override;
    Status rename(const std::string& from, const std::string& to) override;
    Status fsync_dir(const std::string& path) override;
    Status unlink(const std::string& path) override;
    Status mkdirs(const std::string& path) override;
    [[nodiscard]] Result<std::vector<store::DirEntry>> list(const std::string& path) override;
    [[nodiscard]] Result<store::FileInfo> stat(const std::string& path) override;
    [[nodiscard]] Result<std::uint64_t> free_space(const std::string& path) override;
    [[nodiscard]] Result<std::unique_ptr<store::FileLock>> lock(const std::string& path) override;

  private:
    std::shared_ptr<MemoryDisk> disk_;  // shared with the Files, which may outlive this
};

}  // namespace fastreg::test
