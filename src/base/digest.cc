#include "base/digest.h"

namespace fastreg {

std::string Digest::str() const {
    return std::string(name_of(alg)) + ":" + hex();
}

std::string Digest::brief() const {
    return std::string(name_of(alg)) + ":" + hex().substr(0, 12);
}

Result<Digest> Digest::parse(std::string_view text) {
    const auto colon = text.find(':');
    if (colon == std::string_view::npos) {
        return fail(Errc::invalid_argument, "digest has no ':' between algorithm and hex digits");
    }
    const auto name = text.substr(0, colon);
    Digest digest;
    if (name == "sha256") {
        digest.alg = HashAlg::sha256;
    } else if (name == "sha512") {
        digest.alg = HashAlg::sha512;
    } else {
        return fail(Errc::unsupported, "digest algorithm is neither sha256 nor sha512");
    }
    const auto size = digest_size(digest.alg);
    if (!from_hex(text.substr(colon + 1), {digest.value.data(), size})) {
        return fail(Errc::invalid_argument,
                    "digest needs exactly " + std::to_string(size * 2) + " lower-case hex digits");
    }
    return digest;
}

Result<Digest> Digest::from_bytes(HashAlg alg, ByteView raw) {
    if (alg != HashAlg::sha256 && alg != HashAlg::sha512) {
        return fail(Errc::unsupported, "unknown digest algorithm");
    }
    if (raw.size() != digest_size(alg)) {
        return fail(Errc::invalid_argument, "digest has the wrong number of bytes");
    }
    Digest digest{alg, {}};
    std::memcpy(digest.value.data(), raw.data(), raw.size());
    return digest;
}

}  // namespace fastreg
