// What jobs on other threads need, kept alive until the last of them has ended, even when the Store is
// gone: the disk, the databases, and the lock that says both are ours.
#pragma once

#include <memory>

#include "store/cache_db.h"
#include "store/free_space.h"
#include "store/fs.h"
#include "store/layout.h"
#include "store/meta_db.h"
#include "store/open_blobs.h"
#include "store/vfs.h"

namespace fastreg::store {

struct Shared {
    Shared(Fs& disk, Layout where)
        : fs(disk), layout(std::move(where)), free_space(disk, layout.dir()), vfs(disk) {}

    Fs& fs;
    const Layout layout;
    FreeSpace free_space;
    OpenBlobs open_blobs;
    std::unique_ptr<FileLock> lock;  // goes last
    Vfs vfs;
    // Index thread only, once the store is open.
    std::unique_ptr<MetaDb> meta;
    std::unique_ptr<CacheDb> cache;
};

}  // namespace fastreg::store
