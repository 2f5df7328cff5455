// SQLite's view of an Fs: a VFS without locks and without shared memory. One process owns a data
// directory (its lock file says so), and `PRAGMA locking_mode=EXCLUSIVE` before WAL keeps the WAL index
// on the heap. Register and destroy on one thread; used on the thread that owns the Db.
#pragma once

#include <memory>
#include <string>

#include "store/fs.h"

namespace fastreg::store {

class Vfs {
  public:
    /// Registered under name() until it is destroyed; every Db on it must be closed by then.
    explicit Vfs(Fs& fs);
    ~Vfs();
    Vfs(const Vfs&) = delete;
    Vfs& operator=(const Vfs&) = delete;
    [[nodiscard]] const std::string& name() const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace fastreg::store
