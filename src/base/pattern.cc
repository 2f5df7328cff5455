#include "base/pattern.h"

namespace fastreg {

Bytes pattern_bytes(std::size_t size) {
    Bytes bytes(size);
    std::uint64_t x = 0x9e3779b97f4a7c15;
    for (std::byte& byte : bytes) {
        x = x * 6364136223846793005U + 1442695040888963407U;  // Knuth's MMIX generator
        byte = static_cast<std::byte>(x >> 56U);
    }
    return bytes;
}

}  // namespace fastreg
