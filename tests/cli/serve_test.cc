// What serve refuses before it serves; config check and version.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "config/keys.h"
#include "fake_node.h"

using namespace fastreg;
using namespace fastreg::cli::test;
using nlohmann::json;

TEST_CASE("serve with a wrong configuration is a usage error that names place and key") {
    const Folder folder;
    folder.write("f.toml", "replicas = 0\n[http]\nlistn = \"x\"\n");
    const std::string file = folder.path() + "/f.toml";
    const Ran ran = run_cli({"--config", file, "--data-dir", folder.path()});
    CHECK(ran.code() == 2);
    CHECK(ran.says(file + ":1: replicas:"));
    CHECK(ran.says("did you mean 'http.listen'"));
    CHECK(ran.out.empty());
    CHECK(run_cli({"--config", folder.path() + "/none.toml"}).code() == 2);
    CHECK(run_cli({"--replicas", "many", "--data-dir", folder.path()}).says("--replicas:"));
}

TEST_CASE("serve with seeds and no key is a usage error that says what to copy") {
    const Folder folder;
    const Ran ran = run_cli({"--data-dir", folder.path(), "--join", "10.0.0.1:7946"});
    CHECK(ran.code() == 2);
    CHECK(ran.says("fastreg key show"));
    CHECK(ran.says("--insecure-mesh"));
    folder.write("cluster.key", "short");
    CHECK(run_cli({"--data-dir", folder.path()}).code() == 2);
}

TEST_CASE("config check shows every key, its value and where it came from") {
    const Folder folder;
    folder.write("f.toml", "zone = \"rack-7\"\n");
    const std::string file = folder.path() + "/f.toml";
    const Ran text = run_cli({"config", "check", file, "--replicas", "3"});
    CHECK(text.code() == 0);
    for (const config::Key& key : config::keys()) CHECK(text.says(key.path));
    CHECK(text.says("rack-7"));
    CHECK(text.says(file + " is fine"));
    const json all = json::parse(run_cli({"config", "check", file, "--replicas=3", "--json"}).out);
    CHECK(all["valid"] == true);
    CHECK(all["keys"].size() == config::keys().size());
    CHECK(all["keys"]["zone"] == json{{"value", "rack-7"}, {"from", "file"}});
    CHECK(all["keys"]["replicas"] == json{{"value", "3"}, {"from", "flag"}});
    CHECK(all["keys"]["cluster"]["from"] == "default");
}

TEST_CASE("config check fails on what is wrong and lists it") {
    const Folder folder;
    folder.write("f.toml", "replicas = 0\nnam = 3\n");
    const std::string file = folder.path() + "/f.toml";
    const Ran text = run_cli({"config", "check", "--config", file});
    CHECK(text.code() == 1);
    CHECK(text.says(":1: replicas"));
    CHECK(text.says("did you mean 'name'"));
    const Ran as_json = run_cli({"config", "check", file, "--json"});
    CHECK(as_json.code() == 1);
    CHECK(json::parse(as_json.out)["problems"].size() == 2);
    CHECK(run_cli({"config", "check", folder.path() + "/none"}).code() == 1);
    CHECK(run_cli({"config", "check", folder.path()}).code() == 1);  // a directory
}

TEST_CASE("config check --default prints a file that is fine") {
    const Folder folder;
    const Ran printed = run_cli({"config", "check", "--default"});
    folder.write("f.toml", printed.out);
    CHECK(run_cli({"config", "check", folder.path() + "/f.toml"}).code() == 0);
}

TEST_CASE("version has a number") {
    CHECK(run_cli({"version"}).out.starts_with("fastreg "));
    CHECK(json::parse(run_cli({"version", "--json"}).out)["version"].is_string());
}
