// Names come from anyone and become keys of rows; the grammar is the wall.
#include "registry/names.h"

#include <doctest/doctest.h>
#include <regex.h>

using namespace fastreg;
using namespace fastreg::registry;

TEST_CASE("repository names are those of the spec's own expression") {
    const std::string component = "[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*";
    const std::string spec = "^" + component + "(/" + component + ")*$";
    regex_t compiled{};
    REQUIRE(::regcomp(&compiled, spec.c_str(), REG_EXTENDED | REG_NOSUB) == 0);
    const std::string alphabet = "a0._-/A";
    // Every text of up to five characters over an alphabet that has one of each kind.
    std::vector<std::string> texts{""};
    std::size_t from = 0;
    for (int length = 1; length <= 5; ++length) {
        const std::size_t to = texts.size();
        for (; from < to; ++from) {
            for (const char c : alphabet) texts.push_back(texts[from] + c);
        }
    }
    std::size_t wrong = 0;
    for (const std::string& text : texts) {
        const bool matches = ::regexec(&compiled, text.c_str(), 0, nullptr, 0) == 0;
        if (is_repository(text) != matches) ++wrong;
    }
    ::regfree(&compiled);
    CHECK(texts.size() > 19'000);
    CHECK(wrong == 0);
}

TEST_CASE("names that traverse, lie or overflow are refused") {
    for (const std::string bad : {"..",
                                  "a/..",
                                  "a/../b",
                                  "/a",
                                  "a/",
                                  "a//b",
                                  ".a",
                                  "a.",
                                  "a b",
                                  "A",
                                  "a\\b",
                                  "a%2fb",
                                  "a\nb",
                                  "a___b",
                                  "a..b",
                                  "a._b",
                                  "\xc3\xa9"}) {
        CAPTURE(bad);
        CHECK_FALSE(is_repository(bad));
    }
    CHECK_FALSE(is_repository(std::string("a\0b", 3)));
    CHECK(is_repository(std::string(255, 'a')));
    CHECK_FALSE(is_repository(std::string(256, 'a')));
    CHECK(is_repository("a/b-c/d__e/f.g/h---i"));
}

TEST_CASE("tags and digests are told apart, and neither may be half of one") {
    CHECK(is_tag("v1.0-rc_2"));
    CHECK(is_tag("_"));
    CHECK(is_tag(std::string(128, 'T')));
    for (const std::string& bad : {std::string(),
                                   std::string(129, 't'),
                                   std::string(".a"),
                                   std::string("-a"),
                                   std::string("a:b"),
                                   std::string("a/b"),
                                   std::string("a b"),
                                   std::string("a\0", 2)}) {
        CHECK_FALSE(is_tag(bad));
    }
    CHECK(std::holds_alternative<std::string>(*parse_reference("latest")));
    CHECK(digest_of(*parse_reference("sha256:" + std::string(64, '0'))) != nullptr);
    CHECK(digest_of(*parse_reference("sha512:" + std::string(128, '0'))) != nullptr);
    CHECK(parse_reference("sha256:baddigeststring").error().code == ErrorCode::digest_invalid);
    CHECK(parse_reference("sha256:" + std::string(64, 'A')).error().status == 400);
    CHECK(parse_reference("..").error().code == ErrorCode::tag_invalid);
}

TEST_CASE("a registry host in front is recognised, a dotted repository is not") {
    CHECK(parse_name("ghcr.io/library/tiny")->registry == "ghcr.io");
    CHECK(parse_name("ghcr.io/library/tiny")->repository == "library/tiny");
    CHECK(parse_name("127.0.0.1:5000/a")->registry == "127.0.0.1:5000");
    CHECK(parse_name("localhost/a")->registry == "localhost");
    CHECK(parse_name("library/tiny")->registry == "");
    CHECK(parse_name("my.app")->registry == "");
    CHECK(parse_name("my.app")->repository == "my.app");
    CHECK(parse_name("tiny", "docker.io")->ns == "docker.io");
    CHECK(parse_name("tiny", "my.registry:5000")->ns == "my.registry:5000");
    for (const std::string bad : {"host:/a",
                                  "host:123456/a",
                                  ":5000/a",
                                  "a..b:1/a",
                                  "-a.b/c",
                                  "h:5x/a",
                                  "ghcr.io/",
                                  "ghcr.io/A"}) {
        CAPTURE(bad);
        CHECK_FALSE(parse_name(bad));
    }
    CHECK_FALSE(parse_name("tiny", "http://169.254.169.254/"));
    CHECK_FALSE(parse_name("tiny", "a b"));
}
