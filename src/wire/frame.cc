#include "wire/frame.h"

#include <cstring>

namespace fastreg::wire {

namespace {

template <class T>
void store_little_endian(std::byte* out, T value) {
    for (std::size_t i = 0; i < sizeof(T); ++i) {
        out[i] = static_cast<std::byte>(value >> (8 * i));
    }
}

template <class T>
T load_little_endian(const std::byte* in) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) {
        value |= std::to_integer<std::uint64_t>(in[i]) << (8 * i);
    }
    return static_cast<T>(value);
}

constexpr std::size_t kRestMin = kFrameHeaderSize - 4;

}  // namespace

Bytes encode_frame(const Frame& frame) {
    FR_ASSERT(frame.body.size() <= kFrameBodyMax);
    Bytes out(kFrameHeaderSize + frame.body.size());
    store_little_endian(out.data(), static_cast<std::uint32_t>(kRestMin + frame.body.size()));
    out[4] = static_cast<std::byte>(frame.type);
    out[5] = static_cast<std::byte>(frame.flags);
    store_little_endian(out.data() + 8, frame.request);
    if (!frame.body.empty()) {
        std::memcpy(out.data() + kFrameHeaderSize, frame.body.data(), frame.body.size());
    }
    return out;
}

Result<FrameHeader> decode_header(ByteView header) {
    FR_ASSERT(header.size() == kFrameHeaderSize);
    const auto rest = load_little_endian<std::uint32_t>(header.data());
    if (rest < kRestMin || rest > kFrameRestMax) {
        return fail(Errc::protocol, "frame claims a length of " + std::to_string(rest) +
                                        ", outside 12..65536: the peer does not speak FastReg");
    }
    if (load_little_endian<std::uint16_t>(header.data() + 6) != 0) {
        return fail(Errc::protocol, "frame header has bits set where zero is due: "
                                    "the peer does not speak FastReg");
    }
    FrameHeader decoded;
    decoded.body_size = static_cast<std::uint32_t>(rest - kRestMin);
    decoded.type = std::to_integer<std::uint8_t>(header[4]);
    decoded.flags = std::to_integer<std::uint8_t>(header[5]);
    decoded.request = load_little_endian<std::uint64_t>(header.data() + 8);
    return decoded;
}

void FrameReader::feed(ByteView data) {
    if (begin_ != 0) {
        buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(begin_));
        begin_ = 0;
    }
    buffer_.insert(buffer_.end(), data.begin(), data.end());
}

Result<std::optional<Frame>> FrameReader::next() {
    const ByteView waiting = rest();
    if (waiting.size() < kFrameHeaderSize) return std::optional<Frame>{};
    FR_TRY_ASSIGN(const FrameHeader header, decode_header(waiting.first(kFrameHeaderSize)));
    const std::size_t whole = kFrameHeaderSize + header.body_size;
    if (waiting.size() < whole) return std::optional<Frame>{};
    const ByteView body = waiting.subspan(kFrameHeaderSize, header.body_size);
    Frame frame{header.type, header.flags, header.request, Bytes(body.begin(), body.end())};
    consume(whole);
    return std::optional<Frame>(std::move(frame));
}

ByteView FrameReader::rest() const {
    return ByteView(buffer_).subspan(begin_);
}

void FrameReader::consume(std::size_t count) {
    FR_ASSERT(count <= buffer_.size() - begin_);
    begin_ += count;
    if (begin_ == buffer_.size()) {
        buffer_.clear();
        begin_ = 0;
    }
}

}  // namespace fastreg::wire
