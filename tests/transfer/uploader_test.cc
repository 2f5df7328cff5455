// Who is sent chunks when more ask than can be served.
#include "transfer/uploader.h"

#include <doctest/doctest.h>

using namespace fastreg;
using namespace fastreg::transfer;

namespace {

struct NoBlobs : LocalBlobs {
    std::optional<std::uint64_t> complete_size(const Digest&) const override { return {}; }
};

struct UploaderRig {
    NoBlobs blobs;
    Context context{NodeId{}, "z", Options{}, blobs, Rng(1)};
    Uploader uploader{context};
    Outbox out;
    Instant now{1'000'000};

    static NodeId node(unsigned n) {
        NodeId id;
        id.bytes[0] = static_cast<std::byte>(n);
        return id;
    }
    void ask(unsigned from, RequestId request, bool urgent = false, bool offered = false) {
        const wire::GetChunk get{request, Digest{}, 64ULL << 20U, static_cast<ChunkIndex>(request % 256), urgent};
        uploader.on_get_chunk(now, node(from), get, offered, {node(77)}, out);
    }
    std::size_t served() const {
        std::size_t count = 0;
        for (const Action& action : out) count += std::holds_alternative<ServeChunk>(action) ? 1 : 0;
        return count;
    }
    const wire::Busy* busy() const {
        for (const Action& action : out) {
            const auto* send = std::get_if<Send>(&action);
            if (send == nullptr) continue;
            if (const auto* busy = std::get_if<wire::Busy>(&send->message)) return busy;
        }
        return nullptr;
    }
};

}  // namespace

TEST_CASE("four chunks are sent at a time, and a crowd is told at once to go elsewhere") {
    // Unlimited slots and unbounded queues cost 15-40 % in the study: late is worse than no.
    UploaderRig rig;
    for (unsigned n = 1; n <= 4; ++n) rig.ask(n, 1);
    CHECK(rig.served() == 4);
    CHECK(rig.busy() == nullptr);
    rig.ask(5, 9);
    CHECK(rig.served() == 4);
    REQUIRE(rig.busy() != nullptr);
    CHECK(rig.busy()->request == 9);
    CHECK(rig.busy()->try_instead == std::vector<NodeId>{UploaderRig::node(77)});
}

TEST_CASE("while one or two ask, requests wait and the pipe stays full") {
    // With a single reader a BUSY would only cost a round trip.
    UploaderRig rig;
    for (RequestId r = 1; r <= 8; ++r) rig.ask(1, r);
    CHECK(rig.served() == 4);
    CHECK(rig.uploader.waiting() == 4);
    rig.ask(2, 1);  // the second does not stand behind the first one's queue
    CHECK(rig.served() == 5);
    CHECK(rig.busy() == nullptr);
    CHECK(rig.uploader.on_served(rig.now + 8ms, UploaderRig::node(1), 1, rig.out));
    CHECK(rig.uploader.on_served(rig.now + 8ms, UploaderRig::node(1), 2, rig.out));
    CHECK(rig.served() == 6);
    CHECK_FALSE(rig.uploader.on_served(rig.now, UploaderRig::node(1), 1, rig.out));
    CHECK(rig.uploader.chunk_time() > 0ms);
}

TEST_CASE("slow receivers do not hold the slots of the others") {
    // Four laptops on a bad link must not stop a source.
    UploaderRig rig;
    for (unsigned n = 1; n <= 4; ++n) rig.ask(n, 1);
    for (unsigned n = 1; n <= 4; ++n) rig.uploader.on_blocked(rig.now, UploaderRig::node(n), 1, true, rig.out);
    rig.ask(5, 1);
    rig.ask(6, 1);
    CHECK(rig.served() == 6);
    for (unsigned n = 7; n <= 20; ++n) rig.ask(n, 1);
    CHECK(rig.served() == rig.context.options.upload_slots_max);
}

TEST_CASE("what a reader waits for and what was offered are not refused for want of a slot") {
    // An offer that is refused would be given to nobody; an urgent chunk is somebody's stall.
    UploaderRig rig;
    for (unsigned n = 1; n <= 4; ++n) rig.ask(n, 1);
    rig.ask(5, 1, true);
    CHECK(rig.served() == 5);
    rig.ask(6, 1, false, true);
    CHECK(rig.served() == 5);
    CHECK(rig.uploader.waiting() == 1);
    CHECK(rig.busy() == nullptr);
}

TEST_CASE("cancels, lost links and lost blobs give their slots back") {
    // A leaked slot is a source that slowly stops.
    UploaderRig rig;
    for (RequestId r = 1; r <= 5; ++r) rig.ask(1, r);
    rig.uploader.on_cancel(rig.now, UploaderRig::node(1), 1, rig.out);
    CHECK(rig.served() == 5);
    rig.uploader.on_cancel(rig.now, UploaderRig::node(1), 99, rig.out);
    rig.uploader.on_node_gone(rig.now, UploaderRig::node(1), rig.out);
    CHECK(rig.uploader.active() == 0);
    rig.ask(2, 1);
    rig.uploader.on_blob_gone(rig.now, Digest{}, rig.out);
    CHECK(rig.uploader.active() + rig.uploader.waiting() == 0);
}

TEST_CASE("no peer fills the queue") {
    // A hostile member may send requests as fast as it likes; memory has a limit.
    UploaderRig rig;
    for (RequestId r = 1; r <= 1000; ++r) rig.ask(1, r, true, true);
    CHECK(rig.uploader.active() + rig.uploader.waiting() <= rig.context.options.inbound_max);
    CHECK(rig.busy() != nullptr);
}
