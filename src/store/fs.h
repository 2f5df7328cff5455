// The disk as the store sees it. Everything that is kept goes through here, SQLite included, so that
// the simulator can run the shipped store on a disk that forgets, tears, flips, fills up and fails.
// Implementations may be called from any thread; one File may be read by many threads at once.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace fastreg::store {

/// Dirty pages are pushed out (File::start_writeback) each time this many bytes were written, so that the
/// last sync is short.
inline constexpr std::uint64_t kWritebackBytes = 32ULL << 20U;

/// One open file; closed by its destructor. Offsets and lengths are bytes.
class File {
  public:
    virtual ~File() = default;
    /// Fewer bytes than asked for only at the end of the file.
    [[nodiscard]] virtual Result<std::size_t> pread(std::span<std::byte> into,
                                                    std::uint64_t offset) = 0;
    /// All of `data`, or an error; a file that is too short grows, with zeros in between.
    virtual Status pwrite(ByteView data, std::uint64_t offset) = 0;
    /// Contents and size reach the medium. After an error the unwritten data may be gone for good:
    /// never call it again hoping for success.
    virtual Status fdatasync() = 0;
    virtual Status truncate(std::uint64_t size) = 0;
    [[nodiscard]] virtual Result<std::uint64_t> size() = 0;
    /// Starts writing dirty pages without waiting (sync_file_range); a hint.
    virtual void start_writeback() {}
    /// The descriptor, for sendfile; -1 when there is none (read through pread then).
    [[nodiscard]] virtual int native_handle() const { return -1; }

  protected:
    File() = default;
    File(const File&) = default;
    File& operator=(const File&) = default;
};

enum class OpenMode {
    read,        // must exist; reading only
    write,       // must exist; reading and writing
    create,      // made when missing; reading and writing
    create_new,  // must not exist (O_EXCL); reading and writing
};

struct FileInfo {
    bool is_directory = false;
    std::uint64_t size = 0;
};

struct DirEntry {
    std::string name;
    bool is_directory = false;
};

/// Held until destroyed, or until the process dies.
class FileLock {
  public:
    virtual ~FileLock() = default;

  protected:
    FileLock() = default;
    FileLock(const FileLock&) = default;
    FileLock& operator=(const FileLock&) = default;
};

/// Paths are '/'-separated. A name that is made, renamed or removed is only sure to survive a loss of
/// power once its directory was given to fsync_dir.
class Fs {
  public:
    virtual ~Fs() = default;
    [[nodiscard]] virtual Result<std::unique_ptr<File>> open(const std::string& path,
                                                             OpenMode mode) = 0;
    /// Atomic; replaces `to`.
    virtual Status rename(const std::string& from, const std::string& to) = 0;
    virtual Status fsync_dir(const std::string& path) = 0;
    virtual Status unlink(const std::string& path) = 0;
    /// With all missing parents; fine when it exists.
    virtual Status mkdirs(const std::string& path) = 0;
    /// Sorted by name, without "." and "..".
    [[nodiscard]] virtual Result<std::vector<DirEntry>> list(const std::string& path) = 0;
    /// Errc::not_found when there is nothing.
    [[nodiscard]] virtual Result<FileInfo> stat(const std::string& path) = 0;
    /// Bytes that this process may still write on the file system of `path`.
    [[nodiscard]] virtual Result<std::uint64_t> free_space(const std::string& path) = 0;
    /// Exclusive; makes the file. Errc::busy names the process that holds it, where that is known.
    [[nodiscard]] virtual Result<std::unique_ptr<FileLock>> lock(const std::string& path) = 0;

  protected:
    Fs() = default;
    Fs(const Fs&) = default;
    Fs& operator=(const Fs&) = default;
};

}  // namespace fastreg::store
