// The small values that everything is made of: digests, ids, addresses, bytes, chunk maps, random.
#include <doctest/doctest.h>

#include <set>

#include "base/chunk_map.h"
#include "base/digest.h"
#include "base/endpoint.h"
#include "base/ids.h"
#include "base/pattern.h"
#include "base/random.h"

using namespace fastreg;

TEST_CASE("a digest is read strictly") {
    // Digests become file names: whatever is accepted here reaches the disk.
    const std::string hex(64, 'b');
    const auto digest = Digest::parse("sha256:" + hex);
    REQUIRE(digest);
    CHECK(digest->str() == "sha256:" + hex);
    CHECK(digest->brief() == "sha256:bbbbbbbbbbbb");
    CHECK(*Digest::from_bytes(HashAlg::sha256, digest->bytes()) == *digest);
    CHECK(Digest::parse("sha512:" + hex + hex));
    for (const std::string& bad :
         {std::string(), std::string("sha256"), "sha256:" + hex + "b", "sha256:" + hex.substr(1),
          "sha256:" + std::string(64, 'B'), "sha256:" + std::string(63, 'b') + "/", "SHA256:" + hex,
          "md5:" + hex, "sha512:" + hex, " sha256:" + hex, "sha256:" + std::string(62, 'b') + "..",
          "sha256:" + hex + '\0', ":" + hex}) {
        CAPTURE(bad);
        CHECK_FALSE(Digest::parse(bad));
    }
    CHECK_FALSE(Digest::from_bytes(HashAlg::sha512, digest->bytes()));
    CHECK_FALSE(Digest::from_bytes(static_cast<HashAlg>(3), digest->bytes()));
}

TEST_CASE("an address is read in the forms that people write") {
    // Seeds, listen addresses and what peers advertise all pass here.
    CHECK(*Endpoint::parse("10.0.0.1:7946") == Endpoint{"10.0.0.1", 7946});
    CHECK(*Endpoint::parse("[::1]:80") == Endpoint{"::1", 80});
    CHECK(*Endpoint::parse("node-1.lab:1") == Endpoint{"node-1.lab", 1});
    CHECK(*Endpoint::parse("[fe80::1%eth0]:1") == Endpoint{"fe80::1%eth0", 1});
    CHECK(*Endpoint::parse(":5000") == Endpoint{"::", 5000});
    CHECK(Endpoint{"::1", 80}.str() == "[::1]:80");
    CHECK(Endpoint{}.str().empty());
    for (const std::string bad : {"", "host", "host:", "host:x", "host:65536", "host:-1", "::1:80",
                                  "[::1:80", "[::1]", "host:80 ", "[:80", "[]", "[]:80",
                                  "[host]:80", "[[::1]]:80", "a b:80", "a/b:80", "\x1b[2J:80"}) {
        CAPTURE(bad);
        CHECK_FALSE(Endpoint::parse(bad));
    }
    CHECK_FALSE(Endpoint::parse(std::string(254, 'h') + ":1"));
}

TEST_CASE("ids and bytes print and read back") {
    // Node ids are typed by people into commands.
    const auto id = NodeId::parse("000102030405060708090a0b0c0d0e0f");
    REQUIRE(id);
    CHECK(id->str() == "000102030405060708090a0b0c0d0e0f");
    CHECK(id->brief() == "00010203");
    CHECK(id->known());
    CHECK_FALSE(NodeId{}.known());
    CHECK_FALSE(NodeId::parse("000102030405060708090a0b0c0d0e"));
    CHECK_FALSE(NodeId::parse("000102030405060708090A0b0c0d0e0f"));
    CHECK(human_bytes(0) == "0 B");
    CHECK(human_bytes(1023) == "1023 B");
    CHECK(human_bytes(1536) == "1.5 KiB");
    CHECK(human_bytes(300ULL << 20U) == "300 MiB");
    CHECK(human_bytes(UINT64_MAX) == "16.0 EiB");
}

TEST_CASE("a chunk map finds and counts its bits at every word edge") {
    // An off-by-one here asks for a chunk that does not exist, or never for one that does.
    for (const ChunkIndex count : {1U, 7U, 8U, 63U, 64U, 65U, 128U, 1000U}) {
        CAPTURE(count);
        ChunkMap map(count);
        CHECK(map.first_set() == count);
        CHECK(map.first_missing() == 0);
        CHECK(map.set(count - 1));
        CHECK_FALSE(map.set(count - 1));
        CHECK(map.set_count() == 1);
        CHECK(map.first_set() == count - 1);
        CHECK(map.first_missing(count - 1) == count);
        CHECK_FALSE(map.has(count));
        ChunkMap copy;
        CHECK(copy.from_bytes(count, map.to_bytes()));
        CHECK(copy == map);
        map.set_all();
        CHECK(map.full());
        CHECK(map == ChunkMap(count, true));
        CHECK(map.first_missing() == count);
        CHECK(copy.from_bytes(count, map.to_bytes()));
        CHECK(copy.full());
        CHECK(map.clear(0));
        CHECK_FALSE(map.clear(0));
        CHECK(map.first_missing() == 0);
    }
}

TEST_CASE("a chunk map of a peer with bits past its end is refused") {
    // Such a bit would be a chunk outside the file.
    ChunkMap map;
    CHECK_FALSE(map.from_bytes(9, Bytes{std::byte{0xff}, std::byte{0x02}}));
    CHECK_FALSE(map.from_bytes(9, Bytes{std::byte{0xff}}));
    CHECK_FALSE(map.from_bytes(8, Bytes{std::byte{0xff}, std::byte{0}}));
    CHECK(map.from_bytes(9, Bytes{std::byte{0xff}, std::byte{0x01}}));
    CHECK(map.set_count() == 9);
}

TEST_CASE("one seed gives one sequence, and every value is in its range") {
    // A simulation that cannot be replayed cannot be debugged.
    Rng a(42);
    Rng b(42);
    Rng other(43);
    CHECK(a.next() == b.next());
    CHECK(a.next() != other.next());
    std::set<std::uint64_t> seen;
    for (int i = 0; i < 1000; ++i) {
        seen.insert(a.below(7));
        const double unit = a.unit();
        CHECK(unit >= 0);
        CHECK(unit < 1);
    }
    CHECK(seen == std::set<std::uint64_t>{0, 1, 2, 3, 4, 5, 6});
    CHECK(a.below(1) == 0);
    CHECK(a.fork().next() != a.next());
    std::vector<int> items{1, 2, 3, 4, 5};
    a.shuffle(items);
    CHECK(std::set<int>(items.begin(), items.end()).size() == 5);
}

TEST_CASE("an error keeps the system's own words for last") {
    // "what was being done" comes first, errno behind it.
    CHECK(describe({Errc::io, 2, "open /x"}) == "open /x: No such file or directory");
    CHECK(describe({Errc::io, 0, "open /x"}) == "open /x");
}

TEST_CASE("what goes to clients and to other nodes names no file of this machine") {
    // A push to a full disk was told the path of the data directory.
    for (const Errc code : {Errc::no_space, Errc::io, Errc::not_found, Errc::busy, Errc::permission_denied,
                            Errc::corrupt, Errc::too_large, Errc::internal, Errc::already_exists}) {
        const auto said = describe_outside({code, 28, "cannot write /srv/fastreg/blobs/x"});
        CAPTURE(said);
        CHECK(said.find("/srv") == std::string::npos);
    }
    CHECK(describe_outside({Errc::no_space, 28, "/srv/x"}) ==
          "this node cannot use its disk: No space left on device");
    // Words of the store and of the network help who reads them.
    CHECK(describe_outside({Errc::no_space, 0, "the store is full"}) == "the store is full");
    CHECK(describe_outside({Errc::network, 111, "connecting to 10.0.0.1:1"}) ==
          "connecting to 10.0.0.1:1: Connection refused");
    CHECK(name_of(Errc::no_space) == "no_space");
}

TEST_CASE("the made-up bytes of two places are never alike") {
    // A page that landed at another page's place must not compare equal.
    const Bytes bytes = pattern_bytes(4U << 20U);
    std::set<std::string> pages;
    for (std::size_t at = 0; at < bytes.size(); at += 4096) {
        pages.emplace(as_text(ByteView(bytes).subspan(at, 4096)));
    }
    CHECK(pages.size() == 1024);
    const Bytes shorter = pattern_bytes(10'000);
    CHECK(as_text(bytes).starts_with(as_text(shorter)));
}
