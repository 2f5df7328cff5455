// The shipped configuration file and the table of keys say the same.
#include <doctest/doctest.h>

#include <fstream>
#include <set>
#include <sstream>

#include "config/config.h"
#include "config/keys.h"

using namespace fastreg;
using namespace fastreg::config;

namespace {

std::string shipped() {
    std::ifstream in(std::string(FR_SOURCE_ROOT) + "/configs/fastreg.toml");
    std::stringstream text;
    text << in.rdbuf();
    return text.str();
}

}  // namespace

TEST_CASE("the shipped file is the default configuration") {
    // An operator copies this file and changes one line; every other line must change nothing.
    Sources nothing;
    nothing.machine = {true, "host7", "/root", ""};
    Sources file = nothing;
    file.file_name = "fastreg.toml";
    file.file_text = shipped();
    REQUIRE(!file.file_text->empty());

    const auto built_in = load(nothing);
    const auto read = load_with_origins(file);
    REQUIRE(built_in);
    REQUIRE_MESSAGE(read, read.error().what);
    CHECK(read->config == *built_in);
    for (const Key& key : keys()) {
        CAPTURE(key.path);
        CHECK(read->origins.find(key.path)->second == Origin::file);  // the file names every key
    }
}

TEST_CASE("the shipped file is what the table of keys prints") {
    // A key added to the table appears in the file, with its help; `config check --default` prints it.
    CHECK(shipped() == default_file());
}

TEST_CASE("each key's default text is what a fresh configuration holds") {
    // Two statements of one default would drift apart.
    const Config fresh;
    for (const Key& key : keys()) {
        CAPTURE(key.path);
        CHECK(print(key, fresh) == key.default_text);
        Config assigned;
        if (const auto done = assign(key, key.default_text, assigned); !done) FAIL(done.error().what);
        CHECK(assigned == fresh);
    }
}

TEST_CASE("every key has a path, a flag and a variable of its own, and a sentence of help") {
    // Three spellings of one name, by one rule; a clash would make one of two keys unreachable.
    std::set<std::string> seen;
    for (const Key& key : keys()) {
        CAPTURE(key.path);
        CHECK(seen.insert(std::string(key.path)).second);
        CHECK(seen.insert(flag_of(key)).second);
        CHECK(seen.insert(environment_of(key)).second);
        CHECK(key.help.size() > 10);
        CHECK(key.help.ends_with('.'));
        CHECK(find_key(key.path) == &key);
    }
    CHECK(flag_of(*find_key("http.listen")) == "--http-listen");
    CHECK(environment_of(*find_key("http.listen")) == "FASTREG_HTTP_LISTEN");
    CHECK(flag_of(*find_key("transfer.advertise-addr")) == "--transfer-advertise-addr");
}

TEST_CASE("every default lies within the limits that its key states") {
    // Else the shipped file would be refused with a changed limit.
    for (const Key& key : keys()) {
        CAPTURE(key.path);
        if (key.type == Type::count || key.type == Type::size || key.type == Type::duration) {
            CHECK(key.min <= key.max);
            CHECK(!limits_of(key).empty());
        }
    }
}
