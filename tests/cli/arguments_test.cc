// How the command line is read, and what is said of a line that cannot be.
#include <doctest/doctest.h>

#include "cli/arguments.h"
#include "config/keys.h"

using namespace fastreg;
using namespace fastreg::cli;

namespace {

using Words = std::vector<std::string>;
using Settings = std::vector<std::pair<std::string, std::string>>;

Result<Invocation> parse(const Words& words) { return parse_arguments(words); }

std::string complaint(const Words& words) {
    const auto parsed = parse(words);
    return parsed ? "taken" : parsed.error().what;
}

}  // namespace

TEST_CASE("flags without a command mean serve, with and without an equals sign") {
    // The interface fixes both spellings; scripts rely on either.
    const Settings expected{{"zone", "z"}, {"http.listen", "[::]:80"}};
    // Settings come in the order of the list of keys.
    CHECK(parse({"--http-listen", "[::]:80", "--zone", "z"})->settings == expected);
    CHECK(parse({"--http-listen=[::]:80", "--zone=z"})->settings == expected);
    CHECK(parse({"serve", "--http-listen=[::]:80", "--zone", "z"})->settings == expected);
    CHECK(parse({"--zone", "z", "serve", "--http-listen=[::]:80"})->settings == expected);
    CHECK(parse({})->command == Command::serve);
    CHECK(parse({"serve"})->command == Command::serve);
}

TEST_CASE("every key of the configuration is a flag of serve") {
    for (const config::Key& key : config::keys()) {
        CAPTURE(key.path);
        const std::string flag = config::flag_of(key);
        const auto joined = parse({flag + "=true"});
        REQUIRE(joined);
        CHECK(joined->settings == Settings{{std::string(key.path), "true"}});
        const auto apart = parse({flag, "true"});
        REQUIRE_MESSAGE(apart, apart.error().what);
        CHECK(apart->settings == joined->settings);
    }
}

TEST_CASE("values that look like something else arrive as they were typed") {
    // Brackets, commas, blanks, an empty value, a digit: none may be split or taken for a flag.
    const auto value = [](const Words& words) {
        const auto parsed = parse(words);
        if (!parsed) return parsed.error().what;
        return parsed->settings.empty() ? std::string("none") : parsed->settings[0].second;
    };
    CHECK(value({"--zone="}) == "");
    CHECK(value({"--zone", ""}) == "");
    CHECK(value({"--zone=a=b"}) == "a=b");
    CHECK(value({"--zone", "a b,c"}) == "a b,c");
    CHECK(value({"--advertise-addr", "fd00::1"}) == "fd00::1");
    CHECK(value({"--join", "a:1,b:2"}) == "a:1,b:2");
    CHECK(value({"--name", "7"}) == "7");
}

TEST_CASE("a boolean flag stands alone or takes true or false") {
    const auto value = [](const Words& words) { return parse(words)->settings.at(0).second; };
    CHECK(value({"--insecure-mesh"}) == "true");
    CHECK(value({"--insecure-mesh=true"}) == "true");
    CHECK(value({"--insecure-mesh=false"}) == "false");
    CHECK(value({"--insecure-mesh", "false"}) == "false");
    const auto both = parse({"--insecure-mesh", "--zone", "z"});
    REQUIRE(both);
    CHECK(both->settings.size() == 2);
    CHECK(value({"--insecure-mesh=maybe"}) == "maybe");  // the configuration refuses it
}

TEST_CASE("join is repeatable, and the last of a repeated flag is behind the first") {
    CHECK(parse({"--join", "a:1", "--join=b:2"})->settings == Settings{{"join", "a:1"}, {"join", "b:2"}});
    CHECK(parse({"--zone", "a", "--zone", "b"})->settings == Settings{{"zone", "a"}, {"zone", "b"}});
}

TEST_CASE("--storage-dir is --data-dir") {
    CHECK(parse({"--storage-dir", "/d"})->settings == Settings{{"data-dir", "/d"}});
    CHECK(parse({"status", "--storage-dir=/d"})->settings == Settings{{"data-dir", "/d"}});
}

TEST_CASE("commands take their words and flags") {
    CHECK(parse({"status", "--json"})->json);
    CHECK(parse({"status", "--admin", "h:1"})->admin == "h:1");
    CHECK(parse({"peers", "--watch"})->watch);
    CHECK(parse({"peers", "-w", "--times", "3"})->times == 3);
    CHECK(parse({"blobs", "--limit=5"})->limit == 5);
    CHECK(parse({"blob", "sha256:ab"})->argument == "sha256:ab");
    CHECK(parse({"join", "h:1", "--data-dir", "/d"})->argument == "h:1");
    CHECK(parse({"leave"})->wait);
    CHECK(!parse({"leave", "--no-wait"})->wait);
    CHECK(parse({"verify"})->argument.empty());
    CHECK(!parse({"verify", "sha256:ab", "--no-wait"})->wait);
    CHECK(parse({"key", "show"})->command == Command::key_show);
    CHECK(parse({"config", "check", "f.toml"})->argument == "f.toml");
    CHECK(parse({"config", "check", "--replicas", "3"})->settings.size() == 1);
    CHECK(parse({"config", "check", "--default"})->defaults);
    CHECK(parse({"version"})->command == Command::version);
    CHECK(parse({"--version"})->command == Command::version);
    CHECK(parse({"--data-dir", "/d", "status"})->settings == Settings{{"data-dir", "/d"}});
    CHECK(parse({"--config", "f.toml"})->config_file == "f.toml");
    CHECK(parse({"status", "--config=f.toml"})->config_file == "f.toml");
}

TEST_CASE("help is given for every command, even where its word is missing") {
    for (const Words& words : {Words{"serve", "--help"}, Words{"status", "-h"}, Words{"blob", "--help"},
                               Words{"join", "--help"}, Words{"key", "show", "--help"},
                               Words{"config", "check", "-h"}, Words{"version", "--help"}}) {
        CAPTURE(words[0]);
        const auto parsed = parse(words);
        REQUIRE_MESSAGE(parsed, parsed.error().what);
        CHECK(parsed->help);
        CHECK(!parsed->top_help);
    }
    CHECK(parse({"--help"})->top_help);
    CHECK(parse({"-h"})->top_help);
    CHECK(parse({"key", "--help"})->command == Command::key_show);
    CHECK(!parse({"key", "--help"})->top_help);
    CHECK(parse({"-h", "blob"})->command == Command::blob);
    CHECK(!parse({"-h", "blob"})->top_help);
}

TEST_CASE("help is a word too") {
    CHECK(parse({"help"})->top_help);
    CHECK(parse({"help", "help"})->top_help);
    CHECK(parse({"help", "config"})->command == Command::config_check);
    const auto one = parse({"help", "status"});
    REQUIRE_MESSAGE(one, one.error().what);
    CHECK(one->help);
    CHECK(!one->top_help);
    CHECK(one->command == Command::status);
    CHECK(parse({"help", "key", "show"})->command == Command::key_show);
    CHECK(parse({"help", "blob"})->command == Command::blob);
    CHECK(complaint({"help", "statu"}) == "unknown command 'statu'; did you mean 'status'?");
}

TEST_CASE("a value that is missing or out of range is refused in plain words") {
    CHECK(complaint({"--replicas"}) == "--replicas wants a value behind it");
    CHECK(complaint({"status", "--admin"}) == "--admin wants a value behind it");
    CHECK(complaint({"blob"}) == "'blob' wants DIGEST behind it: fastreg blob DIGEST");
    CHECK(complaint({"join"}) == "'join' wants ADDR behind it: fastreg join ADDR");
    CHECK(complaint({"blobs", "--limit", "0"}) == "--limit: '0' is not a whole number from 1 to 999999999");
    CHECK(complaint({"blobs", "--limit", "-1"}) == "--limit: '-1' is not a whole number from 1 to 999999999");
    CHECK(complaint({"peers", "--watch", "--times", "0"}).starts_with("--times: '0' is not"));
    CHECK(complaint({"config", "check", "--default", "--json"}).find("TOML") != std::string::npos);
}

TEST_CASE("a switch takes no value") {
    CHECK(complaint({"peers", "--watch=maybe"}) == "--watch takes no value");
    CHECK(complaint({"status", "--json=x"}) == "--json takes no value");
    CHECK(complaint({"leave", "--no-wait=x"}) == "--no-wait takes no value");
    CHECK(complaint({"--help=x"}) == "--help takes no value");
}

TEST_CASE("an empty value does not choose another node or another file") {
    // A script whose variable is not set must not steer or start the default node.
    CHECK(complaint({"--config="}) == "--config: is empty");
    CHECK(complaint({"config", "check", "--config", ""}) == "--config: is empty");
    CHECK(complaint({"status", "--admin="}) == "--admin: is empty");
    CHECK(complaint({"leave", "--data-dir="}) == "--data-dir: is empty");
    // Without the digest it would read back the whole store, without the file check another one.
    CHECK(complaint({"verify", ""}) == "DIGEST: is empty");
    CHECK(complaint({"blob", ""}) == "DIGEST: is empty");
    CHECK(complaint({"join", ""}) == "ADDR: is empty");
    CHECK(complaint({"config", "check", ""}) == "FILE: is empty");
    for (const Words& words : {Words{"--insecure-mesh="}, Words{"serve", "--insecure-mesh="}, Words{"status", ""},
                               Words{"peers", "--json="}, Words{""}}) {
        CHECK(complaint(words) == "an argument is empty; is a variable not set?");
    }
}

TEST_CASE("a file to check is named once") {
    // The one that was not looked at may be the one with the mistake.
    CHECK(complaint({"config", "check", "a.toml", "--config", "b.toml"}) ==
          "FILE and --config mean the same; give one of them");
    CHECK(parse({"config", "check", "a.toml"})->argument == "a.toml");
    CHECK(parse({"config", "check", "--config", "b.toml"})->config_file == "b.toml");
}

TEST_CASE("a flag of another command is told from one that nobody has") {
    CHECK(complaint({"status", "--limit", "3"}) == "'--limit' is a flag of blobs; 'status' does not take it");
    CHECK(complaint({"peers", "--no-wait"}) ==
          "'--no-wait' is a flag of leave, drain, verify; 'peers' does not take it");
    CHECK(complaint({"--json"}) == "'--json' is a flag of status, peers, blobs and others; name the command first");
    CHECK(complaint({"-w"}) == "'-w' is a flag of peers; name the command first");
    CHECK(complaint({"serve", "--json"}).find("'serve' does not take it") != std::string::npos);
}

TEST_CASE("what a later version will have is said to be missing, not misspelt") {
    // People come with a page about another release, or of another registry, in hand.
    CHECK(complaint({"--tls-cert=f"}) == "unknown flag '--tls-cert'; TLS is not in this version");
    CHECK(complaint({"--upstream-url", "https://h"}) ==
          "unknown flag '--upstream-url'; pulling through from another registry is not in this version");
    CHECK(complaint({"why", "x"}) == "unknown command 'why'; it is not in this version");
    CHECK(complaint({"gc"}) == "unknown command 'gc'; it is not in this version");
}

TEST_CASE("what is not known is refused with what was probably meant") {
    // A flag of a later release must not be taken silently: the interface says absent, not ignored.
    CHECK(complaint({"--rdma-enable"}) == "unknown flag '--rdma-enable'; did you mean '--rdma-enabled'?");
    CHECK(complaint({"--http-listn", "x"}) == "unknown flag '--http-listn'; did you mean '--http-listen'?");
    CHECK(complaint({"--data_dir=x"}) == "unknown flag '--data_dir'; did you mean '--data-dir'?");
    CHECK(complaint({"statu"}) == "unknown command 'statu'; did you mean 'status'?");
    CHECK(complaint({"frobnicate"}) == "unknown command 'frobnicate'");
    CHECK(complaint({"status", "--jsn"}) == "unknown flag '--jsn'; did you mean '--json'?");
    CHECK(complaint({"status", "more"}) == "unexpected argument 'more' behind 'status'");
    CHECK(complaint({"blob", "a", "b"}) == "unexpected argument 'b' behind 'blob'");
    CHECK(complaint({"key"}).find("show") != std::string::npos);
    CHECK(complaint({"config"}).find("check") != std::string::npos);
    CHECK(complaint({"key", "hide"}) == "unknown command 'key hide'; there is 'key show'");
    CHECK(complaint({"blob"}) != "taken");
    CHECK(complaint({"join"}) != "taken");
    CHECK(complaint({"--zone"}) != "taken");
    CHECK(complaint({"peers", "--times", "3"}).find("--watch") != std::string::npos);
    CHECK(complaint({"peers", "--watch", "--times", "x"}) != "taken");
    CHECK(complaint({"blobs", "--limit", "-1"}) != "taken");
    CHECK(complaint({"--http-listen", "x", "status"}).find("flag of serve") != std::string::npos);
    CHECK(complaint({"status", "peers"}) != "taken");
    CHECK(complaint({"--", "x"}) != "taken");
}
