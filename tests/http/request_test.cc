// Targets are where names come from; a decoder that is off by one is a traversal.
#include "http/request.h"

#include <doctest/doctest.h>

using namespace fastreg;
using namespace fastreg::http;

TEST_CASE("a target falls into path and query, decoded once") {
    const auto target =
        parse_target("/v2/a%2Fb/x?mount=sha256%3Aab&from=lib%2fapp&n&=v&a=b=c&&a=d");
    REQUIRE(target);
    CHECK(target->path == "/v2/a/b/x");
    CHECK(target->query == Query{{"mount", "sha256:ab"},
                                 {"from", "lib/app"},
                                 {"n", ""},
                                 {"", "v"},
                                 {"a", "b=c"},
                                 {"a", "d"}});
    CHECK(parse_target("/a%252e")->path == "/a%2e");  // once, not twice
    CHECK(parse_target("/a?t=x.tar+gzip")->query[0].second == "x.tar+gzip");
}

TEST_CASE("absolute targets lose their host, and nothing else is a target") {
    CHECK(parse_target("http://h:1/v2/?a=b")->path == "/v2/");
    CHECK(parse_target("http://h")->path == "/");
    for (const std::string bad :
         {"", "*", "v2/", "ftp://h/", "/a#b", "/%", "/%4", "/%4g", "/%00", "/?%0"}) {
        CAPTURE(bad);
        CHECK_FALSE(parse_target(bad));
    }
}

TEST_CASE("a forbidden byte is not called a broken percent sequence") {
    for (const std::string target : {"/v2/a%00b", "/v2/?a%00=b", "/v2/?a=%00"}) {
        CAPTURE(target);
        const std::string why = parse_target(target).error().what;
        CHECK(why.find("forbidden") != std::string::npos);
        CHECK(why.find("broken") == std::string::npos);
    }
    CHECK(parse_target("/v2/%0")
              .error()
              .what.find("the path has a broken percent sequence") == 0);
}

TEST_CASE("percent encoding goes there and back") {
    std::string all;
    for (int c = 1; c < 256; ++c) all += static_cast<char>(c);
    CHECK(percent_decode(percent_encode(all)) == all);
    CHECK(percent_encode("a b/c:~-._") == "a%20b%2Fc%3A~-._");
}

TEST_CASE("query keys that repeat keep every value") {
    Request request;
    request.query = {{"tag", "a"}, {"x", "1"}, {"tag", "b"}};
    CHECK(request.query_value("tag") == "a");
    CHECK(request.query_values("tag") == std::vector<std::string>{"a", "b"});
    CHECK_FALSE(request.query_value("Tag"));
}

TEST_CASE("list fields split at commas over all their lines") {
    Headers headers;
    headers.add("Accept", "a/b, c/d;q=0.5 ,, ");
    headers.add("accept", "*/*");
    CHECK(headers.list("ACCEPT") == std::vector<std::string>{"a/b", "c/d;q=0.5", "*/*"});
    headers.set("Accept", "x/y");
    CHECK(headers.size() == 1);
}
