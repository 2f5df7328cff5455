#include "base/hash.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <xxhash.h>

#include <algorithm>

namespace fastreg {

std::uint64_t xxh3_64(ByteView data, std::uint64_t seed) {
    return XXH3_64bits_withSeed(data.data(), data.size(), seed);
}

Xxh128 xxh3_128(ByteView data) {
    const XXH128_hash_t hash = XXH3_128bits(data.data(), data.size());
    return {hash.low64, hash.high64};
}

Digest digest_of(HashAlg alg, ByteView data) {
    Digest digest{alg, {}};
    const EVP_MD* md = alg == HashAlg::sha256 ? EVP_sha256() : EVP_sha512();
    auto* out = reinterpret_cast<unsigned char*>(digest.value.data());
    FR_ASSERT(EVP_Digest(data.data(), data.size(), out, nullptr, md, nullptr) == 1);
    return digest;
}

Mac hmac_sha256(ByteView key, ByteView data) {
    Mac mac{};
    FR_ASSERT(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
                   reinterpret_cast<const unsigned char*>(data.data()), data.size(),
                   reinterpret_cast<unsigned char*>(mac.data()), nullptr) != nullptr);
    return mac;
}

Mac hkdf_sha256(ByteView key, std::string_view salt, std::string_view info) {
    const Mac extracted = hmac_sha256(as_bytes(salt), key);
    Bytes block(info.size() + 1, std::byte{1});  // one block is 32 bytes: the expansion is one MAC
    std::ranges::copy(as_bytes(info), block.begin());
    return hmac_sha256(extracted, block);
}

bool equal_constant_time(ByteView a, ByteView b) {
    return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

void secret_random(std::span<std::byte> out) {
    // A machine without randomness must not run on guessable keys.
    FR_ASSERT(RAND_bytes(reinterpret_cast<unsigned char*>(out.data()),
                         static_cast<int>(out.size())) == 1);
}

}  // namespace fastreg
