// One run: a mesh forms, clients and faults do what the seed says, the faults stop, and everything must
// come right again.
#pragma once

#include <optional>
#include <string>

#include "tests/sim/world.h"

namespace fastreg::sim {

struct Outcome {
    std::optional<std::string> broken;  // the promise
    std::uint64_t hash = 0;             // of everything that happened
    std::uint64_t events = 0;
    double virtual_seconds = 0;
    std::size_t nodes = 0;
};

/// `print`: every step on standard output.
[[nodiscard]] Outcome run_seed(std::uint64_t seed, Counts& counts, bool print);

}  // namespace fastreg::sim
