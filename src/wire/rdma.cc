#include "wire/rdma.h"

#include <algorithm>
#include <cstring>

namespace fastreg::wire {
namespace {

constexpr std::string_view kRdmaMagic = "FRR1";
constexpr std::size_t kRejectTextMax = kRdmaRejectSize - 12;
constexpr std::uint8_t kKeyed = 1;

enum class Type : std::uint8_t { proof = 1, request = 2, done = 3, nack = 4, cancel = 5 };
constexpr std::uint8_t kRdmaUrgent = 1;
constexpr std::uint8_t kRdmaWhole = 1;

/// Fields one after the other.
class Writer {
  public:
    explicit Writer(std::size_t size) { bytes_.reserve(size); }
    template <class T>
    Writer& number(T value) {
        for (std::size_t i = 0; i < sizeof(T); ++i) {
            bytes_.push_back(static_cast<std::byte>(static_cast<std::uint64_t>(value) >> (8 * i)));
        }
        return *this;
    }
    Writer& raw(ByteView bytes) {
        bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
        return *this;
    }
    /// Zeros up to `size` bytes in all.
    Bytes padded(std::size_t size) {
        FR_ASSERT(bytes_.size() <= size);
        bytes_.resize(size);
        return std::move(bytes_);
    }

  private:
    Bytes bytes_;
};

/// The same, back. The caller has seen that there are bytes enough.
class Reader {
  public:
    explicit Reader(ByteView data) : data_(data) {}
    template <class T>
    T number() {
        std::uint64_t value = 0;
        for (std::size_t i = 0; i < sizeof(T); ++i) {
            value |= std::to_integer<std::uint64_t>(data_[at_ + i]) << (8 * i);
        }
        at_ += sizeof(T);
        return static_cast<T>(value);
    }
    template <class Array>
    void raw(Array& out) {
        std::memcpy(out.data(), data_.data() + at_, out.size());
        at_ += out.size();
    }
    ByteView take(std::size_t size) {
        const ByteView part = data_.subspan(at_, size);
        at_ += size;
        return part;
    }

  private:
    ByteView data_;
    std::size_t at_ = 0;
};

tl::unexpected<Error> malformed(std::string what) { return fail(Errc::protocol, "an RDMA message " + std::move(what)); }

/// Magic, version, flags and depth stand first in both Hello and Welcome.
Result<std::pair<bool, std::uint16_t>> read_head(Reader& in) {
    if (as_text(in.take(kRdmaMagic.size())) != kRdmaMagic) return malformed("does not begin as FastReg's do");
    const auto version = in.number<std::uint8_t>();
    if (version != kRdmaVersion) {
        return malformed("is of version " + std::to_string(version) + ", and this node speaks " +
                         std::to_string(kRdmaVersion));
    }
    const auto flags = in.number<std::uint8_t>();
    const auto depth = in.number<std::uint16_t>();
    if (depth == 0 || depth > kRdmaDepthMax) return malformed("names an impossible depth");
    return std::pair{(flags & kKeyed) != 0, depth};
}

template <class Greeting>
Writer write_greeting(const Greeting& greeting) {
    Writer out(kRdmaHelloSize);
    out.raw(as_bytes(kRdmaMagic)).number(kRdmaVersion);
    out.number<std::uint8_t>(greeting.keyed ? kKeyed : 0).number(greeting.depth);
    out.number(greeting.cluster_hash).raw(greeting.node_id.bytes).raw(greeting.nonce);
    return out;
}

template <class Greeting>
Result<Greeting> read_greeting(ByteView data) {
    if (data.size() < kRdmaHelloSize) return malformed("is shorter than a greeting");
    Reader in(data);
    FR_TRY_ASSIGN(const auto head, read_head(in));
    Greeting greeting;
    greeting.keyed = head.first;
    greeting.depth = head.second;
    greeting.cluster_hash = in.number<std::uint64_t>();
    in.raw(greeting.node_id.bytes);
    in.raw(greeting.nonce);
    in.raw(greeting.mac);
    if (!greeting.node_id.known()) return malformed("names no node");
    return greeting;
}

RdmaMac shortened(const Mac& key, const Bytes& text) {
    const Mac whole = hmac_sha256(key, text);
    RdmaMac half{};
    std::copy_n(whole.begin(), half.size(), half.begin());
    return half;
}

void add_bytes(Bytes& to, ByteView bytes) { to.insert(to.end(), bytes.begin(), bytes.end()); }

/// A label, then the words: Hello without or with its MAC, and so on.
Bytes labelled(std::string_view label) {
    const ByteView bytes = as_bytes(label);
    return {bytes.begin(), bytes.end()};
}

Bytes unsigned_part(const RdmaHello& hello) {
    Bytes bytes = encode_rdma_hello(hello);
    bytes.resize(kRdmaHelloSize - sizeof(RdmaMac));
    return bytes;
}

Bytes both(std::string_view label, const RdmaHello& hello, const RdmaWelcome& welcome) {
    Bytes text = labelled(label);
    add_bytes(text, encode_rdma_hello(hello));
    RdmaWelcome bare = welcome;
    bare.mac = {};
    add_bytes(text, encode_rdma_welcome(bare));
    return text;
}

Bytes encode(const RdmaProof& m) {
    return Writer(kRdmaInlineMax).number(Type::proof).number<std::uint8_t>(0).number<std::uint16_t>(0)
        .number<std::uint32_t>(0).raw(m.mac).padded(kRdmaInlineMax);
}

Bytes encode(const RdmaRequest& m) {
    return Writer(kRdmaMessageMax).number(Type::request).number<std::uint8_t>(m.urgent ? kRdmaUrgent : 0)
        .number<std::uint8_t>(static_cast<std::uint8_t>(m.digest.alg)).number<std::uint8_t>(0)
        .number(m.generation).number(m.request).number(m.address).number(m.key).number(m.room)
        .number(m.blob_size).number(m.chunk).number<std::uint32_t>(0).raw(m.digest.value)
        .padded(kRdmaMessageMax);
}

Bytes encode(const RdmaDone& m) {
    return Writer(kRdmaInlineMax).number(Type::done).number<std::uint8_t>(0).number<std::uint16_t>(0)
        .number(m.generation).number(m.request).number(m.bytes).padded(kRdmaInlineMax);
}

Bytes encode(const RdmaNack& m) {
    FR_ASSERT(m.try_instead.size() <= kRdmaTryMax);
    Writer out(kRdmaInlineMax);
    out.number(Type::nack).number(m.why).number<std::uint8_t>(m.whole ? kRdmaWhole : 0)
        .number(static_cast<std::uint8_t>(m.try_instead.size())).number(m.generation).number(m.request);
    for (const NodeId& node : m.try_instead) out.raw(node.bytes);
    return out.padded(kRdmaInlineMax);
}

Bytes encode(const RdmaCancel& m) {
    return Writer(kRdmaInlineMax).number(Type::cancel).number<std::uint8_t>(0).number<std::uint16_t>(0)
        .number(m.generation).number(m.request).padded(kRdmaInlineMax);
}

Result<RdmaMessage> read_request(Reader& in, std::uint8_t flags, std::uint8_t alg) {
    RdmaRequest m;
    m.urgent = (flags & kRdmaUrgent) != 0;
    m.generation = in.number<std::uint32_t>();
    m.request = in.number<RequestId>();
    m.address = in.number<std::uint64_t>();
    m.key = in.number<std::uint32_t>();
    m.room = in.number<std::uint32_t>();
    m.blob_size = in.number<std::uint64_t>();
    m.chunk = in.number<ChunkIndex>();
    (void)in.number<std::uint32_t>();
    if (alg != static_cast<std::uint8_t>(HashAlg::sha256) && alg != static_cast<std::uint8_t>(HashAlg::sha512)) {
        return malformed("names an unknown hash");
    }
    FR_TRY_ASSIGN(m.digest, Digest::from_bytes(static_cast<HashAlg>(alg),
                                               in.take(digest_size(static_cast<HashAlg>(alg)))));
    if (m.request == 0) return malformed("is a request without an id");
    if (m.blob_size > kBlobSizeMax || m.chunk >= ChunkGrid(m.blob_size).count()) {
        return malformed("asks for a chunk outside its blob");
    }
    if (m.room < m.chunk_bytes() || m.room > kChunkSizeMax) return malformed("offers no room for its chunk");
    return m;
}

Result<RdmaMessage> read_nack(Reader& in, std::uint8_t why, std::uint8_t flags, std::uint8_t count) {
    RdmaNack m;
    if (why < 1 || why > 3) return malformed("refuses for an unknown reason");
    if (count > kRdmaTryMax) return malformed("names too many nodes");
    m.why = static_cast<RdmaNack::Why>(why);
    m.whole = (flags & kRdmaWhole) != 0;
    m.generation = in.number<std::uint32_t>();
    m.request = in.number<RequestId>();
    for (std::uint8_t i = 0; i < count; ++i) in.raw(m.try_instead.emplace_back().bytes);
    return m;
}

}  // namespace

Bytes encode_rdma_hello(const RdmaHello& hello) {
    return write_greeting(hello).raw(hello.mac).padded(kRdmaHelloSize);
}

Result<RdmaHello> decode_rdma_hello(ByteView data) { return read_greeting<RdmaHello>(data); }

RdmaMac rdma_hello_mac(const Mac& key, const RdmaHello& hello, NodeId to) {
    Bytes text = labelled("fastreg rdma hello");
    add_bytes(text, to.bytes);
    add_bytes(text, unsigned_part(hello));
    return shortened(key, text);
}

Bytes encode_rdma_welcome(const RdmaWelcome& welcome) {
    return write_greeting(welcome).raw(welcome.mac).padded(kRdmaHelloSize);
}

Result<RdmaWelcome> decode_rdma_welcome(ByteView data) {
    return read_greeting<RdmaWelcome>(data);
}

RdmaMac rdma_welcome_mac(const Mac& key, const RdmaHello& hello, const RdmaWelcome& welcome) {
    return shortened(key, both("fastreg rdma welcome", hello, welcome));
}

RdmaMac rdma_proof_mac(const Mac& key, const RdmaHello& hello, const RdmaWelcome& welcome) {
    return shortened(key, both("fastreg rdma proof", hello, welcome));
}

Bytes encode_rdma_reject(const RdmaReject& reject) {
    const std::string text = reject.text.substr(0, kRejectTextMax);
    return Writer(kRdmaRejectSize).raw(as_bytes(kRdmaMagic)).number(kRdmaVersion)
        .number(static_cast<std::uint8_t>(reject.code)).number(static_cast<std::uint16_t>(text.size()))
        .raw(as_bytes(text)).padded(kRdmaRejectSize);
}

std::optional<RdmaReject> decode_rdma_reject(ByteView data) {
    if (data.size() < 8) return std::nullopt;
    Reader in(data);
    if (as_text(in.take(kRdmaMagic.size())) != kRdmaMagic) return std::nullopt;
    (void)in.number<std::uint8_t>();
    RdmaReject reject;
    const auto code = in.number<std::uint8_t>();
    reject.code = code >= 1 && code <= 10 ? static_cast<CloseCode>(code) : CloseCode::protocol;
    const auto size = in.number<std::uint16_t>();
    if (size > data.size() - 8 || size > kRejectTextMax) return std::nullopt;
    for (const std::byte b : in.take(size)) {
        const auto c = std::to_integer<unsigned char>(b);
        reject.text += c >= 0x20 && c < 0x7f ? static_cast<char>(c) : '?';
    }
    return reject;
}

Bytes encode_rdma(const RdmaMessage& message) {
    return std::visit([](const auto& m) { return encode(m); }, message);
}

Result<RdmaMessage> decode_rdma(ByteView data) {
    if (data.size() != kRdmaInlineMax && data.size() != kRdmaMessageMax) return malformed("has an unknown length");
    Reader in(data);
    const auto type = in.number<Type>();
    const auto a = in.number<std::uint8_t>();
    const auto b = in.number<std::uint8_t>();
    const auto c = in.number<std::uint8_t>();
    if ((data.size() == kRdmaMessageMax) != (type == Type::request)) return malformed("has another type's length");
    switch (type) {
        case Type::proof: {
            RdmaProof m;
            (void)in.number<std::uint32_t>();
            in.raw(m.mac);
            return m;
        }
        case Type::request: return read_request(in, a, b);
        case Type::done: {
            RdmaDone m;
            m.generation = in.number<std::uint32_t>();
            m.request = in.number<RequestId>();
            m.bytes = in.number<std::uint32_t>();
            return m;
        }
        case Type::nack: return read_nack(in, a, b, c);
        case Type::cancel: {
            RdmaCancel m;
            m.generation = in.number<std::uint32_t>();
            m.request = in.number<RequestId>();
            return m;
        }
    }
    return malformed("has an unknown type");
}

}  // namespace fastreg::wire
