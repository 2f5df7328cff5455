// Sizes, shares and durations as people write them.
#include <doctest/doctest.h>

#include "config/key_file.h"
#include "config/units.h"

using namespace fastreg;
using namespace fastreg::config;

TEST_CASE("sizes are read as people write them") {
    // A factor of 1024 taken for 1000 is a store that fills the disk.
    const auto size = [](std::string_view text) {
        const auto parsed = parse_size(text);
        REQUIRE_MESSAGE(parsed, std::string(text));
        return *parsed;
    };
    CHECK(size("0") == 0);
    CHECK(size("4096") == 4096);
    CHECK(size("4096B") == 4096);
    CHECK(size("512KiB") == 512 * 1024);
    CHECK(size("10GiB") == 10ULL << 30);
    CHECK(size("10 gib") == 10ULL << 30);
    CHECK(size("1.5GiB") == 3ULL << 29);
    CHECK(size("10GB") == 10'000'000'000ULL);
    CHECK(size("10G") == 10ULL << 30);
    CHECK(size("2tib") == 2ULL << 40);
    CHECK(size("18446744073709551615") == 18446744073709551615ULL);
}

TEST_CASE("what is not a size is refused with an example of one") {
    // "10 bananas" read as 10 bytes would be obeyed silently.
    for (const char* text : {"", "GiB", "-1", "10 bananas", "1..5GiB", "1.GiB", ".5GiB", "1e9", "0x10",
                             "18446744073709551616", "99999999999TiB", "10GiB!", "ten", "10 G i B"}) {
        CAPTURE(text);
        const auto parsed = parse_size(text);
        REQUIRE(!parsed);
        CHECK(parsed.error().code == Errc::invalid_argument);
        CHECK(parsed.error().what.find("KiB") != std::string::npos);
    }
}

TEST_CASE("a share is a size or a percentage") {
    // 80% and 80 are a factor of the disk apart.
    CHECK(parse_share("80%").value() == Share{0, 80});
    CHECK(parse_share(" 5 %").value() == Share{0, 5});
    CHECK(parse_share("10GiB").value() == Share{10ULL << 30, 0});
    CHECK(Share{0, 80}.of(1000) == 800);
    CHECK(Share{0, 100}.of(~0ULL) == ~0ULL);
    CHECK(Share{7, 0}.of(1000) == 7);
    for (const char* text : {"0%", "101%", "%", "-1%", "1.5%", "80%%", "4294967296%", "all"}) {
        CAPTURE(text);
        CHECK(!parse_share(text));
    }
}

TEST_CASE("5% of a small disk is still a gibibyte") {
    // The interface promises: 5 %, at least 1 GiB; an explicit size is taken as it is.
    Store store;
    CHECK(store.min_free_of(10ULL << 30) == 1ULL << 30);
    CHECK(store.min_free_of(100ULL << 30) == 5ULL << 30);
    store.min_free = {1 << 20, 0};
    CHECK(store.min_free_of(100ULL << 30) == 1 << 20);
}

TEST_CASE("durations need their unit") {
    // "30" could be seconds or milliseconds; guessing wrong is a factor of a thousand.
    CHECK(parse_duration("0").value() == 0s);
    CHECK(parse_duration("500ms").value() == 500ms);
    CHECK(parse_duration("30s").value() == 30s);
    CHECK(parse_duration("1.5s").value() == 1500ms);
    CHECK(parse_duration("5m").value() == 5min);
    CHECK(parse_duration("1h30m").value() == 90min);
    CHECK(parse_duration("2d").value() == 48h);
    for (const char* text : {"", "30", "s", "-1s", "30 s", "30m1h", "1h1h", "1y", "99999999d",
                             "1h30", "1.5.5s", "ms500"}) {
        CAPTURE(text);
        const auto parsed = parse_duration(text);
        REQUIRE(!parsed);
        CHECK(parsed.error().what.find("30s") != std::string::npos);
    }
}

TEST_CASE("what is printed is read back as the same value") {
    // `config check` prints a configuration that can be pasted into a file.
    for (const std::uint64_t bytes : {0ULL, 1ULL, 1023ULL, 1024ULL, 1536ULL, 10ULL << 30, ~0ULL}) {
        CHECK(parse_size(print_size(bytes)).value() == bytes);
    }
    for (const Duration span : {Duration(0s), Duration(1ms), Duration(1500ms), Duration(30s),
                                Duration(90s), Duration(1min), Duration(36h), Duration(48h)}) {
        CHECK(parse_duration(print_duration(span)).value() == span);
    }
    CHECK(print_size(10ULL << 30) == "10GiB");
    CHECK(print_duration(90s) == "90s");
    CHECK(print_share({0, 80}) == "80%");
}

TEST_CASE("a key is its content without the blanks around it") {
    // An editor adds a line end; two nodes with and without it must still agree.
    CHECK(parse_key("  0123456789abcdef\r\n").value() == "0123456789abcdef");
    CHECK(parse_key("two words of a key\n").value() == "two words of a key");
    CHECK(!parse_key(""));
    CHECK(!parse_key(" \n\n"));
    CHECK(!parse_key("0123456789abcde\n"));
    CHECK(parse_key(std::string(4096, 'k') + "\n"));
    CHECK(!parse_key(std::string(4097, 'k')));
    CHECK(parse_key("").error().what.find("fastreg key show") != std::string::npos);
}
