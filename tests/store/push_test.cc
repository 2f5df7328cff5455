// A push that was acknowledged must be there after any loss of power; one that was not must never be
// seen in part.
#include <cerrno>

#include "tests/store/rig.h"

using namespace fastreg;
using namespace fastreg::store;

namespace {

/// Opens after a stop and checks the promise for one blob.
void check_promise(Rig& rig, const TestBlob& blob, bool acknowledged) {
    rig.open();
    const auto info = rig.store->find(blob.digest);
    if (acknowledged) {
        REQUIRE(info);
        CHECK(info->pushed);
        CHECK(info->verified);
    }
    if (info && !info->verified) {  // hashed before its first use
        const auto report = rig.verify(blob.digest);
        REQUIRE(report);
        CHECK(rig.store->find(blob.digest).has_value() == report->good);
    }
    if (rig.store->find(blob.digest)) {
        const auto seen = rig.read(blob.digest);
        REQUIRE(seen);
        CHECK(*seen == blob.data);
    }
}

}  // namespace

TEST_CASE("a push commits in the order that the protocol names") {
    // Any other order loses an acknowledged blob on some disk.
    Rig rig;
    const auto blob = make_blob(1000, 7);
    std::shared_ptr<UploadFile> upload;
    rig.store->begin_upload([&](auto begun) { upload = *begun; });
    rig.store->append(upload, make_block(blob.data), [](const Status& s) { REQUIRE(s); });
    CHECK(upload->size() == 1000);

    rig.fs.start_trace();
    std::vector<std::string> before_ack;
    rig.store->commit_upload(upload, blob.digest, true, Durability::durable,
                             [&](const Result<BlobInfo>& info) {
                                 REQUIRE(info);
                                 before_ack = rig.fs.take_trace();
                             });
    REQUIRE(before_ack.size() >= 5);
    CHECK(before_ack[0].starts_with("fdatasync /data/partial/upload-"));
    CHECK(before_ack[1].starts_with("rename /data/partial/upload-"));
    CHECK(before_ack[1].ends_with(" -> " + blob_path(blob.digest)));
    CHECK(before_ack[2] == "fsync_dir /data/blobs/sha256/" + blob.digest.hex().substr(0, 2));
    std::size_t at = 3;
    while (at < before_ack.size() && before_ack[at].starts_with("pwrite /data/meta.db-wal")) ++at;
    CHECK(at > 3);
    REQUIRE(at < before_ack.size());
    CHECK(before_ack[at] == "fdatasync /data/meta.db-wal");
    for (++at; at < before_ack.size(); ++at) {
        CAPTURE(before_ack[at]);
        CHECK(before_ack[at].find("/data/cache.db-wal") != std::string::npos);
    }
}

TEST_CASE("power is cut before every single operation of a push") {
    // Acknowledged means there; not acknowledged means whole or absent.
    const auto blob = make_blob(300'000, 3);
    for (std::uint64_t n = 0;; ++n) {
        CAPTURE(n);
        bool acknowledged = false;
        for (std::uint64_t seed = 0; seed < 3; ++seed) {
            CAPTURE(seed);
            Rig rig;
            rig.fs.stop_after(n);
            acknowledged = rig.push(blob).has_value();
            rig.power_cut(seed * 1000 + n);
            check_promise(rig, blob, acknowledged);
        }
        if (acknowledged && n > 12) {
            CHECK(n < 60);
            break;
        }
    }
}

TEST_CASE("everything unsynced is lost right after the acknowledgement") {
    // The worst disk there is: it keeps nothing that it was not told to keep.
    Rig rig;
    const auto blob = make_blob(200'000, 4);
    REQUIRE(rig.push(blob));
    rig.kill();
    rig.fs.power_cut_all();
    check_promise(rig, blob, true);
}

TEST_CASE("every single operation of a push fails in turn") {
    // A failure is an answer, never a wrong promise, and the store goes on serving.
    const auto blob = make_blob(300'000, 5);
    const auto other = make_blob(50'000, 6);
    for (const int code : {EIO, ENOSPC}) {
        for (std::uint64_t n = 0; n < 40; ++n) {
            CAPTURE(code);
            CAPTURE(n);
            Rig rig;
            REQUIRE(rig.push(other));
            rig.fs.fail_after(n, code);
            const auto pushed = rig.push(blob);
            rig.fs.clear_faults();
            if (!pushed) CHECK_FALSE(rig.store->find(blob.digest));
            CHECK(rig.read(other.digest) == other.data);
            const auto totals = rig.store->totals();
            CHECK(totals.uploads == 0);
            CHECK(totals.upload_bytes == 0);
            CHECK(totals.blob_bytes == other.data.size() + (pushed ? blob.data.size() : 0));
            rig.power_cut(n);
            check_promise(rig, blob, pushed.has_value());
            CHECK(rig.read(other.digest) == other.data);
            if (!pushed) REQUIRE(rig.push(blob));
            CHECK(rig.read(blob.digest) == blob.data);
        }
    }
}

TEST_CASE("bytes that are not what the client named are refused, with both digests") {
    // The client sees which digest its bytes have; the file stays until the session is aborted.
    Rig rig;
    const auto blob = make_blob(5000, 8);
    const auto named = make_blob(5000, 9).digest;
    std::shared_ptr<UploadFile> upload;
    rig.store->begin_upload([&](auto begun) { upload = *begun; });
    rig.store->append(upload, make_block(blob.data), [](const Status& s) { REQUIRE(s); });
    std::optional<Error> error;
    rig.store->commit_upload(upload, named, true, Durability::durable,
                             [&](const Result<BlobInfo>& info) { error = info.error(); });
    REQUIRE(error);
    CHECK(error->code == Errc::corrupt);
    CHECK(error->what.find(blob.digest.str()) != std::string::npos);
    CHECK(error->what.find(named.str()) != std::string::npos);
    CHECK(rig.store->totals().uploads == 1);
    rig.store->abort_upload(upload, [](const Status& s) { CHECK(s); });
    CHECK(rig.store->totals().uploads == 0);
    CHECK(rig.store->totals().upload_bytes == 0);
    CHECK_FALSE(rig.store->find(named));
}

TEST_CASE("a sha512 name is proven although the bytes were hashed with sha256") {
    // OCI lets the client choose the algorithm at the end of the upload.
    Rig rig;
    const auto blob = make_blob(400'000, 10, HashAlg::sha512);
    REQUIRE(rig.push(blob));
    CHECK(rig.read(blob.digest) == blob.data);
    std::optional<Chain> chain;
    rig.store->chain_of(blob.digest, [&](Result<Chain> answer) { chain = *answer; });
    CHECK(chain == blob.chain);
}

TEST_CASE("pushing the same bytes twice keeps the first file") {
    // Readers of the first may be under way; and a pulled copy becomes a pushed one.
    Rig rig;
    const auto blob = make_blob(4000, 11);
    REQUIRE(rig.push(blob, false));
    CHECK_FALSE(rig.store->find(blob.digest)->pushed);
    rig.fs.start_trace();
    REQUIRE(rig.push(blob));
    for (const auto& line : rig.fs.take_trace()) CHECK_FALSE(line.starts_with("rename"));
    CHECK(rig.store->find(blob.digest)->pushed);
    CHECK(rig.store->totals().blob_bytes == 4000);
    for (const auto& file : rig.fs.files()) CHECK(file.find("/partial/") == std::string::npos);
}

TEST_CASE("pushing again heals a blob whose file is gone") {
    // "You have it already" must not be said of a row without a file.
    Rig rig;
    const auto blob = make_blob(4000, 16);
    REQUIRE(rig.push(blob));
    REQUIRE(rig.fs.unlink(blob_path(blob.digest)));
    REQUIRE(rig.push(blob));
    CHECK(rig.read(blob.digest) == blob.data);
    rig.kill();
    rig.fs.power_cut_all();
    rig.open();
    CHECK(rig.store->find(blob.digest)->pushed);
    CHECK(rig.read(blob.digest) == blob.data);
}

TEST_CASE("uploads count against the limit, and get nothing beyond it") {
    // A full store says so early; what is given up is given back.
    Rig rig(false);
    auto options = test_options();
    options.max_bytes = 250'000;
    rig.open(std::move(options));
    const auto blob = make_blob(300'000, 12);
    const auto refused = rig.push(blob);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == Errc::no_space);
    CHECK(rig.store->totals().used_bytes() == 0);
    const auto small = make_blob(200'000, 13);
    REQUIRE(rig.push(small));
    CHECK(rig.open_partial(make_blob(60'000, 14)).error().code == Errc::no_space);
}

TEST_CASE("many small uploads leave what min-free keeps") {
    // The floor was looked at once per 32 MiB of one upload, so that smaller ones went below it.
    constexpr std::uint64_t floor = 64U << 20U;
    Rig rig(false);
    rig.open();
    rig.fs.set_capacity((1ULL << 40U) - *rig.fs.free_space(kDir) + floor + (3U << 20U));
    rig.close();
    auto options = test_options();
    options.min_free_bytes = floor;
    rig.open(std::move(options));
    int no_space = 0;
    rig.store->observe({{}, [&] { ++no_space; }});
    std::optional<Error> refused;
    int stored = 0;
    for (std::uint64_t seed = 100; seed < 120 && !refused; ++seed) {
        const auto answer = rig.push(make_blob(500'000, seed));
        if (answer) ++stored;
        if (!answer) refused = answer.error();
    }
    REQUIRE(refused);
    CHECK(refused->code == Errc::no_space);
    CHECK(refused->what.find("min-free") != std::string::npos);
    CHECK(stored >= 2);
    CHECK(no_space == 1);
    // A row and its page in the log of a database are not asked for.
    CHECK(*rig.fs.free_space(kDir) + (256U << 10U) >= floor);
    CHECK(rig.store->totals().uploads == 0);

    const auto small = make_blob(600'000, 130);
    std::optional<Status> put;
    rig.store->put_small(small.digest, small.data, true, Durability::durable,
                         [&](Status s) { put = std::move(s); });
    REQUIRE(put);
    REQUIRE_FALSE(*put);
    CHECK(put->error().code == Errc::no_space);
    CHECK(no_space == 2);
    REQUIRE_FALSE(rig.open_partial(make_blob(5'000'000, 132)));
    CHECK(no_space == 3);

    rig.fs.set_capacity(1ULL << 40U);  // it recovers by itself
    CHECK(rig.push(make_blob(500'000, 131)));
}

TEST_CASE("room is asked for before a body of known length is read") {
    // A push that could not fit was read to the last byte that did, and refused only then.
    Rig rig(false);
    auto options = test_options();
    options.max_bytes = 40U << 20U;
    rig.open(options);
    const auto ask = [&rig](std::uint64_t bytes) {
        std::optional<Status> answer;
        rig.store->ask_room(bytes, [&](Status s) { answer = std::move(s); });
        REQUIRE(answer);
        if (!*answer) CHECK(answer->error().code == Errc::no_space);
        return answer->has_value();
    };
    int no_space = 0;
    rig.store->observe({{}, [&] { ++no_space; }});
    CHECK(ask(40U << 20U));
    CHECK_FALSE(ask((40U << 20U) + 1));
    CHECK(no_space == 1);

    const auto used = (1ULL << 40U) - *rig.fs.free_space(kDir);
    rig.fs.set_capacity(used + (8U << 20U));
    CHECK(ask(7U << 20U));
    REQUIRE(rig.open_partial(make_blob(3U << 20U, 150)));  // promised, not written
    CHECK_FALSE(ask(7U << 20U));
    CHECK(ask(4U << 20U));
    CHECK(ask(4U << 20U));  // asking keeps nothing free
    CHECK(no_space == 2);
    rig.close();

    options.min_free_bytes = 2U << 20U;
    rig.open(options);
    CHECK_FALSE(ask(4U << 20U));
    CHECK(ask(2U << 20U));
}

TEST_CASE("small uploads fit to the last byte when min-free keeps nothing") {
    // 0 keeps nothing free: neither more than that, nor a write that the disk must break off.
    Rig rig;
    const auto used = (1ULL << 40U) - *rig.fs.free_space(kDir);
    rig.fs.set_capacity(used + (1U << 20U));
    REQUIRE(rig.push(make_blob(700'000, 151)));
    const auto refused = rig.push(make_blob(500'000, 152));
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == Errc::no_space);
    CHECK(refused.error().what.find("min-free") != std::string::npos);
}

TEST_CASE("the capacity is the smaller room of max-bytes and min-free") {
    // It said max-bytes while the file system was about to refuse.
    Rig rig(false);
    auto options = test_options();
    options.max_bytes = 50U << 20U;
    options.min_free_bytes = 1U << 20U;
    rig.open(options);
    CHECK(rig.store->capacity() == options.max_bytes);
    REQUIRE(rig.push(make_blob(500'000, 140)));
    REQUIRE(rig.open_partial(make_blob(300'000, 141)));
    rig.close();

    const auto capacity = (1ULL << 40U) - *rig.fs.free_space(kDir) + (5U << 20U);
    rig.fs.set_capacity(capacity);
    rig.open(options);
    const auto free = rig.store->totals().free_bytes;
    CHECK(rig.store->capacity() == 500'000 + 300'000 + free - options.min_free_bytes - 300'000);
    CHECK(rig.store->capacity() < options.max_bytes);
    rig.close();
    rig.fs.set_capacity(capacity - *rig.fs.free_space(kDir) + (900U << 10U));
    options.max_bytes = 0;
    rig.open(options);
    CHECK(rig.store->capacity() == rig.store->totals().used_bytes());
}

TEST_CASE("the capacity stays where it is between two looks at the disk") {
    // What was uploaded since was counted as used, and as free as well.
    Rig rig;
    rig.store->tick(Instant{1});
    const auto capacity = rig.store->capacity();
    REQUIRE(rig.push(make_blob(500'000, 142)));
    CHECK(rig.store->capacity() == capacity);
    rig.store->tick(Instant{10'000'000'000});  // rows and rounding to pages take some
    CHECK(rig.store->capacity() <= capacity);
    CHECK(rig.store->capacity() > capacity - 500'000);
}

TEST_CASE("small blobs are put whole and hashed when they are read") {
    // Manifests: a bit that flips on the disk must not reach a client.
    Rig rig;
    const auto blob = make_blob(3000, 15);
    std::optional<Status> put;
    rig.store->put_small(blob.digest, blob.data, true, Durability::durable,
                         [&](Status s) { put = std::move(s); });
    REQUIRE(put);
    REQUIRE(*put);
    std::optional<Result<Bytes>> got;
    rig.store->read_small(blob.digest, 4096, [&](Result<Bytes> r) { got = std::move(r); });
    REQUIRE(*got);
    CHECK(**got == blob.data);
    rig.store->read_small(blob.digest, 100, [&](Result<Bytes> r) { got = std::move(r); });
    CHECK(got->error().code == Errc::too_large);

    int withdrawn = 0;
    rig.store->observe({[&](const Digest& digest, const BlobInfo& info, WithdrawReason reason) {
        ++withdrawn;
        CHECK(digest == blob.digest);
        CHECK(info.pushed);
        CHECK(reason == WithdrawReason::bad_bytes);
    }});
    REQUIRE(rig.fs.flip_bit(blob_path(blob.digest), 1234, 3));
    rig.store->read_small(blob.digest, 4096, [&](Result<Bytes> r) {
        CHECK_FALSE(rig.store->find(blob.digest));  // so that who asked can turn to a peer at once
        got = std::move(r);
    });
    CHECK(got->error().code == Errc::corrupt);
    CHECK(withdrawn == 1);
    CHECK_FALSE(rig.store->find(blob.digest));
    CHECK(rig.fs.contents(blob_path(blob.digest)).empty());

    rig.store->put_small(blob.digest, Bytes(3000), true, Durability::durable,
                         [&](Status s) { put = std::move(s); });
    CHECK(put->error().code == Errc::corrupt);
}
