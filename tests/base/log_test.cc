// Log lines carry words of peers and clients: none of them may forge a line or steer a terminal.
#include "base/log.h"

#include <doctest/doctest.h>

#include "base/bytes.h"
#include "base/rare_line.h"

using namespace fastreg;
using log::Format;
using log::Level;

namespace {
constexpr std::uint64_t kWhen = 1'700'000'000'042;  // 2023-11-14 22:13:20.042 UTC
}

TEST_CASE("a line that anybody can cause is written once in ten seconds, with the count of the rest") {
    // A member with a broken frame, or a stranger with a bad proof, must not fill the disk.
    RareLine line;
    CHECK(line.pass(Instant{} + 1s) == 0);
    for (int i = 0; i < 1000; ++i) CHECK_FALSE(line.pass(Instant{} + 2s));
    CHECK_FALSE(line.pass(Instant{} + 10s));
    CHECK(line.pass(Instant{} + 11s) == 1001);
    CHECK(line.pass(Instant{} + 60s) == 0);
}

TEST_CASE("a text line has its time, level, event and fields") {
    // People and grep read these; the shape is stable.
    CHECK(log::format_line(Format::text, Level::info, kWhen, "blob.pulled",
                           {{"digest", "sha256:abc"}, {"bytes", 310}, {"ok", true}, {"rate", 1.5},
                            {"name", "two words"}, {"empty", ""}}) ==
          "2023-11-14T22:13:20.042Z info  blob.pulled digest=sha256:abc bytes=310 ok=true rate=1.5 "
          "name=\"two words\" empty=\"\"");
    CHECK(log::format_line(Format::text, Level::error, kWhen, "x", {}) ==
          "2023-11-14T22:13:20.042Z error x");
}

TEST_CASE("a JSON line is one JSON object") {
    // Collectors drop what does not parse; numbers stay numbers.
    CHECK(log::format_line(Format::json, Level::warn, kWhen, "peer.slow",
                           {{"peer", "a\"b\\c"}, {"ms", -7}, {"rate", 0.0 / 1}, {"nan", 0.0 / 0.0}}) ==
          R"({"time":"2023-11-14T22:13:20.042Z","level":"warn","event":"peer.slow",)"
          R"("peer":"a\"b\\c","ms":-7,"rate":0,"nan":")" +
              std::string(log::Field("", 0.0 / 0.0).value) + "\"}");
}

TEST_CASE("control characters are escaped, other languages are not") {
    // "\n" would forge a line, ESC and C1 codes would rewrite the operator's screen.
    const std::string evil = "a\nb\x1b[2J\x7f\xc2\x9b" "1m \xc3\xa9";
    CHECK(log::format_line(Format::text, Level::info, kWhen, "e", {{"v", evil}}) ==
          "2023-11-14T22:13:20.042Z info  e v=\"a\\x0ab\\x1b[2J\\x7f\\x9b1m \xc3\xa9\"");
    CHECK(log::format_line(Format::json, Level::info, kWhen, "e", {{"v", evil}}) ==
          R"({"time":"2023-11-14T22:13:20.042Z","level":"info","event":"e",)"
          R"("v":"a\u000ab\u001b[2J\u007f\u009b1m )" "\xc3\xa9\"}");
}

TEST_CASE("bytes that are no UTF-8 are escaped") {
    // One broken byte would make a collector refuse the whole line. Cut, overlong, surrogate, beyond.
    for (const char* bad : {"\xff", "\xc3", "\xe2\x82", "\xc0\xaf", "\xed\xa0\x80",
                            "\xf4\x90\x80\x80", "\x80"}) {
        CAPTURE(to_hex(as_bytes(bad)));
        const auto json = log::format_line(Format::json, Level::info, kWhen, "e", {{"v", bad}});
        CHECK(json.find("\\ufffd") != std::string::npos);
        for (const char c : json) CHECK(static_cast<unsigned char>(c) < 0x80);
        const auto text = log::format_line(Format::text, Level::info, kWhen, "e", {{"v", bad}});
        for (const char c : text) CHECK(static_cast<unsigned char>(c) < 0x80);
    }
    const auto fine = log::format_line(Format::json, Level::info, kWhen, "e",
                                       {{"v", "\xe2\x82\xac\xf0\x9f\x98\x80"}});
    CHECK(fine.find("\xe2\x82\xac\xf0\x9f\x98\x80") != std::string::npos);
}

TEST_CASE("levels are read and obeyed") {
    // SIGHUP changes the level of a running node.
    CHECK(*log::parse_level("debug") == Level::debug);
    CHECK(*log::parse_level("off") == Level::off);
    CHECK_FALSE(log::parse_level("INFO"));
    CHECK_FALSE(log::parse_level(""));
    log::start(Level::off, Format::text);
    CHECK_FALSE(log::enabled(Level::error));
    log::set_level(Level::warn);
    CHECK(log::enabled(Level::error));
    CHECK(log::enabled(Level::warn));
    CHECK_FALSE(log::enabled(Level::info));
    log::set_level(Level::off);
    log::error("not.written");
}
