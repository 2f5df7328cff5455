// Any bytes as cache.db: opening and reading them must end in an answer, and what is read must be
// well-formed. The first byte chooses whether the check of an unclean stop runs.
#include <cstddef>
#include <cstdint>

#include "base/log.h"
#include "store/cache_db.h"
#include "store/vfs.h"
#include "tests/support/memory_fs.h"

using namespace fastreg;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    log::set_level(log::Level::off);
    if (size == 0) return 0;
    test::MemoryFs fs;
    {
        auto file = fs.open("/cache.db", store::OpenMode::create_new);
        const ByteView content(reinterpret_cast<const std::byte*>(data + 1), size - 1);
        if (!file || !(*file)->pwrite(content, 0)) return 0;
    }
    store::Vfs vfs(fs);
    auto cache = store::CacheDb::open("/cache.db", vfs.name(), (data[0] & 1U) != 0);
    if (!cache) return 0;
    if (const auto blobs = (*cache)->blobs()) {
        for (const auto& blob : *blobs) {
            FR_ASSERT(blob.size <= kBlobSizeMax);
            (void)(*cache)->chain(blob.digest);
        }
    }
    if (const auto partials = (*cache)->partials()) {
        for (const auto& partial : *partials) {
            const ChunkGrid grid(partial.size);
            FR_ASSERT(partial.map.count() == grid.count());
            FR_ASSERT(partial.links.size() == (grid.count() - 1) * link_size(partial.digest.alg));
        }
    }
    (void)(*cache)->transaction([](store::CacheDb& db) { return db.put_blob({{}, 1, true, 2}); });
    (void)(*cache)->checkpoint();
    return 0;
}
