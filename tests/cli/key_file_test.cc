#include <doctest/doctest.h>

#include <sys/stat.h>
#include <unistd.h>

#include "fake_node.h"
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

TEST_CASE("the folder of the key is made, and a stale half is swept away") {
    // kill -9 between writing and linking leaves cluster.key.new behind.
    const Folder folder;
    auto config = config_in(folder);
    config.cluster_key_file = folder.path() + "/a/b/cluster.key";
    CHECK(node::load_or_make_key(config));
    folder.write("cluster.key.new", "half");
    CHECK(node::load_or_make_key(config_in(folder)).value().size() == 64);
    CHECK(folder.read("cluster.key.new").empty());
}
