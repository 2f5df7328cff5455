// Stories of blobs on their way into a node.
#include "node/downloads.h"

#include <cerrno>

#include "tests/node/rig.h"

using namespace fastreg;
using namespace fastreg::node;
using namespace fastreg::node::test;

TEST_CASE("a blob that cannot be read just now is an error to who wants it, not an endless trial") {
    // Found on disk by the last start and not hashed yet; the process has no descriptor left to do it.
    Disk disk(1);
    const std::string data = "a layer";
    const ByteView bytes = as_bytes(data);
    const Digest digest = digest_of(HashAlg::sha256, bytes);
    disk.store->put_small(digest, Bytes(bytes.begin(), bytes.end()), false, store::Durability::deferred,
                          [](const Status& status) { REQUIRE(status); });
    disk.store.reset();
    REQUIRE(disk.fs.unlink("/data/cache.db"));  // the only one that vouched for it
    auto again = store::Store::open(disk.fs, disk.executor, store_options(1));
    REQUIRE(again);
    disk.store = std::move(*again);
    REQUIRE(disk.store->find(digest));
    REQUIRE_FALSE(disk.store->find(digest)->verified);
    SilentNet net;
    Core core(net, *disk.store, core_options("lone"), Rng(1));
    core.start({});

    std::vector<Status> told;
    const auto acquire = [&] {
        core.downloads().acquire(digest, 7, false, std::nullopt, [&](Status status) { told.push_back(status); });
    };
    disk.fs.fail_read_after(0, EMFILE);
    acquire();
    REQUIRE(told.size() == 1);
    REQUIRE_FALSE(told[0]);
    CHECK(told[0].error().code == Errc::busy);
    disk.fs.clear_faults();
    acquire();
    REQUIRE(told.size() == 2);
    CHECK(told[1]);
    CHECK(disk.store->find(digest)->verified);
}
