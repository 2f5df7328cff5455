// Tables that fit the terminal, and numbers as people say them.
#include <doctest/doctest.h>

#include <sstream>

#include "cli/format.h"
#include "cli/table.h"

using namespace fastreg::cli;

namespace {

std::vector<std::string> lines_of(const Table& table, int width, bool colour = false) {
    std::ostringstream out;
    std::ostringstream err;
    table.print(Console{out, err, width, colour, false});
    std::vector<std::string> lines;
    std::istringstream in(out.str());
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
}

Table sample() {
    Table table({{"NAME", false, 4, 0}, {"ID", false, 0, 1}, {"BYTES", true, 0, 0}});
    table.add({{"a-node-with-a-long-name"}, {"0123abcd"}, {"10 B"}});
    table.add({{"b"}, {"ffffffff"}, {"1.5 GiB"}});
    return table;
}

}  // namespace

TEST_CASE("a table lines up, numbers to the right, without blanks at the end") {
    const auto lines = lines_of(sample(), 100);
    REQUIRE(lines.size() == 3);
    CHECK(lines[0] == "NAME                     ID          BYTES");
    CHECK(lines[1] == "a-node-with-a-long-name  0123abcd     10 B");
    CHECK(lines[2] == "b                        ffffffff  1.5 GiB");
}

TEST_CASE("a narrow terminal cuts texts first and drops columns last") {
    // Wrapped rows cannot be read; a shortened name still can.
    const auto cut = lines_of(sample(), 30);
    CHECK(cut[1] == "a-node-wit…  0123abcd     10 B");
    const auto dropped = lines_of(sample(), 20);
    CHECK(dropped[0] == "NAME           BYTES");
    CHECK(dropped[1] == "a-node-wit…     10 B");
    for (int width = 13; width < 120; ++width) {
        for (const std::string& line : lines_of(sample(), width)) {
            CHECK(columns_of(line) <= static_cast<std::size_t>(width));
        }
    }
    CHECK(lines_of(sample(), 1).size() == 3);  // nothing left to drop: too wide, but all there
}

TEST_CASE("colours change no width") {
    Table table({{"A", false, 0, 0}, {"B", false, 0, 0}});
    table.add({{"x", Style::good}, {"y", Style::bad}});
    CHECK(lines_of(table, 80, true)[1] == "\033[32mx\033[0m  \033[31my\033[0m");
    CHECK(lines_of(table, 80, false)[1] == "x  y");
}

TEST_CASE("names of other nodes cannot steer the terminal") {
    // A member chooses its own name; ESC ] 0 ; ... would rename the operator's window.
    CHECK(safe("\033[2Jx") == "?[2Jx");
    CHECK(safe("a\nb\tc\x7f") == "a?b?c?");
    CHECK(safe("\xc2\x9b" "31m") == "??31m");  // the one-character form of ESC [
    CHECK(safe("\xff\xfe") == "??");
    CHECK(safe("K\xc3\xb6ln \xe6\x9d\xb1") == "K\xc3\xb6ln \xe6\x9d\xb1");
    CHECK(safe("\xe6\x9d") == "??");
}

TEST_CASE("widths count characters, not bytes") {
    CHECK(columns_of("K\xc3\xb6ln") == 4);
    CHECK(fitted("K\xc3\xb6ln", 4) == "K\xc3\xb6ln");
    CHECK(fitted("K\xc3\xb6ln", 3) == "K\xc3\xb6…");
    CHECK(fitted("abc", 0) == "");
    CHECK(fitted("abc", 1) == "…");
}

TEST_CASE("lines are broken at blanks, and colours take no columns") {
    // A line that the terminal breaks itself runs over its neighbours' columns.
    using Lines = std::vector<std::string>;
    CHECK(wrapped("one two three", 7) == Lines{"one two", "three"});
    CHECK(wrapped("one two three", 8) == Lines{"one two", "three"});
    CHECK(wrapped("one two three", 13) == Lines{"one two three"});
    CHECK(wrapped("abcdefgh", 3) == Lines{"abc", "def", "gh"});
    CHECK(wrapped("a bcdefgh i", 4) == Lines{"a", "bcde", "fgh", "i"});
    CHECK(wrapped("", 4) == Lines{""});
    CHECK(wrapped("\033[32mone\033[0m two", 4) == Lines{"\033[32mone\033[0m", "two"});
    for (std::size_t columns = 1; columns < 40; ++columns) {
        std::string all;
        for (const auto& line : wrapped("node-1  0011223344556677  cluster K\xc3\xb6ln and more", columns)) {
            CHECK(columns_of(line) <= columns);
            for (const char c : line) {
                if (c != ' ') all += c;
            }
        }
        CHECK(all == "node-10011223344556677clusterK\xc3\xb6lnandmore");
    }
}

TEST_CASE("numbers read as people say them") {
    CHECK(human_span(0) == "0s");
    CHECK(human_span(59) == "59s");
    CHECK(human_span(250) == "4m 10s");
    CHECK(human_span(3600) == "1h");
    CHECK(human_span(9 * 86400 + 4 * 3600 + 59) == "9d 4h");
    CHECK(human_millis(0.42) == "0.4 ms");
    CHECK(human_millis(12.4) == "12 ms");
    CHECK(human_millis(1234) == "1.2 s");
    CHECK(human_millis(-1) == "-");
    CHECK(human_share(0, 0) == "-");
    CHECK(human_share(1, 300) == "0.3 %");
    CHECK(human_share(42, 100) == "42 %");
    CHECK(grouped(0) == "0");
    CHECK(grouped(1234567) == "1,234,567");
    CHECK(counted(1, "blob") == "1 blob");
    CHECK(counted(1000, "blob") == "1,000 blobs");
}
