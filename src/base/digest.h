// The name of a blob: algorithm and hash value, as OCI writes them ("sha256:<64 hex>").
// A value; parsing is strict, so a Digest that exists is safe to make a path of.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace fastreg {

enum class HashAlg : std::uint8_t { sha256 = 1, sha512 = 2 };

[[nodiscard]] constexpr std::size_t digest_size(HashAlg alg) {
    return alg == HashAlg::sha256 ? 32 : 64;
}
[[nodiscard]] constexpr std::string_view name_of(HashAlg alg) {
    return alg == HashAlg::sha256 ? "sha256" : "sha512";
}

struct Digest {
    HashAlg alg = HashAlg::sha256;
    std::array<std::byte, 64> value{};  // the first digest_size(alg) bytes; the rest is zero

    auto operator<=>(const Digest&) const = default;
    [[nodiscard]] ByteView bytes() const { return {value.data(), digest_size(alg)}; }
    [[nodiscard]] std::string hex() const { return to_hex(bytes()); }
    /// "sha256:<hex>".
    [[nodiscard]] std::string str() const;
    /// "sha256:" and the first 12 digits, for log lines and tables.
    [[nodiscard]] std::string brief() const;
    /// Lower-case hex of the exact length only; the error says what is wrong with the text.
    [[nodiscard]] static Result<Digest> parse(std::string_view text);
    /// From raw bytes of the exact length of the algorithm.
    [[nodiscard]] static Result<Digest> from_bytes(HashAlg alg, ByteView raw);
};

}  // namespace fastreg

template <>
struct std::hash<fastreg::Digest> {
    std::size_t operator()(const fastreg::Digest& digest) const noexcept {
        std::size_t value = 0;  // a cryptographic hash is a hash
        std::memcpy(&value, digest.value.data(), sizeof value);
        return value;
    }
};
