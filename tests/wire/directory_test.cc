// What one node says of its blobs must reach another unchanged, and nonsense must not get in.
#include "wire/directory.h"

#include <doctest/doctest.h>

#include "base/hash.h"
#include "wire/pack.h"

using namespace fastreg;
using namespace fastreg::wire;

namespace {

Digest digest(std::string_view text, HashAlg alg = HashAlg::sha256) {
    return digest_of(alg, as_bytes(text));
}
NodeId node(int n) {
    NodeId id;
    id.bytes[0] = static_cast<std::byte>(n);
    return id;
}

}  // namespace

TEST_CASE("every directory message survives the wire") {
    // A field that is written and not read, or read under another key, shows here.
    const std::vector<DirectoryMessage> messages{
        Announce{7, 3, 9, {1, 4095}, {{digest("a"), 10, HolderKind::none, HolderKind::home},
                                      {digest("b", HashAlg::sha512), 0, HolderKind::partial,
                                       HolderKind::none}}},
        AnnounceAck{7, true, 3},
        ShardSummary{8, 3, 10, {{0, 1, UINT64_MAX}, {4095, 2, 5}}},
        ShardSummaryReply{8, {1, 2}, {3}},
        Lookup{9, digest("a"), true},
        LookupReply{9, digest("a"), true, 12, {{node(1), HolderKind::cache}}},
        LookupReply{9, digest("a"), false, std::nullopt, {}},
        ShardPull{10, {1, 2, 3}, digest("c")},
        ShardPull{10, {}, std::nullopt},
        ShardPage{10, {{digest("a"), 4, {{node(1), 77, HolderKind::home}}},
                       {digest("b"), std::nullopt, {}}}, {9}, true},
        WrongHint{digest("a"), node(3)},
    };
    for (const auto& message : messages) {
        CAPTURE(message.index());
        const auto back = decode_directory(encode(message));
        REQUIRE(back.has_value());
        CHECK(*back == message);
    }
}

TEST_CASE("the largest messages fit a frame") {
    // An encoder that passes the limit would close the link of a healthy node.
    Announce announce{1, UINT64_MAX, UINT64_MAX, {}, {}};
    for (std::uint32_t i = 0; i < kShardCount; ++i) announce.resets.push_back(static_cast<ShardId>(i));
    for (std::size_t i = 0; i < kAnnounceEntriesMax; ++i) {
        announce.entries.push_back({digest(std::to_string(i), HashAlg::sha512), UINT64_MAX,
                                    HolderKind::home, HolderKind::home});
    }
    CHECK(encode(announce).body.size() <= kFrameBodyMax);

    ShardSummary summary{1, UINT64_MAX, UINT64_MAX, {}};
    summary.items.assign(kSummaryItemsMax, {4095, UINT64_MAX, UINT64_MAX});
    CHECK(encode(summary).body.size() <= kFrameBodyMax);

    ShardPage::Entry entry{digest("a", HashAlg::sha512), UINT64_MAX, {}};
    entry.holders.assign(kPageHoldersMax, {node(255), UINT64_MAX, HolderKind::home});
    ShardPage page{1, {entry}, {}, true};
    CHECK(encode(page).body.size() <= encoded_size(entry) + 32);
    page.not_yet = announce.resets;
    CHECK(encode(page).body.size() <= kFrameBodyMax);
}

TEST_CASE("messages that lie about shards and kinds are refused") {
    const auto refused = [](std::uint8_t type, const MapWriter& map) {
        return !decode_directory({type, 0, 1, map.finish()}).has_value();
    };
    CHECK(refused(0x26, MapWriter().put_numbers(1, {4096})));
    CHECK(refused(0x24, MapWriter().put_bool(2, true)));  // a look-up of nothing
    CHECK(refused(0x28, MapWriter().put(1, digest("a"))));
    CHECK(refused(0x25, MapWriter().put(1, digest("a")).put_maps(
                            4, {MapWriter().put(1, node(1)).put(2, std::uint64_t{4})})));
    CHECK(decode_directory({0x2f, 0, 1, MapWriter().finish()}).error().code == Errc::unsupported);
    CHECK(decode_directory({0x24, 0, 1, Bytes(3)}).error().code == Errc::protocol);
}
