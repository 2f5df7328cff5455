// Which key a misspelt one is taken for.
#include <doctest/doctest.h>

#include "config/keys.h"
#include "config/nearest.h"

using namespace fastreg::config;

TEST_CASE("a slip of the pen is answered with the key that was meant") {
    // A wrong suggestion is worse than none, so far words get none.
    std::vector<std::string> known;
    for (const Key& key : keys()) known.emplace_back(key.path);
    const auto near = [&](std::string_view word) { return nearest(word, known).value_or("none"); };
    CHECK(near("http.listn") == "http.listen");
    CHECK(near("http_listen") == "http.listen");
    CHECK(near("datadir") == "data-dir");
    CHECK(near("data_dir") == "data-dir");
    CHECK(near("Cluster") == "cluster");
    CHECK(near("limits.manifest-byte") == "limits.manifest-bytes");
    CHECK(near("max-bytes") == "store.max-bytes");
    CHECK(near("replica") == "replicas");
    CHECK(near("colour") == "none");
    CHECK(near("") == "none");
    CHECK(near(std::string(100'000, 'x')) == "none");
}
