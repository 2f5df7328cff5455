#include "base/random.h"

#include <bit>

namespace fastreg {

Rng::Rng(std::uint64_t seed) {
    for (auto& word : state_) {  // splitmix64 spreads the seed over the state
        seed += 0x9e3779b97f4a7c15ULL;
        std::uint64_t z = seed;
        z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ (z >> 27U)) * 0x94d049bb133111ebULL;
        word = z ^ (z >> 31U);
    }
}

std::uint64_t Rng::next() {
    auto& s = state_;
    const std::uint64_t result = std::rotl(s[0] + s[3], 23) + s[0];
    const std::uint64_t t = s[1] << 17U;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = std::rotl(s[3], 45);
    return result;
}

std::uint64_t Rng::below(std::uint64_t bound) {
    const std::uint64_t threshold = (0 - bound) % bound;  // rejects the biased tail
    for (;;) {
        const std::uint64_t value = next();
        if (value >= threshold) return value % bound;
    }
}

double Rng::unit() {
    return static_cast<double>(next() >> 11U) * 0x1.0p-53;
}

}  // namespace fastreg
