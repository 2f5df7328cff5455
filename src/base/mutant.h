// Planted defects, so that the simulator can prove that it would notice them. Each is one line in one
// room. In every build but the simulator's own, mutant() is a constant and the line is not there.
#pragma once

#include <cstdint>

namespace fastreg {

enum class Mutant : std::uint8_t {
    none,
    last_chunk_not_held_back,
    acknowledge_before_fsync,
    dead_imported_as_dead,
    no_incarnation_check,
    write_quorum_of_one,
    read_quorum_of_one,
    link_not_checked,
    fsync_dir_left_out,
    tombstone_ignored_by_repair,
    holder_not_announced_to_new_owner,
    bad_chunk_not_fetched_again,
    refutation_without_incarnation,
    have_before_verified,
    new_owner_asks_one,
    two_owners_ask_nobody_else,
    older_row_wins,
};

#ifdef FR_MUTANTS
/// The one that is switched on; the simulator runs on one thread.
inline Mutant active_mutant = Mutant::none;
[[nodiscard]] inline bool mutant(Mutant which) { return which == active_mutant; }
#else
[[nodiscard]] constexpr bool mutant(Mutant) { return false; }
#endif

}  // namespace fastreg
