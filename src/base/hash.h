// Checksums and MACs. Pure; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "base/bytes.h"
#include "base/digest.h"

namespace fastreg {

struct Xxh128 {
    std::uint64_t low = 0;
    std::uint64_t high = 0;
    bool operator==(const Xxh128&) const = default;
};

/// Catch damage; they prove nothing.
[[nodiscard]] std::uint64_t xxh3_64(ByteView data, std::uint64_t seed = 0);
[[nodiscard]] Xxh128 xxh3_128(ByteView data);

/// One pass over bytes that are all here.
[[nodiscard]] Digest digest_of(HashAlg alg, ByteView data);

using Mac = std::array<std::byte, 32>;
[[nodiscard]] Mac hmac_sha256(ByteView key, ByteView data);
/// RFC 5869 with a 32-byte output.
[[nodiscard]] Mac hkdf_sha256(ByteView key, std::string_view salt, std::string_view info);
/// Takes the same time wherever the first difference is.
[[nodiscard]] bool equal_constant_time(ByteView a, ByteView b);
/// Bytes of the system's cryptographic generator; for ids, nonces and keys.
void secret_random(std::span<std::byte> out);

}  // namespace fastreg
