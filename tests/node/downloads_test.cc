// Stories of blobs on their way into a node.
#include "node/downloads.h"

#include <algorithm>
#include <cerrno>

#include "tests/node/rig.h"
#include "tests/store/rig.h"
#include "tests/support/holding_executor.h"

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

namespace {

/// A node whose disk may be made to wait, with a blob of three chunks on its way into it.
struct Pulling {
    Pulling() {
        core.start({});
        core.downloads().acquire(blob.digest, blob.data.size(), false, std::nullopt,
                                 [this](Status status) { told.push_back(std::move(status)); });
        store->open_partial(blob.digest, blob.data.size(), [this](auto opened) { partial = *opened; });
        REQUIRE(partial);
    }
    static std::unique_ptr<store::Store> open(fastreg::test::MemoryFs& fs, store::Executor& executor) {
        log::set_level(log::Level::off);
        auto opened = store::Store::open(fs, executor, store_options(1));
        if (!opened) FAIL(describe(opened.error()));
        return std::move(*opened);
    }
    void land(ChunkIndex i) {
        const auto landing =
            store::ChunkLanding::create(partial, i, blob.link(i), blob.link(i + 1));
        REQUIRE(landing);
        std::optional<store::ChunkOutcome> outcome;
        store->land(*landing, 0, store::make_block(blob.chunk(i)), std::nullopt,
                    [&](store::ChunkOutcome o) { outcome = o; });
        REQUIRE(outcome == store::ChunkOutcome::stored);
    }

    store::TestBlob blob = store::make_blob(3 * kChunkSizeMin, 1);
    fastreg::test::MemoryFs fs;
    fastreg::test::HoldingExecutor executor;
    std::unique_ptr<store::Store> store = open(fs, executor);
    SilentNet net;
    Core core{net, *store, core_options("lone"), Rng(1)};
    std::shared_ptr<store::Partial> partial;
    std::vector<Status> told;
};

}  // namespace

TEST_CASE("chunks found wrong while others are being revoked are revoked as well") {
    // The second finding was dropped: its chunks stayed "verified" and were served to others.
    Pulling pull;
    for (const ChunkIndex i : {0U, 1U, 2U}) pull.land(i);
    pull.executor.hold();
    pull.core.downloads().unverify({pull.blob.digest, {0}});
    pull.core.downloads().unverify({pull.blob.digest, {2}});
    pull.executor.let_go();
    const auto left = pull.store->partials();
    REQUIRE(left.size() == 1);
    CHECK_FALSE(left[0].map.has(0));
    CHECK(left[0].map.has(1));
    CHECK_FALSE(left[0].map.has(2));
}

TEST_CASE("a pull that failed leaves no file open, and the next one goes on where it was") {
    // Its partial blob stayed open for ever, with all the room it was promised.
    Pulling pull;
    pull.land(1);
    const std::weak_ptr<store::Partial> before = std::exchange(pull.partial, nullptr);
    pull.core.downloads().failed({pull.blob.digest, Error{Errc::not_found, 0, "nobody has it"}});
    REQUIRE(pull.told.size() == 1);
    CHECK_FALSE(pull.told[0]);
    CHECK(before.expired());
    pull.store->open_partial(pull.blob.digest, pull.blob.data.size(),
                             [&](auto opened) { pull.partial = *opened; });
    CHECK(pull.partial->map().set_count() == 1);
}

TEST_CASE("a chunk of a file that was cut is not sent, and the blob is withdrawn") {
    // The head of a piece was out before the file turned out to be shorter, so the link had to be closed; and
    // again for the next chunk, for ever.
    struct Net final : SilentNet {
        void send_data(NodeId, const Endpoint&, wire::TransferMessage message) override {
            said.push_back(std::move(message));
        }
        void serve(Serve order) override { served.push_back(std::move(order)); }
        std::vector<wire::TransferMessage> said;
        std::vector<Serve> served;
    };
    Disk disk(1);
    const auto blob = store::make_blob(3 * kChunkSizeMin, 2);
    disk.store->put_small(blob.digest, blob.data, true, store::Durability::durable,
                          [](const Status& status) { REQUIRE(status); });
    Net net;
    Core core(net, *disk.store, core_options("lone"), Rng(1));
    core.start({});
    meet(core, 2);
    const auto ask = [&](RequestId request, ChunkIndex chunk) {
        core.on_transfer(peer(2), wire::GetChunk{request, blob.digest, blob.data.size(), chunk});
    };
    ask(1, 0);
    REQUIRE(net.served.size() == 1);
    core.on_serve_end(peer(2), 1, true);
    const auto file = disk.fs.open(store::blob_path(blob.digest), store::OpenMode::write);
    REQUIRE((*file)->truncate(2 * kChunkSizeMin));
    ask(2, 0);  // before the cut; but the file is not the blob any more
    CHECK(net.served.size() == 1);
    const auto refused = std::ranges::count_if(net.said, [](const auto& message) {
        const auto* absent = std::get_if<wire::NotHere>(&message);
        return absent != nullptr && absent->request == 2;
    });
    CHECK(refused == 1);
    CHECK_FALSE(disk.store->find(blob.digest));
}

TEST_CASE("a blob whose file went is opened no more, and one that cannot be opened now is kept") {
    // The first is fetched from a peer; the second would be fetched by every reader while descriptors are short.
    Disk disk(1);
    const auto blob = store::make_blob(5000, 3);
    disk.store->put_small(blob.digest, blob.data, true, store::Durability::durable,
                          [](const Status& status) { REQUIRE(status); });
    SilentNet net;
    Core core(net, *disk.store, core_options("lone"), Rng(1));
    core.start({});
    const auto open = [&] {
        std::optional<Result<std::shared_ptr<store::File>>> opened;
        core.downloads().open(blob.digest, [&](auto file) { opened = std::move(file); });
        REQUIRE(opened);
        return *opened;
    };
    CHECK(open());
    disk.fs.fail_read_after(0, EMFILE);
    REQUIRE_FALSE(open());
    disk.fs.clear_faults();
    CHECK(disk.store->find(blob.digest));
    REQUIRE(open());
    REQUIRE(disk.fs.unlink(store::blob_path(blob.digest)));
    CHECK(open().error().code == Errc::not_found);
    CHECK_FALSE(disk.store->find(blob.digest));
}
