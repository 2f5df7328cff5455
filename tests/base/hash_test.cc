// Checksums, MACs and keys as published: another implementation must compute the same.
#include "base/hash.h"

#include <doctest/doctest.h>

using namespace fastreg;

TEST_CASE("hashes and MACs follow their published vectors") {
    // FIPS 180-4, RFC 4231 case 2 and RFC 5869 case 1 (its first 32 bytes).
    CHECK(digest_of(HashAlg::sha256, as_bytes("abc")).hex() ==
          "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(digest_of(HashAlg::sha512, {}).hex().starts_with("cf83e1357eefb8bdf1542850d66d8007"));
    CHECK(to_hex(hmac_sha256(as_bytes("Jefe"), as_bytes("what do ya want for nothing?"))) ==
          "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    const Bytes key(22, std::byte{0x0b});
    const std::string salt("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c", 13);
    const std::string info("\xf0\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9", 10);
    CHECK(to_hex(hkdf_sha256(key, salt, info)) ==
          "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf");
    CHECK(xxh3_64({}) == 0x2d06800538d394c2ULL);
    CHECK(xxh3_128({}) == Xxh128{0x6001c324468d497fULL, 0x99aa06d3014798d8ULL});
}

TEST_CASE("the comparison in constant time is still a comparison") {
    // A wrong answer here would let anybody into the mesh.
    CHECK(equal_constant_time(as_bytes("same"), as_bytes("same")));
    CHECK(equal_constant_time({}, {}));
    CHECK_FALSE(equal_constant_time(as_bytes("same"), as_bytes("sams")));
    CHECK_FALSE(equal_constant_time(as_bytes("same"), as_bytes("sam")));
}

TEST_CASE("secret random bytes differ from call to call") {
    // Nonces that repeat would let a recorded handshake be played again.
    Mac a{};
    Mac b{};
    secret_random(a);
    secret_random(b);
    CHECK(a != b);
    CHECK(a != Mac{});
}
