#include "store/vfs.h"

#include <sqlite3.h>

#include <atomic>
#include <cstring>

namespace fastreg::store {
namespace {

std::string parent_of(const std::string& path) {
    const auto slash = path.rfind('/');
    return slash == std::string::npos ? "." : path.substr(0, slash);
}

/// What SQLite allocates for an open file: its header first, then ours.
struct SqliteFile {
    sqlite3_file base;
    std::unique_ptr<File>* file;
    std::string* path;
    Fs* fs;
    bool name_is_new;         // made by us: its directory is synced with its first sync
    bool delete_on_close;
};

SqliteFile* of(sqlite3_file* file) {
    return reinterpret_cast<SqliteFile*>(file);
}

int code_of(const Error& error, int otherwise) {
    return error.code == Errc::no_space ? SQLITE_FULL : otherwise;
}

int on_close(sqlite3_file* file) {
    SqliteFile* self = of(file);
    if (self->delete_on_close) (void)self->fs->unlink(*self->path);
    delete self->file;
    delete self->path;
    self->file = nullptr;
    self->path = nullptr;
    return SQLITE_OK;
}

int on_read(sqlite3_file* file, void* into, int length, sqlite3_int64 offset) {
    const std::span<std::byte> room(static_cast<std::byte*>(into),
                                    static_cast<std::size_t>(length));
    const auto got = (*of(file)->file)->pread(room, static_cast<std::uint64_t>(offset));
    if (!got) return SQLITE_IOERR_READ;
    if (*got == room.size()) return SQLITE_OK;
    std::memset(room.data() + *got, 0, room.size() - *got);
    return SQLITE_IOERR_SHORT_READ;
}

int on_write(sqlite3_file* file, const void* data, int length, sqlite3_int64 offset) {
    const ByteView bytes(static_cast<const std::byte*>(data), static_cast<std::size_t>(length));
    const auto status = (*of(file)->file)->pwrite(bytes, static_cast<std::uint64_t>(offset));
    return status ? SQLITE_OK : code_of(status.error(), SQLITE_IOERR_WRITE);
}

int on_truncate(sqlite3_file* file, sqlite3_int64 size) {
    const auto status = (*of(file)->file)->truncate(static_cast<std::uint64_t>(size));
    return status ? SQLITE_OK : SQLITE_IOERR_TRUNCATE;
}

int on_sync(sqlite3_file* file, int) {
    SqliteFile* self = of(file);
    if (!(*self->file)->fdatasync()) return SQLITE_IOERR_FSYNC;
    if (self->name_is_new) {
        if (!self->fs->fsync_dir(parent_of(*self->path))) return SQLITE_IOERR_DIR_FSYNC;
        self->name_is_new = false;
    }
    return SQLITE_OK;
}

int on_file_size(sqlite3_file* file, sqlite3_int64* size) {
    const auto answer = (*of(file)->file)->size();
    if (!answer) return SQLITE_IOERR_FSTAT;
    *size = static_cast<sqlite3_int64>(*answer);
    return SQLITE_OK;
}

int on_lock(sqlite3_file*, int) {
    return SQLITE_OK;
}
int on_check_reserved_lock(sqlite3_file*, int* held) {
    *held = 0;
    return SQLITE_OK;
}
int on_file_control(sqlite3_file*, int, void*) {
    return SQLITE_NOTFOUND;
}
int on_sector_size(sqlite3_file*) {
    return 4096;
}
int on_device_characteristics(sqlite3_file*) {
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

// Version 1: no shared memory, no memory mapping.
const sqlite3_io_methods kMethods = {
    1,       on_close,     on_read, on_write, on_truncate,            on_sync,
    on_file_size, on_lock, on_lock, on_check_reserved_lock, on_file_control, on_sector_size,
    on_device_characteristics,
};

Fs& fs_of(sqlite3_vfs* vfs) {
    return *static_cast<Fs*>(vfs->pAppData);
}

int on_open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out_flags) {
    SqliteFile* self = of(file);
    std::memset(self, 0, sizeof *self);
    if (name == nullptr) return SQLITE_CANTOPEN;  // temp_store=MEMORY: nobody asks
    Fs& fs = fs_of(vfs);
    const bool existed = fs.stat(name).has_value();
    auto mode = OpenMode::read;
    if ((flags & SQLITE_OPEN_READWRITE) != 0) mode = OpenMode::write;
    if ((flags & SQLITE_OPEN_CREATE) != 0) mode = existed ? OpenMode::write : OpenMode::create_new;
    auto opened = fs.open(name, mode);
    if (!opened) return code_of(opened.error(), SQLITE_CANTOPEN);
    self->file = new std::unique_ptr<File>(std::move(*opened));
    self->path = new std::string(name);
    self->fs = &fs;
    self->name_is_new = !existed;
    self->delete_on_close = (flags & SQLITE_OPEN_DELETEONCLOSE) != 0;
    self->base.pMethods = &kMethods;
    if (out_flags != nullptr) *out_flags = flags;
    return SQLITE_OK;
}

int on_delete(sqlite3_vfs* vfs, const char* name, int sync_directory) {
    Fs& fs = fs_of(vfs);
    if (const auto status = fs.unlink(name); !status) {
        return status.error().code == Errc::not_found ? SQLITE_IOERR_DELETE_NOENT
                                                      : SQLITE_IOERR_DELETE;
    }
    if (sync_directory != 0 && !fs.fsync_dir(parent_of(name))) return SQLITE_IOERR_DIR_FSYNC;
    return SQLITE_OK;
}

int on_access(sqlite3_vfs* vfs, const char* name, int, int* answer) {
    const auto info = fs_of(vfs).stat(name);
    if (!info && info.error().code != Errc::not_found) return SQLITE_IOERR_ACCESS;
    // An empty journal is no journal, as in SQLite's own VFS.
    *answer = info && !info->is_directory && info->size > 0 ? 1 : 0;
    return SQLITE_OK;
}

int on_full_pathname(sqlite3_vfs*, const char* name, int room, char* out) {
    const std::size_t length = std::strlen(name);
    if (length + 1 > static_cast<std::size_t>(room)) return SQLITE_CANTOPEN;
    std::memcpy(out, name, length + 1);
    return SQLITE_OK;
}

// SQLite seeds its generator and reads clocks through its default VFS or not at all.
int on_randomness(sqlite3_vfs*, int length, char* out) {
    std::memset(out, 0, static_cast<std::size_t>(length));
    return length;
}
int on_sleep(sqlite3_vfs*, int microseconds) {
    return microseconds;
}
int on_current_time(sqlite3_vfs*, double* days) {
    *days = 0;
    return SQLITE_OK;
}
int on_last_error(sqlite3_vfs*, int, char*) {
    return 0;
}

}  // namespace

struct Vfs::Impl {
    std::string name;
    sqlite3_vfs vfs{};
};

Vfs::Vfs(Fs& fs) : impl_(std::make_unique<Impl>()) {
    static std::atomic<std::uint64_t> next{0};
    impl_->name = "fastreg-" + std::to_string(next.fetch_add(1));
    sqlite3_vfs& vfs = impl_->vfs;
    vfs.iVersion = 1;
    vfs.szOsFile = sizeof(SqliteFile);
    vfs.mxPathname = 4096;
    vfs.zName = impl_->name.c_str();
    vfs.pAppData = &fs;
    vfs.xOpen = on_open;
    vfs.xDelete = on_delete;
    vfs.xAccess = on_access;
    vfs.xFullPathname = on_full_pathname;
    vfs.xRandomness = on_randomness;
    vfs.xSleep = on_sleep;
    vfs.xCurrentTime = on_current_time;
    vfs.xGetLastError = on_last_error;
    FR_ASSERT(sqlite3_vfs_register(&vfs, 0) == SQLITE_OK);
}

Vfs::~Vfs() {
    sqlite3_vfs_unregister(&impl_->vfs);
}

const std::string& Vfs::name() const {
    return impl_->name;
}

}  // namespace fastreg::store
