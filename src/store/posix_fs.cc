#include "store/posix_fs.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <utility>

namespace fastreg::store {
Errc errc_of_errno(int os_errno) {
    switch (os_errno) {
        case ENOENT:
        case ENOTDIR: return Errc::not_found;
        case EEXIST: return Errc::already_exists;
        case ENOSPC:
        case EDQUOT: return Errc::no_space;
        case EACCES:
        case EPERM:
        case EROFS: return Errc::permission_denied;
        case EMFILE:
        case ENFILE: return Errc::busy;
        default: return Errc::io;
    }
}

namespace {

tl::unexpected<Error> os_error(std::string_view doing, const std::string& path) {
    const int code = errno;
    return fail(errc_of_errno(code), "cannot " + std::string(doing) + " " + path, code);
}

/// A descriptor with an owner.
class Fd {
  public:
    explicit Fd(int fd) : fd_(fd) {}
    ~Fd() {
        if (fd_ >= 0) ::close(fd_);
    }
    Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Fd& operator=(Fd&&) = delete;
    Fd(const Fd&) = delete;
    Fd& operator=(const Fd&) = delete;
    [[nodiscard]] int get() const { return fd_; }

  private:
    int fd_;
};

class PosixFile final : public File {
  public:
    PosixFile(Fd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}

    Result<std::size_t> pread(std::span<std::byte> into, std::uint64_t offset) override {
        std::size_t got = 0;
        while (got < into.size()) {
            const auto n = ::pread(fd_.get(), into.data() + got, into.size() - got,
                                   static_cast<off_t>(offset + got));
            if (n == 0) break;
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) return os_error("read", path_);
            got += static_cast<std::size_t>(n);
        }
        return got;
    }

    Status pwrite(ByteView data, std::uint64_t offset) override {
        std::size_t put = 0;
        while (put < data.size()) {
            const auto n = ::pwrite(fd_.get(), data.data() + put, data.size() - put,
                                    static_cast<off_t>(offset + put));
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) return os_error("write", path_);
            put += static_cast<std::size_t>(n);
        }
        return {};
    }

    Status fdatasync() override {
        if (::fdatasync(fd_.get()) != 0) return os_error("sync", path_);
        return {};
    }

    Status truncate(std::uint64_t size) override {
        if (::ftruncate(fd_.get(), static_cast<off_t>(size)) != 0) return os_error("resize", path_);
        return {};
    }

    Result<std::uint64_t> size() override {
        struct stat info{};
        if (::fstat(fd_.get(), &info) != 0) return os_error("look at", path_);
        return static_cast<std::uint64_t>(info.st_size);
    }

    void start_writeback() override {
        (void)::sync_file_range(fd_.get(), 0, 0, SYNC_FILE_RANGE_WRITE);
    }

    int native_handle() const override { return fd_.get(); }

  private:
    Fd fd_;
    std::string path_;
};

class PosixLock final : public FileLock {
  public:
    explicit PosixLock(Fd fd) : fd_(std::move(fd)) {}

  private:
    Fd fd_;
};

}  // namespace

Result<std::unique_ptr<File>> PosixFs::open(const std::string& path, OpenMode mode) {
    int flags = O_CLOEXEC;
    switch (mode) {
        case OpenMode::read: flags |= O_RDONLY; break;
        case OpenMode::write: flags |= O_RDWR; break;
        case OpenMode::create: flags |= O_RDWR | O_CREAT; break;
        case OpenMode::create_new: flags |= O_RDWR | O_CREAT | O_EXCL; break;
    }
    Fd fd(::open(path.c_str(), flags, 0640));
    if (fd.get() < 0) return os_error("open", path);
    return std::make_unique<PosixFile>(std::move(fd), path);
}

Status PosixFs::rename(const std::string& from, const std::string& to) {
    if (::rename(from.c_str(), to.c_str()) != 0) return os_error("rename to " + to + " the file", from);
    return {};
}

Status PosixFs::fsync_dir(const std::string& path) {
    const Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd.get() < 0) return os_error("open", path);
    if (::fsync(fd.get()) != 0) return os_error("sync", path);
    return {};
}

Status PosixFs::unlink(const std::string& path) {
    if (::unlink(path.c_str()) != 0) return os_error("remove", path);
    return {};
}

Status PosixFs::mkdirs(const std::string& path) {
    for (std::size_t end = 0; end < path.size();) {
        end = std::min(path.find('/', end + 1), path.size());
        const auto part = path.substr(0, end);
        if (::mkdir(part.c_str(), 0750) != 0 && errno != EEXIST) {
            const int code = errno;
            struct stat info{};  // a parent on a read-only file system answers EROFS, though it is there
            if (::stat(part.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) continue;
            errno = code;
            return os_error("make the directory", part);
        }
    }
    struct stat info{};
    if (::stat(path.c_str(), &info) != 0) return os_error("look at", path);
    if (!S_ISDIR(info.st_mode)) {
        return fail(Errc::already_exists, path + " is there and is not a directory", ENOTDIR);
    }
    return {};
}

Result<std::vector<DirEntry>> PosixFs::list(const std::string& path) {
    const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(path.c_str()), ::closedir);
    if (!dir) return os_error("list", path);
    std::vector<DirEntry> entries;
    for (;;) {
        errno = 0;
        const dirent* entry = ::readdir(dir.get());
        if (entry == nullptr) break;
        const std::string_view name = entry->d_name;
        if (name == "." || name == "..") continue;
        bool is_directory = entry->d_type == DT_DIR;
        if (entry->d_type == DT_UNKNOWN) {
            const auto info = stat(path + "/" + std::string(name));
            is_directory = info && info->is_directory;
        }
        entries.push_back({std::string(name), is_directory});
    }
    if (errno != 0) return os_error("list", path);
    std::ranges::sort(entries, {}, &DirEntry::name);
    return entries;
}

Result<FileInfo> PosixFs::stat(const std::string& path) {
    struct stat info{};
    if (::stat(path.c_str(), &info) != 0) return os_error("look at", path);
    return FileInfo{S_ISDIR(info.st_mode), static_cast<std::uint64_t>(info.st_size)};
}

Result<std::uint64_t> PosixFs::free_space(const std::string& path) {
    struct statvfs info{};
    if (::statvfs(path.c_str(), &info) != 0) return os_error("ask the free space of", path);
    return static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize;
}

// flock belongs to the open file, not to the process: a second open in this process is refused too.
Result<std::unique_ptr<FileLock>> PosixFs::lock(const std::string& path) {
    Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640));
    if (fd.get() < 0) return os_error("open", path);
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK) return os_error("lock", path);
        char text[32] = {};
        const auto n = ::pread(fd.get(), text, sizeof text - 1, 0);
        const std::string_view holder(text, n > 0 ? static_cast<std::size_t>(n) : 0);
        const auto pid = holder.substr(0, holder.find('\n'));
        return fail(Errc::busy, path + " is held by process " +
                                    (pid.empty() ? "?" : std::string(pid)));
    }
    const std::string pid = std::to_string(::getpid()) + "\n";
    if (::ftruncate(fd.get(), 0) != 0) return os_error("write", path);
    if (::pwrite(fd.get(), pid.data(), pid.size(), 0) < 0) return os_error("write", path);
    return std::make_unique<PosixLock>(std::move(fd));
}

}  // namespace fastreg::store
