#include "cli/terminal.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>

namespace fastreg::cli {
namespace {

constexpr int kWidthElse = 100;

int width_of(int fd) {
    winsize size{};
    if (::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
    if (const char* columns = std::getenv("COLUMNS"); columns != nullptr) {
        const long given = std::strtol(columns, nullptr, 10);
        if (given >= 20 && given <= 10'000) return static_cast<int>(given);
    }
    return kWidthElse;
}

std::string_view code_of(Style style) {
    switch (style) {
        case Style::plain: return "";
        case Style::bold: return "\033[1m";
        case Style::dim: return "\033[2m";
        case Style::good: return "\033[32m";
        case Style::warning: return "\033[33m";
        case Style::bad: return "\033[31m";
    }
    return "";
}

// Length of the UTF-8 sequence at the start of `text`, 0 when it is not one.
std::size_t sequence(std::string_view text) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char lead = byte(0);
    const std::size_t length = lead < 0x80               ? 1
                               : lead >= 0xc2 && lead < 0xe0 ? 2
                               : lead >= 0xe0 && lead < 0xf0 ? 3
                               : lead >= 0xf0 && lead < 0xf5 ? 4
                                                             : 0;
    if (length == 0 || length > text.size()) return 0;
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xc0) != 0x80) return 0;
    }
    // C1 controls (U+0080..U+009F) steer some terminals as ESC does.
    if (length == 2 && lead == 0xc2 && byte(1) < 0xa0) return 0;
    return length;
}

}  // namespace

std::string Console::paint(std::string_view text, Style style) const {
    if (!colour || style == Style::plain) return std::string(text);
    return std::string(code_of(style)) + std::string(text) + "\033[0m";
}

void Console::complain(std::string_view text) const { err << "fastreg: " << text << '\n'; }

Console own_console() {
    const bool terminal = ::isatty(STDOUT_FILENO) == 1;
    const char* no_color = std::getenv("NO_COLOR");
    const char* term = std::getenv("TERM");
    const bool dumb = term != nullptr && std::string_view(term) == "dumb";
    return Console{std::cout, std::cerr, width_of(STDOUT_FILENO),
                   terminal && !dumb && (no_color == nullptr || *no_color == '\0'), terminal};
}

void pause_for(Duration span) { (void)::poll(nullptr, 0, static_cast<int>(millis_of(span))); }

std::string safe(std::string_view text) {
    std::string out;
    while (!text.empty()) {
        const std::size_t length = sequence(text);
        const auto first = static_cast<unsigned char>(text.front());
        if (length == 0 || first < 0x20 || first == 0x7f) {
            out += '?';
            text.remove_prefix(1);
        } else {
            out += text.substr(0, length);
            text.remove_prefix(length);
        }
    }
    return out;
}

std::size_t columns_of(std::string_view text) {
    std::size_t count = 0;
    for (const char c : text) count += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
    return count;
}

std::string fitted(std::string_view text, std::size_t columns) {
    if (columns_of(text) <= columns) return std::string(text);
    if (columns == 0) return {};
    std::string out;
    std::size_t count = 0;
    for (std::size_t i = 0; i < text.size();) {
        std::size_t next = i + 1;
        while (next < text.size() && (static_cast<unsigned char>(text[next]) & 0xc0) == 0x80) ++next;
        if (++count == columns) break;
        out += text.substr(i, next - i);
        i = next;
    }
    return out + "…";
}

std::vector<std::string> wrapped(std::string_view text, std::size_t columns) {
    columns = std::max<std::size_t>(columns, 1);
    std::vector<std::string> lines(1);
    std::size_t used = 0;    // columns of the last line
    std::size_t blank = 0;   // where its last blank is, in bytes; 0: none to break at
    std::size_t behind = 0;  // columns behind that blank
    for (std::size_t i = 0; i < text.size();) {
        std::size_t next = i + 1;
        const bool colour = text[i] == '\033';
        if (colour) next = std::min(text.find('m', i), text.size() - 1) + 1;
        while (!colour && next < text.size() && (static_cast<unsigned char>(text[next]) & 0xc0) == 0x80) ++next;
        if (!colour && used == columns) {
            std::string rest;
            if (text[i] == ' ') {
                i = next;
                behind = 0;
            } else if (blank > 0) {
                rest = lines.back().substr(blank + 1);
                lines.back().resize(blank);
            } else {
                behind = 0;
            }
            lines.push_back(std::move(rest));
            used = behind;
            blank = 0;
            continue;
        }
        if (text[i] == ' ' && used > 0) {
            blank = lines.back().size();
            behind = 0;
        } else if (!colour) {
            ++behind;
        }
        lines.back() += text.substr(i, next - i);
        used += colour ? 0 : 1;
        i = next;
    }
    return lines;
}

}  // namespace fastreg::cli
