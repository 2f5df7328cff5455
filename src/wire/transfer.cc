#include "wire/transfer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "wire/pack.h"

namespace fastreg::wire {
namespace {

// Body keys; numbers never change. `request` travels in the frame's header.
enum Key : int {
    kDigest = 0,
    kSize = 1,
    kChunk = 2,
    kUrgent = 3,
    kOffset = 4,
    kLength = 5,
    kTotal = 6,
    kChecksum = 7,
    kTry = 8,
    kWhole = 9,
    kSeeds = 10,
    kComplete = 11,
    kOffering = 12,
    kFirstHand = 13,
    kBits = 14,
    kIndices = 15,
    kLinks = 16,
};

constexpr std::uint64_t kLinksMax = std::uint64_t{kChunkCountMax} * 64;

std::uint8_t number_of(TransferType type) { return static_cast<std::uint8_t>(type); }

std::array<std::byte, 16> checksum_bytes(const Xxh128& sum) {
    std::array<std::byte, 16> raw{};
    for (std::size_t i = 0; i < 8; ++i) {
        raw[i] = static_cast<std::byte>(sum.low >> (8 * i));
        raw[8 + i] = static_cast<std::byte>(sum.high >> (8 * i));
    }
    return raw;
}

Xxh128 checksum_from(ByteView raw) {
    Xxh128 sum;
    for (std::size_t i = 0; i < 8; ++i) {
        sum.low |= std::to_integer<std::uint64_t>(raw[i]) << (8 * i);
        sum.high |= std::to_integer<std::uint64_t>(raw[8 + i]) << (8 * i);
    }
    return sum;
}

struct TransferEncoder {
    Frame operator()(const GetChunk& m) const {
        MapWriter w;
        w.put(kDigest, m.digest).put(kSize, m.size).put(kChunk, std::uint64_t{m.chunk});
        if (m.urgent) w.put_bool(kUrgent, true);
        return frame(TransferType::get_chunk, m.request, w);
    }
    Frame operator()(const Data& m) const {
        MapWriter w;
        w.put(kOffset, std::uint64_t{m.offset}).put(kLength, std::uint64_t{m.length});
        w.put(kTotal, std::uint64_t{m.total});
        if (m.checksum) w.put_bytes(kChecksum, checksum_bytes(*m.checksum));
        return frame(TransferType::data, m.request, w);
    }
    Frame operator()(const Cancel& m) const {
        return frame(TransferType::cancel, m.request, MapWriter());
    }
    Frame operator()(const Busy& m) const {
        MapWriter w;
        w.put(kDigest, m.digest);
        put_nodes(w, m.try_instead);
        return frame(TransferType::busy, m.request, w);
    }
    Frame operator()(const NotHere& m) const {
        MapWriter w;
        w.put(kDigest, m.digest);
        if (m.whole) w.put_bool(kWhole, true);
        return frame(TransferType::not_here, m.request, w);
    }
    Frame operator()(const Interest& m) const {
        MapWriter w;
        w.put(kDigest, m.digest);
        if (m.size != 0) w.put(kSize, m.size);
        w.put(kSeeds, std::uint64_t{m.seeds});
        return frame(TransferType::interest, 0, w);
    }
    Frame operator()(const Map& m) const {
        MapWriter w;
        w.put(kDigest, m.digest).put(kSize, m.size);
        put_nodes(w, m.others);
        if (m.complete) w.put_bool(kComplete, true);
        if (m.offering) w.put_bool(kOffering, true);
        if (m.first_hand) w.put_bool(kFirstHand, true);
        if (!m.complete && m.chunks.set_count() != 0) w.put_bytes(kBits, m.chunks.to_bytes());
        return frame(TransferType::map, 0, w);
    }
    Frame operator()(const Have& m) const {
        MapWriter w;
        w.put(kDigest, m.digest);
        w.put_numbers(kIndices, {m.chunks.begin(), m.chunks.end()});
        return frame(TransferType::have, 0, w);
    }
    Frame operator()(const ChainRequest& m) const {
        MapWriter w;
        w.put(kDigest, m.digest).put(kSize, m.size).put(kOffset, std::uint64_t{m.offset});
        return frame(TransferType::chain_request, 0, w);
    }
    Frame operator()(const ChainPage& m) const {
        MapWriter w;
        w.put(kDigest, m.digest).put(kSize, m.size).put(kOffset, std::uint64_t{m.offset});
        if (!m.links.empty()) w.put_bytes(kLinks, m.links);
        return frame(TransferType::chain_page, 0, w);
    }
    Frame operator()(const Offer& m) const {
        MapWriter w;
        w.put(kDigest, m.digest).put(kSize, m.size).put(kChunk, std::uint64_t{m.chunk});
        return frame(TransferType::offer, 0, w);
    }
    Frame operator()(const Done& m) const {
        MapWriter w;
        w.put(kDigest, m.digest);
        return frame(TransferType::done, 0, w);
    }
    Frame operator()(const Doubt& m) const {
        MapWriter w;
        w.put(kDigest, m.digest);
        return frame(TransferType::doubt, 0, w);
    }

    static void put_nodes(MapWriter& w, const std::vector<NodeId>& nodes) {
        if (nodes.empty()) return;
        Bytes ids;
        for (const NodeId& id : nodes) ids.insert(ids.end(), id.bytes.begin(), id.bytes.end());
        w.put_bytes(kTry, ids);
    }

    static Frame frame(TransferType type, RequestId request, const MapWriter& body) {
        return Frame{number_of(type), 0, request, body.finish()};
    }
};

Digest digest_in(MapReader& r) {
    r.require(kDigest);
    return r.digest(kDigest);
}

std::uint64_t size_in(MapReader& r) { return r.number(kSize, 0, kBlobSizeMax); }

ChunkIndex chunk_in(MapReader& r, std::uint64_t size) {
    const auto chunk = r.number(kChunk, 0, kChunkCountMax - 1);
    if (chunk >= ChunkGrid(size).count()) r.reject("chunk index beyond the blob's grid");
    return static_cast<ChunkIndex>(chunk);
}

std::uint32_t number32(MapReader& r, int key, std::uint64_t max) {
    return static_cast<std::uint32_t>(r.number(key, 0, max));
}

void need_request(MapReader& r, RequestId request) {
    if (request == 0) r.reject("request id 0 where one is needed");
}

std::vector<NodeId> nodes_in(MapReader& r) {
    const ByteView ids = r.bytes(kTry, kTryMax * 16);
    if (ids.size() % 16 != 0) r.reject("node ids are not 16 bytes each");
    std::vector<NodeId> nodes;
    for (std::size_t at = 0; at + 16 <= ids.size(); at += 16) {
        std::copy_n(ids.begin() + static_cast<std::ptrdiff_t>(at), 16, nodes.emplace_back().bytes.begin());
    }
    return nodes;
}

GetChunk read_get_chunk(MapReader& r, RequestId request) {
    need_request(r, request);
    GetChunk m;
    m.request = request;
    m.digest = digest_in(r);
    m.size = size_in(r);
    m.chunk = chunk_in(r, m.size);
    m.urgent = r.boolean(kUrgent);
    return m;
}

Data read_data(MapReader& r, RequestId request) {
    need_request(r, request);
    Data m;
    m.request = request;
    m.offset = number32(r, kOffset, kChunkSizeMax);
    m.length = number32(r, kLength, kDataPieceMax);
    m.total = number32(r, kTotal, kChunkSizeMax);
    if (std::uint64_t{m.offset} + m.length > m.total) r.reject("piece ends beyond its chunk");
    if (m.length == 0 && m.total != 0) r.reject("empty piece");
    if (r.has(kChecksum)) {
        const ByteView raw = r.bytes(kChecksum, 16);
        if (raw.size() == 16) {
            m.checksum = checksum_from(raw);
        } else {
            r.reject("checksum is not 16 bytes");
        }
    }
    return m;
}

Busy read_busy(MapReader& r, RequestId request) {
    Busy m;
    m.request = request;
    m.digest = digest_in(r);
    m.try_instead = nodes_in(r);
    return m;
}

NotHere read_not_here(MapReader& r, RequestId request) {
    NotHere m;
    m.request = request;
    m.digest = digest_in(r);
    m.whole = r.boolean(kWhole);
    if (!m.whole) need_request(r, request);
    return m;
}

Interest read_interest(MapReader& r) {
    Interest m;
    m.digest = digest_in(r);
    m.size = size_in(r);
    m.seeds = number32(r, kSeeds, UINT32_MAX);
    return m;
}

Map read_map(MapReader& r) {
    Map m;
    m.digest = digest_in(r);
    r.require(kSize);
    m.size = size_in(r);
    m.complete = r.boolean(kComplete);
    m.offering = r.boolean(kOffering);
    m.first_hand = r.boolean(kFirstHand);
    m.others = nodes_in(r);
    const ByteView bits = r.bytes(kBits, kChunkCountMax / 8);
    if (!r.status()) return m;
    const ChunkIndex count = ChunkGrid(m.size).count();
    if (m.complete) {
        if (!bits.empty()) r.reject("a complete map has no bits");
        m.chunks = ChunkMap(count, true);
    } else if (bits.empty()) {
        m.chunks = ChunkMap(count);
    } else if (!m.chunks.from_bytes(count, bits)) {
        r.reject("map does not fit the grid of its size");
    }
    return m;
}

Have read_have(MapReader& r) {
    Have m;
    m.digest = digest_in(r);
    for (const std::uint64_t index : r.numbers(kIndices, kHaveMax)) {
        if (index >= kChunkCountMax) {
            r.reject("chunk index beyond any grid");
            break;
        }
        m.chunks.push_back(static_cast<ChunkIndex>(index));
    }
    return m;
}

ChainRequest read_chain_request(MapReader& r) {
    ChainRequest m;
    m.digest = digest_in(r);
    r.require(kSize);
    m.size = size_in(r);
    m.offset = number32(r, kOffset, kLinksMax);
    return m;
}

ChainPage read_chain_page(MapReader& r) {
    ChainPage m;
    m.digest = digest_in(r);
    r.require(kSize);
    m.size = size_in(r);
    m.offset = number32(r, kOffset, kLinksMax);
    const ByteView links = r.bytes(kLinks, kChainPageMax);
    if (!r.status()) return m;
    const std::uint64_t link = digest_size(m.digest.alg);
    const std::uint64_t whole = (ChunkGrid(m.size).count() - 1) * link;
    if (m.offset % link != 0 || links.size() % link != 0) r.reject("a link is cut");
    if (m.offset + links.size() > whole) r.reject("links beyond the blob's chain");
    m.links.assign(links.begin(), links.end());
    return m;
}

Offer read_offer(MapReader& r) {
    Offer m;
    m.digest = digest_in(r);
    r.require(kSize);
    m.size = size_in(r);
    m.chunk = chunk_in(r, m.size);
    return m;
}

}  // namespace

bool is_transfer_type(std::uint8_t type) {
    return type >= number_of(TransferType::get_chunk) && type <= number_of(TransferType::doubt);
}

Frame to_frame(const TransferMessage& message) { return std::visit(TransferEncoder{}, message); }

Bytes encode(const TransferMessage& message) { return encode_frame(to_frame(message)); }

Result<TransferMessage> decode_transfer(const Frame& frame) {
    if (!is_transfer_type(frame.type)) {
        return fail(Errc::protocol, "transfer message of unknown type " + std::to_string(frame.type));
    }
    FR_TRY_ASSIGN(MapReader r, MapReader::parse(frame.body));
    TransferMessage message;
    switch (static_cast<TransferType>(frame.type)) {
        case TransferType::get_chunk: message = read_get_chunk(r, frame.request); break;
        case TransferType::data: message = read_data(r, frame.request); break;
        case TransferType::cancel:
            need_request(r, frame.request);
            message = Cancel{frame.request};
            break;
        case TransferType::busy: message = read_busy(r, frame.request); break;
        case TransferType::not_here: message = read_not_here(r, frame.request); break;
        case TransferType::interest: message = read_interest(r); break;
        case TransferType::map: message = read_map(r); break;
        case TransferType::have: message = read_have(r); break;
        case TransferType::chain_request: message = read_chain_request(r); break;
        case TransferType::chain_page: message = read_chain_page(r); break;
        case TransferType::offer: message = read_offer(r); break;
        case TransferType::done: message = Done{digest_in(r)}; break;
        case TransferType::doubt: message = Doubt{digest_in(r)}; break;
    }
    FR_TRY(r.status());
    return message;
}

}  // namespace fastreg::wire
