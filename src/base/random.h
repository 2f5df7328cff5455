// Seeded random numbers (xoshiro256++, Blackman and Vigna 2019): one seed replays one run.
// A value owned by one core; not for secrets (see base/secret.h).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace fastreg {

class Rng {
  public:
    explicit Rng(std::uint64_t seed);

    [[nodiscard]] std::uint64_t next();
    /// Uniform in [0, bound); bound > 0.
    [[nodiscard]] std::uint64_t below(std::uint64_t bound);
    /// Uniform in [0, 1).
    [[nodiscard]] double unit();
    [[nodiscard]] bool chance(double probability) { return unit() < probability; }
    /// An independent stream, so that one core's draws do not shift another's.
    [[nodiscard]] Rng fork() { return Rng(next()); }

    template <class T>
    void shuffle(std::vector<T>& items) {
        for (std::size_t i = items.size(); i > 1; --i) {
            std::swap(items[i - 1], items[static_cast<std::size_t>(below(i))]);
        }
    }

  private:
    std::array<std::uint64_t, 4> state_{};
};

}  // namespace fastreg
