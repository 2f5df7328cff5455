// The files that TCP sends from: not in the page cache, or not to be read at all.
#include <fcntl.h>

#include "tcp_rig.h"
#include "transport/tcp/serving.h"

namespace fastreg::transport::test {
namespace {

/// A file on a disk, its pages not in the page cache where the file system lets them go.
class DiskFile final : public FileRef {
  public:
    explicit DiskFile(const Bytes& content) {
        std::string name = "/var/tmp/fr_transport_XXXXXX";
        fd_ = uv::Fd(::mkstemp(name.data()));
        REQUIRE(fd_);
        ::unlink(name.c_str());
        REQUIRE(::write(fd_.get(), content.data(), content.size()) ==
                static_cast<ssize_t>(content.size()));
        ::fsync(fd_.get());
        ::posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_DONTNEED);
    }
    [[nodiscard]] int fd() const override { return fd_.get(); }

  private:
    uv::Fd fd_;
};

/// A descriptor that cannot be read.
class DeafFile final : public FileRef {
  public:
    [[nodiscard]] int fd() const override { return fd_.get(); }

  private:
    uv::Fd fd_{::open("/dev/null", O_WRONLY | O_CLOEXEC)};
};

TEST_CASE("a chunk that is not in the page cache is read ahead, and others go out meanwhile") {
    // An io thread that waits for a disk waits with all its connections.
    Node node(1);
    const auto cold = std::make_shared<DiskFile>(pattern(kBigChunk, 3));
    const auto warm = std::make_shared<MemoryFile>(pattern(kBigChunk, 4));
    tcp::Serving serving;
    serving.order = serve_to(test::node(2), 1, cold, 0, kBigChunk);
    const auto before = tcp::probe(serving.order, 0, kBigChunk);
    Node client(2);
    node.events.on_get = [&](NodeId from, const wire::GetChunk& get) {
        const std::shared_ptr<const FileRef> file =
            get.request == 1 ? std::shared_ptr<const FileRef>(cold) : warm;
        node.transport->serve(serve_to(from, get.request, file, 0, kBigChunk));
    };
    const auto first = std::make_shared<CollectingSink>();
    const auto second = std::make_shared<CollectingSink>();
    client.transport->fetch(fetch_from(test::node(1), node.address, 1, first));
    client.transport->fetch(fetch_from(test::node(1), node.address, 2, second));
    REQUIRE(until(client.loop, [&] {
        node.loop.run_once(false);
        return client.events.done.size() == 2 && node.events.served.size() == 2;
    }));
    CHECK(first->bytes() == pattern(kBigChunk, 3));
    CHECK(second->bytes() == pattern(kBigChunk, 4));
    // Where the file system dropped the pages, the probe saw that; now they are back.
    CHECK(before != tcp::Residency::failed);
    CHECK(tcp::read_ahead(cold->fd(), 0, kBigChunk));
    CHECK_FALSE(tcp::read_ahead(cold->fd(), 1, kBigChunk));  // past the end
}

TEST_CASE("a file that cannot be read is NotHere for the asker and a failed serve for the server") {
    // A dying disk must send askers elsewhere, not make them wait for a timeout.
    Node node(1);
    node.events.on_get = [&](NodeId from, const wire::GetChunk& get) {
        node.transport->serve(serve_to(from, get.request, std::make_shared<DeafFile>(), 0, kBigChunk));
    };
    RawPeer peer(node.loop, node.address);
    REQUIRE(peer.greet(identity(2), wire::Purpose::data));
    peer.send(wire::TransferMessage(wire::GetChunk{1, some_digest(), kBigBlob, 0, false}));
    const auto frame = peer.next_frame();
    REQUIRE(frame);
    const auto message = wire::decode_transfer(*frame);
    REQUIRE(message);
    CHECK(std::get<wire::NotHere>(*message).digest == some_digest());
    CHECK_FALSE(std::get<wire::NotHere>(*message).whole);
    REQUIRE(node.wait([&] { return node.events.served.contains(1); }));
    CHECK_FALSE(node.events.served[1].first);
}

}  // namespace
}  // namespace fastreg::transport::test
