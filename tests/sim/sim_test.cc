// Whole meshes of the shipped cores and stores, in virtual time.
//   FR_SEEDS=500 sim_test     so many runs (60 when unset)
//   FR_SEED=17 sim_test       one run, every step printed
//   FR_MUTANT=3               with this planted defect alone (base/mutant.h)
#include <doctest/doctest.h>
#include <malloc.h>

#include <chrono>
#include <cstdlib>
#include <tuple>
#include <utility>

#include "base/mutant.h"
#include "tests/sim/campaign.h"
#include "tests/sim/faults.h"
#include "tests/sim/rows_story.h"

namespace fastreg::sim {

namespace {

std::uint64_t number(const char* name, std::uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

/// Disks in memory come and go by the megabyte: keep their pages. A hint; sanitizers have no such knob.
[[maybe_unused]] const bool g_keeps_pages = mallopt(M_MMAP_THRESHOLD, 256 << 20) == 1 &&
                                                      mallopt(M_TRIM_THRESHOLD, 1 << 30) == 1;

}  // namespace

TEST_CASE("meshes keep their promises through every fault, and come right when the faults stop") {
    // The whole product minus sockets: who is in, who has what, which chunk from whom, what is on disk.
    Counts counts;
    if (const auto one = number("FR_SEED", 0); one != 0) {
#ifdef FR_MUTANTS
        active_mutant = static_cast<Mutant>(number("FR_MUTANT", 0));
#endif
        const Outcome outcome = run_seed(one, counts, true);
        for (const auto& [what, times] : counts) {
            std::printf("%8llu %s\n", static_cast<unsigned long long>(times), what.c_str());
        }
        if (outcome.broken) FAIL("FR_SEED=" << one << ": " << *outcome.broken);
        return;
    }
    const std::uint64_t seeds = number("FR_SEEDS", 60);
    const std::uint64_t first = number("FR_FIRST", 1);
    const auto began = std::chrono::steady_clock::now();
    std::uint64_t events = 0;
    double span = 0;
    for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
        const Outcome outcome = run_seed(seed, counts, false);
        if (outcome.broken) {
            std::printf("FR_SEED=%llu: %s\n", static_cast<unsigned long long>(seed), outcome.broken->c_str());
        }
        if (outcome.broken) FAIL_CHECK("FR_SEED=" << seed << " (" << outcome.nodes << " nodes): " << *outcome.broken);
        events += outcome.events;
        span += outcome.virtual_seconds;
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
    std::printf("%llu seeds, %llu events, %.0f virtual seconds in %.1f s\n", static_cast<unsigned long long>(seeds),
                static_cast<unsigned long long>(events), span, took.count());
    for (const auto& [what, times] : counts) {
        std::printf("%10llu %s\n", static_cast<unsigned long long>(times), what.c_str());
    }
    for (const auto sizes : kLargeSizes) {
        INFO(sizes);
        if (seeds >= Plan::kAllSizesIn) CHECK(counts[std::string(sizes)] > 0);
    }
    if (seeds < 60) return;
    // A fault that never strikes tests nothing.
    for (const auto name : kFaultNames) {
        INFO(name);
        CHECK(counts["fault." + std::string(name)] > 0);
    }
    CHECK(counts["fault.wipe_while_away"] > 0);
    // Nor does a message that nobody sends.
    constexpr std::pair<int, int> kTypes[] = {{0x10, 0x18}, {0x20, 0x28}, {0x30, 0x36}, {0x40, 0x4c}, {0x60, 0x61}};
    for (const auto& [from, to] : kTypes) {
        for (int type = from; type <= to; ++type) {
            const auto name = to_hex(std::vector{static_cast<std::byte>(type)});
            INFO(name);
            CHECK(counts["frame." + name] > 0);
        }
    }
}

#ifdef FR_MUTANTS  // a build of rooms as one file each has no plants
TEST_CASE("each planted defect is caught") {
    // A simulator that would not notice is worth nothing. Each of these is one line in one room.
    if ((number("FR_SEEDS", 60) < 60 && number("FR_MUTANT", 0) == 0) || number("FR_SEED", 0) != 0) return;
    constexpr std::pair<Mutant, const char*> kAll[] = {
        {Mutant::last_chunk_not_held_back, "the last chunk is not held back"},
        {Mutant::acknowledge_before_fsync, "a push is acknowledged before fsync"},
        {Mutant::dead_imported_as_dead, "a death is imported as a death"},
        {Mutant::no_incarnation_check, "incarnations are not compared"},
        {Mutant::write_quorum_of_one, "one owner is enough for a write"},
        {Mutant::read_quorum_of_one, "one owner is enough for a read"},
        {Mutant::link_not_checked, "the link of a chunk is not checked"},
        {Mutant::fsync_dir_left_out, "the directory is not synced"},
        {Mutant::holder_not_announced_to_new_owner, "an owner that starts anew is told of no holder"},
        {Mutant::bad_chunk_not_fetched_again, "a bad chunk is not fetched again"},
        {Mutant::refutation_without_incarnation, "a refutation does not raise the incarnation"},
        {Mutant::tombstone_ignored_by_repair, "a read takes no notice of tombstones"},
        {Mutant::have_before_verified, "a chunk is told of before it is verified"},
        {Mutant::older_row_wins, "of two rows a read takes the older one"},
    };
    Counts counts;
    const std::uint64_t only = number("FR_MUTANT", 0);
    for (const auto& [which, words] : kAll) {
        if (only != 0 && only != static_cast<std::uint64_t>(which)) continue;
        active_mutant = which;
        std::optional<std::string> broken;
        std::uint64_t seed = 0;
        while (!broken && seed < 200) broken = run_seed(++seed, counts, false).broken;
        active_mutant = Mutant::none;
        INFO(words);
        CHECK(broken);
        std::printf("%-48s seed %3llu: %s\n", words, static_cast<unsigned long long>(seed),
                    broken ? broken->c_str() : "NOT CAUGHT");
        std::fflush(stdout);
    }
    // Chance met these in none of 200 runs: stories of their own do.
    using Story = std::optional<std::string> (*)(std::uint64_t);
    constexpr std::tuple<Mutant, const char*, Story> kStories[] = {
        {Mutant::new_owner_asks_one, "a new owner of rows asks one of those before it",
         lost_disk_while_another_is_away},
        {Mutant::two_owners_ask_nobody_else, "two owners that return together ask nobody else",
         power_goes_after_two_owners_were_away},
    };
    for (const auto& [which, words, story] : kStories) {
        if (only != 0 && only != static_cast<std::uint64_t>(which)) continue;
        active_mutant = which;
        std::size_t caught = 0;
        for (std::uint64_t seed = 1; seed <= 6; ++seed) caught += story(seed) ? 1 : 0;
        active_mutant = Mutant::none;
        INFO(words);
        CHECK(caught > 0);
        std::printf("%-48s %zu of 6 stories\n", words, caught);
    }
}
#endif

TEST_CASE("one seed is one run") {
    // Without this a failure could not be replayed.
    for (const std::uint64_t seed : {3, 4}) {
        Counts counts;
        const Outcome first = run_seed(seed, counts, false);
        const Outcome second = run_seed(seed, counts, false);
        CHECK(first.hash == second.hash);
        CHECK(first.events == second.events);
    }
}

}  // namespace fastreg::sim
