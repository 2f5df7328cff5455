// Which key a misspelt one is taken for.
#include <doctest/doctest.h>

#include <algorithm>

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
    CHECK(near("nam") == "name");
    CHECK(near("pin") == "none");  // two letters of three are a guess
    for (std::string& name : known) {
        std::ranges::replace(name, '.', '_');
        std::ranges::replace(name, '-', '_');
        name = "FASTREG_" + name;
    }
    CHECK(near("FASTREG_FOO") == "none");  // it was taken for FASTREG_ZONE: the first letters are always right
    CHECK(near("FASTREG_REPLICA") == "FASTREG_replicas");
}

TEST_CASE("what is not in this version is said so, however it is spelled") {
    const std::vector<std::string> known{"zone", "upload-limits"};
    CHECK(hint("zon", known) == "; did you mean 'zone'?");
    CHECK(hint("colour", known).empty());
    CHECK(hint("upstream", known) == "; pulling through from another registry is not in this version");
    CHECK(hint("upstream.url", known) == "; pulling through from another registry is not in this version");
    CHECK(hint("--tls-cert", known) == "; TLS is not in this version");
    CHECK(hint("FASTREG_TLS_CERT", known) == "; TLS is not in this version");
    CHECK(hint("upload-limit", known) == "; a limit on rates is not in this version");
    CHECK(!not_yet("upstreamed"));
    CHECK(!not_yet("up"));
    // What is missing is not also known.
    for (const Key& key : keys()) CHECK(!not_yet(key.path));
}
