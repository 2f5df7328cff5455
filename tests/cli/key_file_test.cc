// How the key of a mesh is made, read and refused, and the data directory that holds it.
#include <doctest/doctest.h>

#include <sys/stat.h>
#include <unistd.h>

#include "fake_node.h"
#include "node/data_dir.h"
#include "node/key_file.h"

using namespace fastreg;
using namespace fastreg::cli::test;

namespace {

config::Config config_in(const Folder& folder) {
    config::Config config;
    config.data_dir = folder.path();
    config.cluster_key_file = folder.path() + "/cluster.key";
    return config;
}

}  // namespace

TEST_CASE("the first node makes a key that only it can read, once") {
    // A second start with another key would lock the node out of its own mesh.
    const Folder folder;
    auto config = config_in(folder);
    const auto made = node::load_or_make_key(config);
    REQUIRE_MESSAGE(made, made.error().what);
    CHECK(made->size() == 64);
    struct stat facts {};
    REQUIRE(::stat(config.cluster_key_file.c_str(), &facts) == 0);
    CHECK((facts.st_mode & 0777) == 0600);
    CHECK(node::load_or_make_key(config).value() == *made);
    CHECK(node::load_key(config).value() == *made);

    const Folder other;
    CHECK(node::load_or_make_key(config_in(other)).value() != *made);
}

TEST_CASE("a node with seeds never makes a key: it says where to copy it from") {
    // Its own key would be another one, and the seeds would refuse it without a word of help.
    const Folder folder;
    auto config = config_in(folder);
    config.join = {Endpoint{"10.0.0.1", 7946}};
    const auto refused = node::load_or_make_key(config);
    REQUIRE(!refused);
    CHECK(refused.error().code == Errc::not_found);
    CHECK(refused.error().what.find("`fastreg key show` there") != std::string::npos);
    CHECK(refused.error().what.find("--insecure-mesh") != std::string::npos);
    CHECK(folder.read("cluster.key").empty());

    config.insecure_mesh = true;
    CHECK(node::load_or_make_key(config).value().empty());
    folder.write("cluster.key", "  a key of some length\n");
    config.insecure_mesh = false;
    CHECK(node::load_or_make_key(config).value() == "a key of some length");
}

TEST_CASE("a key file that cannot be a key is refused by name and left as it is") {
    const Folder folder;
    const auto config = config_in(folder);
    folder.write("cluster.key", "short\n");
    const auto refused = node::load_or_make_key(config);
    REQUIRE(!refused);
    CHECK(refused.error().what.find(config.cluster_key_file) != std::string::npos);
    CHECK(refused.error().what.find("16") != std::string::npos);
    CHECK(folder.read("cluster.key") == "short\n");
    folder.write("cluster.key", std::string(1 << 20, 'x'));
    CHECK(!node::load_or_make_key(config));
}

TEST_CASE("a named key file that is missing is an error and is not made") {
    // A mistyped path would start another mesh, whose key nobody else has.
    const Folder folder;
    auto config = config_in(folder);
    config.cluster_key_file = folder.path() + "/a/cluster.kye";
    const auto refused = node::load_or_make_key(config);
    REQUIRE(!refused);
    CHECK(refused.error().code == Errc::not_found);
    CHECK(refused.error().what.find("there is no cluster key at " + config.cluster_key_file) != std::string::npos);
    CHECK(refused.error().what.find("leave cluster-key-file out") != std::string::npos);
    CHECK(::access((folder.path() + "/a").c_str(), F_OK) != 0);
    const Ran ran = run_cli({"--data-dir", folder.path(), "--cluster-key-file", config.cluster_key_file});
    CHECK(ran.code() == 2);
    CHECK(folder.read("cluster.key").empty());
}

TEST_CASE("a data directory that is a file, or under one, is refused by name before the key") {
    const Folder folder;
    folder.write("f", "x");
    for (const std::string& path : {folder.path() + "/f", folder.path() + "/f/under"}) {
        CAPTURE(path);
        const Ran ran = run_cli({"--data-dir", path});
        CHECK(ran.code() == 1);
        CHECK(ran.says("the data directory " + path + " cannot be made"));
        CHECK(ran.says("--data-dir"));
        CHECK(!ran.says("cluster key"));
    }
    CHECK(node::prepare_data_dir(folder.path() + "/a/b"));
    CHECK(node::prepare_data_dir(folder.path() + "/a/b"));
}

TEST_CASE("a stale half of a key is swept away") {
    // kill -9 between writing and linking leaves cluster.key.new behind.
    const Folder folder;
    folder.write("cluster.key.new", "half");
    CHECK(node::load_or_make_key(config_in(folder)).value().size() == 64);
    CHECK(folder.read("cluster.key.new").empty());
}
