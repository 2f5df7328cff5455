// The shares of the descriptors a process may open.
#include "node/file_budget.h"

#include <doctest/doctest.h>

namespace fastreg::node {

TEST_CASE("with descriptors enough every limit is what was configured") {
    const config::Limits limits;
    const auto budget = share_files(kFilesForDefaults, limits);
    REQUIRE(budget);
    CHECK(budget->connections == limits.connections);
    CHECK(budget->uploads == limits.uploads);
    CHECK(budget->open_blobs == limits.open_blobs);
    CHECK(!budget->less_than_configured);
}

TEST_CASE("the shares never add up to more than there is") {
    for (const std::uint64_t files : {256, 300, 1024, 4096, 65'536, 1'048'576}) {
        const auto budget = share_files(files, {});
        REQUIRE(budget);
        const auto most = budget->connections * 2 + budget->uploads + budget->open_blobs + budget->downloads +
                          budget->links * 2;
        CAPTURE(files);
        CHECK(most < files);
        CHECK(budget->uploads >= 4);
        CHECK(budget->less_than_configured == (files < kFilesForDefaults));
    }
}

TEST_CASE("a node that may hardly open a file says so instead of starting") {
    const auto budget = share_files(255, {});
    REQUIRE(!budget);
    CHECK(budget.error().what.find("ulimit -n") != std::string::npos);
}

}  // namespace fastreg::node
