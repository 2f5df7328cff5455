// Where a command prints: its streams, how wide they are and whether colours make sense there.
// Main thread.
#pragma once

#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

#include "base/instant.h"

namespace fastreg::cli {

enum class Exit : int {
    done = 0,
    failed = 1,
    usage = 2,
    unreachable = 3,  // no node answers
    not_found = 4,
    partly = 5,       // some of it; the rest is listed
};

enum class Style { plain, bold, dim, good, warning, bad };

struct Console {
    std::ostream& out;
    std::ostream& err;
    int width = 100;      // columns of `out`
    bool colour = false;  // `out` is a terminal and NO_COLOR is not set
    bool terminal = false;

    /// The text in that style, or the text alone where there are no colours.
    [[nodiscard]] std::string paint(std::string_view text, Style style) const;
    /// "fastreg: <text>" on standard error.
    void complain(std::string_view text) const;
};

/// Of this process: standard output and error, ioctl for the width, else $COLUMNS, else 100.
[[nodiscard]] Console own_console();

/// Sleeps; a signal may end it early.
void pause_for(Duration span);

/// What came from elsewhere must not steer the terminal: control characters and broken UTF-8
/// become '?'.
[[nodiscard]] std::string safe(std::string_view text);
/// Columns that UTF-8 text takes, one a code point.
[[nodiscard]] std::size_t columns_of(std::string_view text);
/// Lines of at most that many columns, broken at blanks, and in the middle of a longer word; colours take none.
[[nodiscard]] std::vector<std::string> wrapped(std::string_view text, std::size_t columns);
/// At most that many columns; what was cut is marked by an ellipsis.
[[nodiscard]] std::string fitted(std::string_view text, std::size_t columns);

}  // namespace fastreg::cli
