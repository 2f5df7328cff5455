#include "tests/support/memory_fs.h"

#include <algorithm>
#include <cerrno>
#include <limits>
#include <map>
#include <mutex>
#include <set>
#include <utility>

namespace fastreg::test {

using store::DirEntry;
using store::File;
using store::FileInfo;
using store::FileLock;
using store::OpenMode;

namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kSector = 512;
constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();

/// Not yet on the medium: bytes at an offset, or a new size.
struct Write {
    bool is_resize = false;
    std::uint64_t at = 0;
    Bytes data;
};

struct Inode {
    bool is_directory = false;
    // A file.
    Bytes cached, durable;
    std::vector<Write> pending;
    std::set<std::uint64_t> pages;  // allocated, of the cached content
    std::shared_ptr<std::uint64_t> used_pages;
    // A directory.
    std::map<std::string, std::shared_ptr<Inode>> cached_names, durable_names;

    Inode() = default;
    Inode(const Inode&) = delete;
    Inode& operator=(const Inode&) = delete;
    ~Inode() {
        if (used_pages) *used_pages -= pages.size();
    }

    void recount() {
        *used_pages -= pages.size();
        pages.clear();
        for (std::uint64_t page = 0; page * kPage < cached.size(); ++page) pages.insert(page);
        *used_pages += pages.size();
    }
};
using InodePtr = std::shared_ptr<Inode>;

void apply(Bytes& content, const Write& write, std::uint64_t skip, std::uint64_t length) {
    if (write.is_resize) {
        content.resize(write.at);
        return;
    }
    const std::uint64_t begin = write.at + skip;
    if (content.size() < begin + length) content.resize(begin + length);
    std::copy_n(write.data.begin() + static_cast<std::ptrdiff_t>(skip), length,
                content.begin() + static_cast<std::ptrdiff_t>(begin));
}

/// A name made, removed, or both in one step.
struct NameChange {
    InodePtr from_dir;
    std::string from;
    InodePtr to_dir;
    std::string to;
    InodePtr inode;

    void apply() const {
        if (from_dir) {
            const auto it = from_dir->durable_names.find(from);
            if (it != from_dir->durable_names.end() && it->second == inode) {
                from_dir->durable_names.erase(it);
            }
        }
        if (to_dir) to_dir->durable_names[to] = inode;
    }
};

std::pair<std::string, std::string> split(const std::string& path) {
    const auto slash = path.rfind('/');
    if (slash == std::string::npos) return {"", path};
    return {path.substr(0, slash), path.substr(slash + 1)};
}

tl::unexpected<Error> os_fail(int code, const std::string& doing, const std::string& path) {
    auto errc = Errc::io;
    if (code == ENOENT) errc = Errc::not_found;
    if (code == EEXIST) errc = Errc::already_exists;
    if (code == ENOSPC) errc = Errc::no_space;
    return fail(errc, "cannot " + doing + " " + path, code);
}

}  // namespace

struct MemoryFs::Disk {
    mutable std::mutex mutex;
    InodePtr root = make_directory();
    std::vector<NameChange> pending_names;
    std::shared_ptr<std::uint64_t> used_pages = std::make_shared<std::uint64_t>(0);
    std::uint64_t capacity = 0;
    std::uint64_t generation = 0;
    std::set<std::string> locks;

    std::uint64_t operations = 0;
    std::uint64_t fail_at = kNever;
    bool fail_for_ever = false;
    int fail_errno = EIO;
    bool keep_on_failed_sync = false;
    std::uint64_t stop_at = kNever;
    std::uint64_t reads = 0;
    std::uint64_t fail_read_at = kNever;
    int fail_read_errno = EIO;

    bool tracing = false;
    std::vector<std::string> trace;

    static InodePtr make_directory() {
        auto inode = std::make_shared<Inode>();
        inode->is_directory = true;
        return inode;
    }
    InodePtr make_file() const {
        auto inode = std::make_shared<Inode>();
        inode->used_pages = used_pages;
        return inode;
    }

    /// Counts one operation; the errno to fail with, or 0.
    int begin(std::string what) {
        const auto n = operations++;
        if (n >= stop_at) return EIO;
        if (tracing) trace.push_back(std::move(what));
        if (n == fail_at || (fail_for_ever && n > fail_at)) return fail_errno;
        return 0;
    }
    int begin_read() {
        const auto n = reads++;
        if (operations >= stop_at) return EIO;
        return n == fail_read_at ? fail_read_errno : 0;
    }

    InodePtr find(const std::string& path) const {
        InodePtr at = root;
        for (std::size_t begin = 0; begin < path.size();) {
            const auto end = std::min(path.find('/', begin), path.size());
            if (end > begin) {
                if (!at->is_directory) return nullptr;
                const auto it = at->cached_names.find(path.substr(begin, end - begin));
                if (it == at->cached_names.end()) return nullptr;
                at = it->second;
            }
            begin = end + 1;
        }
        return at;
    }

    void change(NameChange change) {
        if (change.from_dir) change.from_dir->cached_names.erase(change.from);
        if (change.to_dir) change.to_dir->cached_names[change.to] = change.inode;
        pending_names.push_back(std::move(change));
    }

    /// `keep` says of each cached write how many of its bytes, from which one on, reach the medium.
    template <class KeepName, class KeepWrite>
    void cut(KeepName keep_name, KeepWrite keep_write) {
        for (const auto& name : pending_names) {
            if (keep_name()) name.apply();
        }
        pending_names.clear();
        settle(*root, keep_write);
        ++generation;
        locks.clear();
        stop_at = fail_at = fail_read_at = kNever;
        fail_for_ever = false;
    }

    template <class KeepWrite>
    void settle(Inode& inode, KeepWrite keep_write) {
        if (inode.is_directory) {
            inode.cached_names = inode.durable_names;
            for (auto& [name, child] : inode.cached_names) settle(*child, keep_write);
            return;
        }
        for (const auto& write : inode.pending) {
            if (write.is_resize) {
                if (keep_write(1).second > 0) apply(inode.durable, write, 0, 0);
                continue;
            }
            const auto [skip, length] = keep_write(write.data.size());
            if (length > 0) apply(inode.durable, write, skip, length);
        }
        inode.pending.clear();
        inode.cached = inode.durable;
        inode.recount();
    }
};

class MemoryFs::MemoryFile final : public File {
  public:
    MemoryFile(std::shared_ptr<Disk> disk, InodePtr inode, std::string path, bool writable)
        : disk_(std::move(disk)),
          inode_(std::move(inode)),
          path_(std::move(path)),
          generation_(disk_->generation),
          writable_(writable) {}

    Result<std::size_t> pread(std::span<std::byte> into, std::uint64_t offset) override {
        const std::lock_guard lock(disk_->mutex);
        if (const int code = disk_->begin_read(); code != 0 || stale()) return error(code, "read");
        const auto& content = inode_->cached;
        if (offset >= content.size()) return std::size_t{0};
        const auto length = std::min<std::uint64_t>(into.size(), content.size() - offset);
        std::copy_n(content.begin() + static_cast<std::ptrdiff_t>(offset), length, into.begin());
        return static_cast<std::size_t>(length);
    }

    Status pwrite(ByteView data, std::uint64_t offset) override {
        const std::lock_guard lock(disk_->mutex);
        const int code = disk_->begin("pwrite " + path_ + " " + std::to_string(offset) + "+" +
                                      std::to_string(data.size()));
        if (stale() || disk_->operations > disk_->stop_at) return error(EIO, "write");
        if (!writable_) return error(EBADF, "write");
        if (code != 0) {
            put(data.first(data.size() / 2), offset);  // a failed write may have begun
            return error(code, "write");
        }
        const std::uint64_t limit = disk_->capacity / kPage;
        std::uint64_t fits = 0;
        while (fits < data.size()) {
            const auto page = (offset + fits) / kPage;
            if (!inode_->pages.contains(page)) {
                if (*disk_->used_pages >= limit) break;
                inode_->pages.insert(page);
                ++*disk_->used_pages;
            }
            fits = std::min<std::uint64_t>(data.size(), (page + 1) * kPage - offset);
        }
        put(data.first(fits), offset);
        if (fits < data.size()) return error(ENOSPC, "write");
        return {};
    }

    Status fdatasync() override {
        const std::lock_guard lock(disk_->mutex);
        const int code = disk_->begin("fdatasync " + path_);
        if (stale()) return error(EIO, "sync");
        if (code != 0) {
            const bool stopped = disk_->operations > disk_->stop_at;
            if (!stopped && disk_->keep_on_failed_sync) sync();
            if (!stopped) inode_->pending.clear();  // lost, as in Linux
            return error(code, "sync");
        }
        sync();
        return {};
    }

    Status truncate(std::uint64_t size) override {
        const std::lock_guard lock(disk_->mutex);
        const int code = disk_->begin("truncate " + path_ + " " + std::to_string(size));
        if (code != 0 || stale()) return error(code, "resize");
        inode_->cached.resize(size);
        const auto first_gone = inode_->pages.lower_bound((size + kPage - 1) / kPage);
        *disk_->used_pages -= static_cast<std::uint64_t>(
            std::distance(first_gone, inode_->pages.end()));
        inode_->pages.erase(first_gone, inode_->pages.end());
        inode_->pending.push_back({true, size, {}});
        return {};
    }

    Result<std::uint64_t> size() override {
        const std::lock_guard lock(disk_->mutex);
        if (const int code = disk_->begin_read(); code != 0 || stale()) {
            return error(code, "look at");
        }
        return std::uint64_t{inode_->cached.size()};
    }

  private:
    [[nodiscard]] bool stale() const { return generation_ != disk_->generation; }
    [[nodiscard]] tl::unexpected<Error> error(int code, const std::string& doing) const {
        return os_fail(code == 0 ? EIO : code, doing, path_);
    }
    void sync() {
        for (const auto& write : inode_->pending) {
            apply(inode_->durable, write, 0, write.data.size());
        }
        inode_->pending.clear();
    }
    void put(ByteView data, std::uint64_t offset) {
        if (data.empty()) return;
        Write write{false, offset, Bytes(data.begin(), data.end())};
        apply(inode_->cached, write, 0, data.size());
        inode_->pending.push_back(std::move(write));
    }

    std::shared_ptr<Disk> disk_;
    InodePtr inode_;
    std::string path_;
    std::uint64_t generation_;
    bool writable_;
};

class MemoryFs::MemoryLock final : public FileLock {
  public:
    MemoryLock(std::shared_ptr<Disk> disk, std::string path)
        : disk_(std::move(disk)), path_(std::move(path)), generation_(disk_->generation) {}
    ~MemoryLock() override {
        const std::lock_guard lock(disk_->mutex);
        if (generation_ == disk_->generation) disk_->locks.erase(path_);
    }
    MemoryLock(const MemoryLock&) = delete;
    MemoryLock& operator=(const MemoryLock&) = delete;

  private:
    std::shared_ptr<Disk> disk_;
    std::string path_;
    std::uint64_t generation_;
};

MemoryFs::MemoryFs(std::uint64_t capacity) : disk_(std::make_shared<Disk>()) {
    disk_->capacity = capacity;
}
MemoryFs::~MemoryFs() = default;

std::uint64_t MemoryFs::operations() const {
    const std::lock_guard lock(disk_->mutex);
    return disk_->operations;
}

void MemoryFs::fail_after(std::uint64_t n, int os_errno, bool for_ever) {
    const std::lock_guard lock(disk_->mutex);
    disk_->fail_at = disk_->operations + n;
    disk_->fail_errno = os_errno;
    disk_->fail_for_ever = for_ever;
}

void MemoryFs::fail_read_after(std::uint64_t n, int os_errno) {
    const std::lock_guard lock(disk_->mutex);
    disk_->fail_read_at = disk_->reads + n;
    disk_->fail_read_errno = os_errno;
}

void MemoryFs::stop_after(std::uint64_t n) {
    const std::lock_guard lock(disk_->mutex);
    disk_->stop_at = disk_->operations + n;
}

void MemoryFs::clear_faults() {
    const std::lock_guard lock(disk_->mutex);
    disk_->fail_at = disk_->stop_at = disk_->fail_read_at = kNever;
    disk_->fail_for_ever = false;
}

void MemoryFs::keep_on_failed_sync() {
    const std::lock_guard lock(disk_->mutex);
    disk_->keep_on_failed_sync = true;
}

void MemoryFs::power_cut(Rng& rng) {
    const std::lock_guard lock(disk_->mutex);
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
    disk_->tracing = true;
    disk_->trace.clear();
}

std::vector<std::string> MemoryFs::take_trace() {
    const std::lock_guard lock(disk_->mutex);
    disk_->tracing = false;
    return std::exchange(disk_->trace, {});
}

namespace {

void collect(const Inode& inode, const std::string& path, std::vector<std::string>& out) {
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

Result<std::unique_ptr<File>> MemoryFs::open(const std::string& path, OpenMode mode) {
    const std::lock_guard lock(disk_->mutex);
    const auto [parent, name] = split(path);
    const auto dir = disk_->find(parent);
    auto inode = disk_->find(path);
    const bool creates = mode == OpenMode::create || mode == OpenMode::create_new;
    if (!inode && creates) {
        if (const int code = disk_->begin("create " + path); code != 0) {
            return os_fail(code, "make", path);
        }
        if (!dir || !dir->is_directory) return os_fail(ENOENT, "make", path);
        inode = disk_->make_file();
        disk_->change({nullptr, "", dir, name, inode});
    } else {
        if (const int code = disk_->begin_read(); code != 0) return os_fail(code, "open", path);
        if (!inode) return os_fail(ENOENT, "open", path);
        if (inode->is_directory) return os_fail(EISDIR, "open", path);
        if (mode == OpenMode::create_new) return os_fail(EEXIST, "make", path);
    }
    return std::make_unique<MemoryFile>(disk_, inode, path, mode != OpenMode::read);
}

Status MemoryFs::rename(const std::string& from, const std::string& to) {
    const std::lock_guard lock(disk_->mutex);
    if (const int code = disk_->begin("rename " + from + " -> " + to); code != 0) {
        return os_fail(code, "rename", from);
    }
    const auto [from_parent, from_name] = split(from);
    const auto [to_parent, to_name] = split(to);
    const auto inode = disk_->find(from);
    const auto to_dir = disk_->find(to_parent);
    if (!inode || !to_dir) return os_fail(ENOENT, "rename", from);
    disk_->change({disk_->find(from_parent), from_name, to_dir, to_name, inode});
    return {};
}

Status MemoryFs::fsync_dir(const std::string& path) {
    const std::lock_guard lock(disk_->mutex);
    if (const int code = disk_->begin("fsync_dir " + path); code != 0) {
        return os_fail(code, "sync", path);
    }
    const auto dir = disk_->find(path);
    if (!dir || !dir->is_directory) return os_fail(ENOENT, "sync", path);
    std::erase_if(disk_->pending_names, [&](const NameChange& change) {
        if (change.from_dir != dir && change.to_dir != dir) return false;
        change.apply();
        return true;
    });
    return {};
}

Status MemoryFs::unlink(const std::string& path) {
    const std::lock_guard lock(disk_->mutex);
    const auto inode = disk_->find(path);
    if (!inode) return os_fail(ENOENT, "remove", path);
    if (const int code = disk_->begin("unlink " + path); code != 0) {
        return os_fail(code, "remove", path);
    }
    if (inode->is_directory) return os_fail(EISDIR, "remove", path);
    const auto [parent, name] = split(path);
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
        if (const int code = disk_->begin("mkdir " + part); code != 0) {
            return os_fail(code, "make the directory", part);
        }
        const auto [parent, name] = split(part);
        disk_->change({nullptr, "", disk_->find(parent), name, Disk::make_directory()});
    }
    return {};
}

Result<std::vector<DirEntry>> MemoryFs::list(const std::string& path) {
    const std::lock_guard lock(disk_->mutex);
    if (const int code = disk_->begin_read(); code != 0) return os_fail(code, "list", path);
    const auto dir = disk_->find(path);
    if (!dir || !dir->is_directory) return os_fail(ENOENT, "list", path);
    std::vector<DirEntry> entries;
    for (const auto& [name, child] : dir->cached_names) entries.push_back({name, child->is_directory});
    return entries;
}

Result<FileInfo> MemoryFs::stat(const std::string& path) {
    const std::lock_guard lock(disk_->mutex);
    if (const int code = disk_->begin_read(); code != 0) return os_fail(code, "look at", path);
    const auto inode = disk_->find(path);
    if (!inode) return os_fail(ENOENT, "look at", path);
    return FileInfo{inode->is_directory, inode->cached.size()};
}

Result<std::uint64_t> MemoryFs::free_space(const std::string&) {
    const std::lock_guard lock(disk_->mutex);
    const auto used = *disk_->used_pages * kPage;
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
